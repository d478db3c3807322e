// Forward: a block per point, threads across the channels of both maps. Backward: a warp per tap; the warp of the first
// point that touches a cell sums all points that do, in their order, so nothing is sorted, stored or added atomically.
#include <cmath>

#include "../common/cuda_scalar.h"
#include "bilinear.h"
#include "sample_keypoints_cuda.h"

namespace bevkd::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTaps = 4;
constexpr int kPerLane = 8;  // channels that a lane sums at a time

template <typename Acc>
__device__ inline Acc load(const MapView& map, int64_t at) {
  switch (map.type) {
    case MapType::kDouble: return static_cast<Acc>(static_cast<const double*>(map.data)[at]);
    case MapType::kHalf: return widen(static_cast<const __half*>(map.data)[at]);
    case MapType::kBFloat16: return widen(static_cast<const __nv_bfloat16*>(map.data)[at]);
    default: return static_cast<const float*>(map.data)[at];
  }
}

template <typename Acc>
__device__ inline void sample_map(const MapView& map, const Bilinear<Acc>& point, const PointSizes& n, int64_t sample,
                                  Acc* out) {
  for (int64_t c = threadIdx.x; c < map.channels; c += kThreads) {
    Acc sum = point.finite ? Acc(0) : Acc(NAN);
    for (int k = 0; k < kTaps; ++k) {
      if (!point.on_map(k, n.rows, n.columns)) continue;
      const int64_t at = sample * map.stride[0] + c * map.stride[1] + point.tap_row(k) * map.stride[2] +
                         point.tap_column(k) * map.stride[3];
      sum += point.tap_weight(k) * load<Acc>(map, at);
    }
    out[c] = sum;
  }
}

template <typename Acc>
__global__ void sample_points(MapView first, MapView second, const Acc* points, PointSizes n, Acc* first_out,
                              Acc* second_out) {
  const int64_t p = blockIdx.x, sample = p / n.count;
  const Bilinear<Acc> point(points[2 * p], points[2 * p + 1], n.rows, n.columns);
  sample_map(first, point, n, sample, first_out + p * first.channels);
  sample_map(second, point, n, sample, second_out + p * second.channels);
}

// What point j of the sample gives to a cell: whether it touches it, and with which weight.
template <typename Acc>
struct Touch {
  bool yes;
  Acc weight;

  __device__ Touch(const Acc* xy, int64_t j, const PointSizes& n, int32_t row, int32_t column) : yes(false), weight(0) {
    if (j >= n.count) return;
    const Bilinear<Acc> other(xy[2 * j], xy[2 * j + 1], n.rows, n.columns);
    const int32_t down = row - other.row, right = column - other.column;
    yes = other.near && (down == 0 || down == 1) && (right == 0 || right == 1);
    if (yes) weight = other.tap_weight(2 * down + right);
  }
};

template <typename T, typename Acc>
__global__ void add_points(const Acc* grad, const Acc* points, PointSizes n, int64_t channels, int64_t stride_sample,
                           int64_t stride_channel, int64_t stride_row, int64_t stride_column, T* out) {
  const int lane = threadIdx.x % kWarp, tap = threadIdx.x / kWarp;
  const int64_t sample = blockIdx.x / n.count, p = blockIdx.x % n.count;
  const Acc* xy = points + 2 * sample * n.count;
  const Bilinear<Acc> point(xy[2 * p], xy[2 * p + 1], n.rows, n.columns);
  if (!point.on_map(tap, n.rows, n.columns)) return;
  const int32_t row = point.tap_row(tap), column = point.tap_column(tap);
  for (int64_t j = lane; j - lane < p; j += kWarp) {
    const Touch<Acc> touch(xy, j, n, row, column);
    if (__any_sync(kFullWarp, touch.yes && j < p)) return;  // the warp of an earlier point has this cell
  }
  const int64_t channel = int64_t(blockIdx.y) * kWarp * kPerLane + lane;
  const Acc* from = grad + sample * n.count * channels + channel;
  Acc sum[kPerLane] = {};
  for (int64_t base = p / kWarp * kWarp; base < n.count; base += kWarp) {
    const Touch<Acc> touch(xy, base + lane, n, row, column);
    for (unsigned left = __ballot_sync(kFullWarp, touch.yes); left != 0; left &= left - 1) {
      const int source = __ffs(left) - 1;
      const Acc weight = __shfl_sync(kFullWarp, touch.weight, source);
      const Acc* line = from + (base + source) * channels;
      for (int i = 0; i < kPerLane; ++i) {
        if (channel + i * kWarp < channels) sum[i] += weight * line[i * kWarp];
      }
    }
  }
  T* to = out + sample * stride_sample + channel * stride_channel + row * stride_row + column * stride_column;
  for (int i = 0; i < kPerLane; ++i) {
    if (channel + i * kWarp < channels) to[i * kWarp * stride_channel] = narrow<T>(sum[i]);
  }
}

}  // namespace

template <typename Acc>
void sample_keypoints(const MapView (&maps)[2], const Acc* points, const PointSizes& sizes, Acc* const (&outs)[2],
                      cudaStream_t stream) {
  BEVKD_LAUNCH(sample_points<Acc>, blocks_for(sizes.samples * sizes.count, 1), kThreads, 0, stream, maps[0], maps[1],
               points, sizes, outs[0], outs[1]);
}

template <typename T, typename Acc>
void sample_keypoints_backward(const Acc* grad, const Acc* points, const PointSizes& sizes, int64_t channels,
                               const int64_t (&stride)[4], T* out, cudaStream_t stream) {
  const dim3 grid(blocks_for(sizes.samples * sizes.count, 1), blocks_for(channels, kWarp * kPerLane));
  BEVKD_LAUNCH((add_points<T, Acc>), grid, kTaps * kWarp, 0, stream, grad, points, sizes, channels, stride[0],
               stride[1], stride[2], stride[3], out);
}

template void sample_keypoints<float>(const MapView (&)[2], const float*, const PointSizes&, float* const (&)[2],
                                      cudaStream_t);
template void sample_keypoints<double>(const MapView (&)[2], const double*, const PointSizes&, double* const (&)[2],
                                       cudaStream_t);
#define BEVKD_INSTANTIATE(T)                                                                                           \
  template void sample_keypoints_backward<T, sum_t<T>>(const sum_t<T>*, const sum_t<T>*, const PointSizes&, int64_t,   \
                                                       const int64_t (&)[4], T*, cudaStream_t);
BEVKD_INSTANTIATE(float)
BEVKD_INSTANTIATE(double)
BEVKD_INSTANTIATE(__half)
BEVKD_INSTANTIATE(__nv_bfloat16)

}  // namespace bevkd::cuda

// Pooling over lists of points, for plans whose columns do not fit the kernels over columns. The list, sorted by cell, is
// cut into windows of 64 places whatever the cells, so that no warp has more to do than another: a cell with a thousand
// points is the work of sixteen warps.
//
//   pool_windows      a warp per window, lanes over channels. A cell whose points all lie in the window is written to the
//                     output; of the others a window has at most two, one that began before it and one that goes on.
//   add_windows       adds the parts of the cells that cross windows, in order; cells without points become zero.
//   pixel_gradients   a warp per pixel walks its depth bins.
// No atomics: the order of every sum is fixed.
#include "bev_pool_cuda.h"
#include "quads_cuda.h"

namespace bevkd::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerLane = 4;  // channels in the registers of a lane
constexpr int kChannels = kPerLane * kWarp;

// Channels low + lane, low + lane + 32, ... of a row.
template <typename T>
struct LaneChannels {
  int64_t low, channels;
  int lane;

  template <typename Run>
  __device__ void each(const Run& run) const {
#pragma unroll
    for (int j = 0; j < kPerLane; ++j) {
      const int64_t c = low + lane + j * kWarp;
      if (c < channels) run(j, c);
    }
  }
};

template <typename T>
struct Windows {
  PointPlan plan;
  Sizes n;
  sum_t<T>* partial;  // [windows, 2, C]: a cell that began earlier, a cell that goes on
  T* out;

  // The sum of a cell's points in the window that begins at place `first`.
  __device__ void write(int64_t first, int64_t cell, const LaneChannels<T>& at, const sum_t<T> (&sum)[kPerLane]) const {
    const int64_t begin = plan.offsets[cell], end = plan.offsets[cell + 1];
    const bool whole = begin >= first && end <= first + kWindow;
    sum_t<T>* const part = partial + (first / kWindow * 2 + (begin >= first)) * n.channels;
    at.each([&](int j, int64_t c) {
      if (whole) out[cell * n.channels + c] = narrow<T>(sum[j]);
      else part[c] = sum[j];
    });
  }
};

template <typename T>
__global__ void pool_windows(const T* depth, const T* feat, Windows<T> windows) {
  const PointPlan& plan = windows.plan;
  const Sizes& n = windows.n;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t first = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kWarp * kWindow;
  if (first >= plan.listed) return;
  for (int64_t low = 0; low < n.channels; low += kChannels) {
    const LaneChannels<T> at = {low, n.channels, lane};
    sum_t<T> sum[kPerLane] = {};
    int current = -1;
    for (int64_t batch = first; batch < min(first + kWindow, plan.listed); batch += kWarp) {
      // Each lane looks one point up; then all lanes walk over the 32 points.
      const int count = static_cast<int>(min(int64_t(kWarp), plan.listed - batch));
      int my_cell = -1, my_pixel = 0;
      sum_t<T> my_depth = 0;
      if (lane < count) {
        const int64_t point = plan.point[batch + lane];
        my_pixel = plan.pixel[batch + lane];
        require(point >= 0 && point < n.points() && my_pixel >= 0 && my_pixel < n.pixels());
        my_cell = plan.cell[point];
        require(my_cell >= 0 && my_cell < n.cells());
        my_depth = widen(depth[point]);
      }
      for (int i = 0; i < count; ++i) {
        const int cell = __shfl_sync(kFullWarp, my_cell, i);
        const T* const row = feat + __shfl_sync(kFullWarp, my_pixel, i) * n.channels;
        const sum_t<T> weight = __shfl_sync(kFullWarp, my_depth, i);
        if (cell != current) {
          if (current >= 0) windows.write(first, current, at, sum);
          current = cell;
          for (int j = 0; j < kPerLane; ++j) sum[j] = 0;
        }
        at.each([&](int j, int64_t c) { sum[j] = fused(weight, widen(row[c]), sum[j]); });
      }
    }
    windows.write(first, current, at, sum);
  }
}

template <typename T>
__global__ void add_windows(Windows<T> windows) {
  const Sizes& n = windows.n;
  const int64_t item = int64_t(blockIdx.x) * kThreads + threadIdx.x, cell = item / n.channels, c = item % n.channels;
  if (cell >= n.cells()) return;
  const int64_t begin = windows.plan.offsets[cell], end = windows.plan.offsets[cell + 1];
  require(0 <= begin && begin <= end && end <= windows.plan.listed);
  const int64_t first = begin / kWindow, last = (end - 1) / kWindow;
  if (begin < end && first == last) return;
  sum_t<T> sum = 0;
  for (int64_t w = first; begin < end && w <= last; ++w) sum += windows.partial[(2 * w + (w == first)) * n.channels + c];
  windows.out[item] = narrow<T>(sum);
}

template <typename T>
__global__ void pixel_gradients(const T* grad, const T* depth, const T* feat, const int32_t* cell, Sizes n,
                                T* grad_depth, T* grad_feat) {
  using S = sum_t<T>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t pixel = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (pixel >= n.pixels()) return;
  const T* const row = feat + pixel * n.channels;
  const int64_t first = pixel / n.image() * n.depths * n.image() + pixel % n.image();
  for (int64_t d = 0; d < n.depths; ++d) {
    const int64_t p = first + d * n.image(), at = cell[p];
    require(at < n.cells());
    S dot = 0;
    for (int64_t c = lane; at >= 0 && c < n.channels; c += kWarp) {
      dot = fused(widen(row[c]), widen(grad[at * n.channels + c]), dot);
    }
    for (int step = kWarp / 2; step > 0; step /= 2) dot += __shfl_xor_sync(kFullWarp, dot, step);
    if (lane == 0) grad_depth[p] = narrow<T>(dot);
  }
  for (int64_t low = 0; low < n.channels; low += kChannels) {
    const LaneChannels<T> at = {low, n.channels, lane};
    S sum[kPerLane] = {};
    for (int64_t d = 0; d < n.depths; ++d) {
      const int64_t p = first + d * n.image();
      if (cell[p] < 0) continue;
      const T* const g = grad + cell[p] * n.channels;
      const S weight = widen(depth[p]);
      at.each([&](int j, int64_t c) { sum[j] = fused(weight, widen(g[c]), sum[j]); });
    }
    at.each([&](int j, int64_t c) { grad_feat[pixel * n.channels + c] = narrow<T>(sum[j]); });
  }
}

}  // namespace

template <typename T>
void pool_points(const T* depth, const T* feat, const PointPlan& plan, const Sizes& n, sum_t<T>* partial, T* out,
                 cudaStream_t stream) {
  if (n.channels == 0) return;
  const Windows<T> windows = {plan, n, partial, out};
  const int64_t count = (plan.listed + kWindow - 1) / kWindow;
  BEVKD_LAUNCH(pool_windows<T>, blocks_for(count, kThreads / kWarp), kThreads, 0, stream, depth, feat, windows);
  BEVKD_LAUNCH(add_windows<T>, blocks_for(n.cells() * n.channels, kThreads), kThreads, 0, stream, windows);
}

template <typename T>
void pool_pixels_backward(const T* grad, const T* depth, const T* feat, const int32_t* cell, const Sizes& n,
                          T* grad_depth, T* grad_feat, cudaStream_t stream) {
  BEVKD_LAUNCH(pixel_gradients<T>, blocks_for(n.pixels(), kThreads / kWarp), kThreads, 0, stream, grad, depth, feat,
               cell, n, grad_depth, grad_feat);
}

#define BEVKD_POOL_POINTS_OF(T)                                                                                      \
  template void pool_points<T>(const T*, const T*, const PointPlan&, const Sizes&, sum_t<T>*, T*, cudaStream_t);     \
  template void pool_pixels_backward<T>(const T*, const T*, const T*, const int32_t*, const Sizes&, T*, T*, cudaStream_t);
BEVKD_POOL_POINTS_OF(float)
BEVKD_POOL_POINTS_OF(double)
BEVKD_POOL_POINTS_OF(__half)
BEVKD_POOL_POINTS_OF(__nv_bfloat16)

}  // namespace bevkd::cuda

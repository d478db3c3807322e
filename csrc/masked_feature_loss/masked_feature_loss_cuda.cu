// Streaming kernels: a warp takes a cell (interleaved memory) or a block a piece of one channel's map, threads take one
// or four neighbouring features at a time. Which block adds which features depends on shape and alignment alone, and so
// does the order of the sum. Features of weight 0 are not read.
#include "../common/cuda_block.h"
#include "masked_feature_loss_cuda.h"

namespace bevkd::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kCellsPerBlock = 64;      // interleaved: eight cells for each warp
constexpr int kColumnsPerBlock = 4096;  // otherwise: cells of one channel

template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T value[kWidth];
};

// What happens to a group of kWidth features, forward and backward.
template <typename T, int kPower, int kWidth>
struct AddGroup {
  using Sum = sum_t<T>;
  Sum sum = 0;

  __device__ void operator()(const LossMaps<T>& maps, int64_t student_at, int64_t teacher_at, int64_t slope_at,
                             const Sum* factor) {
    bool any = false;
    for (int i = 0; i < kWidth; ++i) any |= factor[i] != 0;
    if (!any) return;
    const auto student = *reinterpret_cast<const Pack<T, kWidth>*>(maps.student + student_at);
    const auto teacher = *reinterpret_cast<const Pack<T, kWidth>*>(maps.teacher + teacher_at);
    Pack<T, kWidth> slope;
    for (int i = 0; i < kWidth; ++i) {
      const Sum gap = widen(student.value[i]) - widen(teacher.value[i]);
      if (factor[i] != 0) sum += factor[i] * (kPower == 2 ? gap * gap : gap < 0 ? -gap : gap);
      slope.value[i] = narrow<T>(kPower == 2 ? gap : gap > 0 ? Sum(1) : gap < 0 ? Sum(-1) : gap);
    }
    if (maps.slope) *reinterpret_cast<Pack<T, kWidth>*>(maps.slope + slope_at) = slope;
  }
};

template <typename T, int kWidth>
struct ScaleGroup {
  using Sum = sum_t<T>;
  Sum grad;
  const T* slopes;
  T* out;

  __device__ void operator()(const LossMaps<T>&, int64_t, int64_t, int64_t slope_at, const Sum* factor) {
    bool any = false;
    for (int i = 0; i < kWidth; ++i) any |= factor[i] != 0;
    Pack<T, kWidth> result;
    for (int i = 0; i < kWidth; ++i) result.value[i] = narrow<T>(Sum(0));
    if (any) {
      const auto slope = *reinterpret_cast<const Pack<T, kWidth>*>(slopes + slope_at);
      for (int i = 0; i < kWidth; ++i) {
        if (factor[i] != 0) result.value[i] = narrow<T>(grad * factor[i] * widen(slope.value[i]));
      }
    }
    *reinterpret_cast<Pack<T, kWidth>*>(out + slope_at) = result;
  }
};

__device__ inline int64_t offset(const MapStrides& at, int64_t sample, int64_t channel, int64_t row, int64_t column) {
  return sample * at.sample + channel * at.channel + row * at.row + column * at.column;
}

// Every group of the block's 64 cells: warps take cells, lanes groups of channels.
template <int kWidth, typename T, typename Group>
__device__ inline void visit_cells(const LossMaps<T>& maps, Group& group) {
  const int64_t cells = maps.samples * maps.rows * maps.columns, first = int64_t(blockIdx.x) * kCellsPerBlock;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int64_t cell = first + warp; cell < cells && cell < first + kCellsPerBlock; cell += kThreads / kWarp) {
    const int64_t line = cell / maps.columns, column = cell % maps.columns;
    const int64_t sample = line / maps.rows, row = line % maps.rows;
    const sum_t<T> weight = maps.cell_weight[cell];
    const auto at = [&](const MapStrides& map) { return offset(map, sample, 0, row, column); };
    const int64_t student = at(maps.student_at), teacher = at(maps.teacher_at), slope = at(maps.slope_at);
    for (int64_t c = int64_t(lane) * kWidth; c < maps.channels; c += kWarp * kWidth) {
      sum_t<T> factor[kWidth];
      for (int i = 0; i < kWidth; ++i) {
        factor[i] = maps.channel_weight ? weight * maps.channel_weight[sample * maps.channels + c + i] : weight;
      }
      group(maps, student + c, teacher + c, slope + c, factor);
    }
  }
}

// Every group of the block's piece of one channel's map: neighbouring threads take neighbouring columns.
template <int kWidth, typename T, typename Group>
__device__ inline void visit_plane(const LossMaps<T>& maps, int64_t blocks_per_plane, Group& group) {
  const int64_t plane = blockIdx.x / blocks_per_plane, sample = plane / maps.channels, channel = plane % maps.channels;
  const int64_t first = blockIdx.x % blocks_per_plane * kColumnsPerBlock, cells = maps.rows * maps.columns;
  const sum_t<T> scale = maps.channel_weight ? maps.channel_weight[plane] : sum_t<T>(1);
  const int64_t last = first + kColumnsPerBlock < cells ? first + kColumnsPerBlock : cells;
  for (int64_t cell = first + int64_t(threadIdx.x) * kWidth; cell < last; cell += kThreads * kWidth) {
    // A map has at most 2^31 cells per channel, which 32-bit division splits several times faster.
    const int64_t row = static_cast<uint32_t>(cell) / static_cast<uint32_t>(maps.columns);
    const int64_t column = cell - row * maps.columns;
    sum_t<T> factor[kWidth];
    for (int i = 0; i < kWidth; ++i) factor[i] = scale * maps.cell_weight[sample * cells + cell + i];
    const auto at = [&](const MapStrides& map) { return offset(map, sample, channel, row, column); };
    group(maps, at(maps.student_at), at(maps.teacher_at), at(maps.slope_at), factor);
  }
}

template <bool kInterleaved, int kWidth, typename T, typename Group>
__device__ inline void visit(const LossMaps<T>& maps, int64_t blocks_per_plane, Group& group) {
  if constexpr (kInterleaved) {
    visit_cells<kWidth>(maps, group);
  } else {
    visit_plane<kWidth>(maps, blocks_per_plane, group);
  }
}

template <bool kInterleaved, int kWidth, int kPower, typename T>
__global__ void add_features(LossMaps<T> maps, int64_t blocks_per_plane, sum_t<T>* parts) {
  AddGroup<T, kPower, kWidth> group;
  visit<kInterleaved, kWidth>(maps, blocks_per_plane, group);
  sum_t<T> total;
  block_exclusive_sum<kThreads>(group.sum, &total);
  if (threadIdx.x == 0) parts[blockIdx.x] = total;
}

template <bool kInterleaved, int kWidth, typename T>
__global__ void scale_slopes(LossMaps<T> maps, int64_t blocks_per_plane, const sum_t<T>* grad, const T* slope, T* out) {
  ScaleGroup<T, kWidth> group{*grad * sum_t<T>(maps.power), slope, out};
  visit<kInterleaved, kWidth>(maps, blocks_per_plane, group);
}

template <typename Sum>
__global__ void add_parts(const Sum* parts, int64_t count, Sum* loss) {
  double sum = 0, total;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += parts[i];
  block_exclusive_sum<kThreads>(sum, &total);
  if (threadIdx.x == 0) *loss = static_cast<Sum>(total);
}

template <typename T>
int64_t blocks_per_plane(const LossMaps<T>& maps) {
  return (maps.rows * maps.columns + kColumnsPerBlock - 1) / kColumnsPerBlock;
}

// Calls run(interleaved, width) with compile-time constants.
template <typename T, typename Run>
void with_layout(const LossMaps<T>& maps, const Run& run) {
  const auto with_width = [&](auto interleaved) {
    maps.wide ? run(interleaved, std::integral_constant<int, 4>()) : run(interleaved, std::integral_constant<int, 1>());
  };
  maps.interleaved ? with_width(std::true_type()) : with_width(std::false_type());
}

}  // namespace

template <typename T>
int64_t loss_parts(const LossMaps<T>& maps) {
  if (maps.interleaved) return blocks_for(maps.samples * maps.rows * maps.columns, kCellsPerBlock);
  return maps.samples * maps.channels * blocks_per_plane(maps);
}

template <typename T>
void masked_feature_loss(const LossMaps<T>& maps, sum_t<T>* parts, sum_t<T>* loss, cudaStream_t stream) {
  const unsigned blocks = blocks_for(loss_parts(maps), 1);
  const int64_t per_plane = blocks_per_plane(maps);
  with_layout(maps, [&](auto interleaved, auto width) {
    constexpr bool kInterleaved = decltype(interleaved)::value;
    constexpr int kWidth = decltype(width)::value;
    if (maps.power == 2) {
      BEVKD_LAUNCH((add_features<kInterleaved, kWidth, 2, T>), blocks, kThreads, 0, stream, maps, per_plane, parts);
    } else {
      BEVKD_LAUNCH((add_features<kInterleaved, kWidth, 1, T>), blocks, kThreads, 0, stream, maps, per_plane, parts);
    }
  });
  BEVKD_LAUNCH(add_parts<sum_t<T>>, 1, kThreads, 0, stream, parts, int64_t(blocks), loss);
}

template <typename T>
void masked_feature_loss_backward(const LossMaps<T>& maps, const sum_t<T>* grad, const T* slope, T* out,
                                  cudaStream_t stream) {
  const unsigned blocks = blocks_for(loss_parts(maps), 1);
  with_layout(maps, [&](auto interleaved, auto width) {
    BEVKD_LAUNCH((scale_slopes<decltype(interleaved)::value, decltype(width)::value, T>), blocks, kThreads, 0, stream,
                 maps, blocks_per_plane(maps), grad, slope, out);
  });
}

#define BEVKD_INSTANTIATE(T)                                                                                 \
  template int64_t loss_parts<T>(const LossMaps<T>&);                                                        \
  template void masked_feature_loss<T>(const LossMaps<T>&, sum_t<T>*, sum_t<T>*, cudaStream_t);              \
  template void masked_feature_loss_backward<T>(const LossMaps<T>&, const sum_t<T>*, const T*, T*, cudaStream_t);
BEVKD_INSTANTIATE(float)
BEVKD_INSTANTIATE(double)
BEVKD_INSTANTIATE(__half)
BEVKD_INSTANTIATE(__nv_bfloat16)

}  // namespace bevkd::cuda

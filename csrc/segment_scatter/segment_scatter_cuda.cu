// Sum, mean and maximum of the points of each voxel on the GPU, without atomics: the order of chunk_tree.h, so the same
// bits in every run and those of the CPU kernels.
//
// A row has a group of lanes, at most a warp, that share its channels in vectors of 16 bytes; lanes never exchange
// anything. A long segment would keep one group busy while the rest of the GPU waits, so two launches: the first reduces
// every chunk but a segment's first one, the second one reduces the first chunks and folds the others in.
#include "segment_scatter_cuda.h"

#include "reductions_cuda.h"

namespace bevkd::cuda {
namespace {

using namespace segment;

constexpr int kThreads = 256;
constexpr int kUnroll = 4;  // rows in flight

// Segments are plain tensors in the user's hands: an index that points outside stops the kernel, as torch's do.
__device__ inline void require(bool fits) {
  if (!fits) __trap();
}

// What a group of lanes works on: `item` of all, and the vectors lane, lane + lanes, ... of its channels.
struct Place {
  int64_t item;
  int lane;

  __device__ explicit Place(int lanes)
      : item((int64_t(blockIdx.x) * kThreads + threadIdx.x) / lanes), lane(threadIdx.x % lanes) {}
};

// Reduces places [from, to) of the list, at least one, at channels [c, c + Width).
template <typename Reduction>
__device__ typename Reduction::State reduce_chunk(const SegmentList& s, const typename Reduction::Scalar* features,
                                                  int64_t c, int64_t from, int64_t to) {
  using T = typename Reduction::Scalar;
  constexpr int W = Reduction::Width;
  const auto row_of = [&](int64_t i) {
    const int32_t point = s.point[i];
    require(point >= 0 && point < s.n.points);
    return point;
  };
  const int32_t start = row_of(from);
  auto state = Reduction::first(load<T, W>(features + start * s.n.channels + c), start);
  for (int64_t i = from + 1; i < to; i += kUnroll) {
    int32_t point[kUnroll];
    Row<T, W> row[kUnroll];
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      point[j] = row_of(i + j < to ? i + j : to - 1);
      row[j] = load<T, W>(features + point[j] * s.n.channels + c);
    }
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      if (i + j < to) state = Reduction::merge(state, Reduction::first(row[j], point[j]));
    }
  }
  return state;
}

// Spare chunk number `slot` is found from the voxel that owns place 64 slot + 63 of the list: the chunk after a
// segment's first one that begins in the 64 places after that one's beginning, so every spare chunk has its own slot.
template <typename Reduction>
__global__ void reduce_spare_chunks(SegmentList s, const typename Reduction::Scalar* features, Reduction reduction,
                                    int lanes) {
  const Place place(lanes);
  if (place.item >= spare_chunks(s.n)) return;
  const int64_t slot = place.item, middle = slot * kChunkPoints + kChunkPoints - 1;
  const int32_t point = s.point[middle];
  require(point >= 0 && point < s.n.points);
  const int32_t v = s.voxel_of_point[point];
  require(v >= 0 && v < s.n.voxels);
  const int64_t first = s.offsets[v], last = s.offsets[v + 1];
  require(first >= 0 && first <= middle && middle < last && last <= s.n.listed);
  const int64_t from = first + (slot - first / kChunkPoints + 1) * kChunkPoints;
  if (from >= last) return;
  const int64_t to = from + kChunkPoints < last ? from + kChunkPoints : last;
  for (int64_t c = place.lane * Reduction::Width; c < s.n.channels; c += lanes * Reduction::Width) {
    reduction.put_partial(slot * s.n.channels + c, reduce_chunk<Reduction>(s, features, c, from, to));
  }
}

template <typename Reduction>
__global__ void reduce_voxels(SegmentList s, const typename Reduction::Scalar* features, Reduction reduction,
                              int lanes) {
  const Place place(lanes);
  const int64_t v = place.item;
  if (v >= s.n.voxels) return;
  const int64_t first = s.offsets[v], last = s.offsets[v + 1], count = last - first;
  require(first >= 0 && count >= 0 && last <= s.n.listed);
  const int64_t chunks = (count + kChunkPoints - 1) / kChunkPoints, spare = first / kChunkPoints;
  using State = typename Reduction::State;
  const auto merge = [](const State& a, const State& b) { return Reduction::merge(a, b); };
  for (int64_t c = place.lane * Reduction::Width; c < s.n.channels; c += lanes * Reduction::Width) {
    const int64_t at = v * s.n.channels + c;
    if (count == 0) {
      reduction.put_empty(at);
      continue;
    }
    auto state = reduce_chunk<Reduction>(s, features, c, first, chunks == 1 ? last : first + kChunkPoints);
    if (chunks > 1) {
      ChunkTree<State> tree;
      tree.push(state, merge);
      for (int64_t k = 0; k < chunks - 1; ++k) tree.push(reduction.partial_at((spare + k) * s.n.channels + c), merge);
      state = tree.total(merge);
    }
    reduction.put(at, state, count);
  }
}

// winner null: every point of the voxel receives the gradient
template <typename T, int W>
__global__ void give_gradient(const T* grad, const int32_t* winner, const int32_t* voxel_of_point, SegmentSizes n,
                              T* out, int lanes) {
  const Place place(lanes);
  const int64_t point = place.item;
  if (point >= n.points) return;
  const int32_t v = voxel_of_point[point];
  require(v >= -1 && v < n.voxels);
  for (int64_t c = place.lane * W; c < n.channels; c += lanes * W) {
    __align__(16) T raw[W];
    __align__(16) int32_t won[W];
    for (int k = 0; k < W; ++k) won[k] = static_cast<int32_t>(point);
    if (v >= 0) {
      copy<T, W>(grad + v * n.channels + c, raw);
      if (winner != nullptr) copy<int32_t, W>(winner + v * n.channels + c, won);
    }
    for (int k = 0; k < W; ++k) {
      if (v < 0 || won[k] != point) raw[k] = narrow<T>(0);
    }
    copy<T, W>(raw, out + point * n.channels + c);
  }
}

// Lanes that share a row of so many vectors: a power of 2, so that groups do not straddle blocks.
int lanes_for(int64_t vectors) {
  int lanes = 1;
  while (lanes < kWarp && lanes < vectors) lanes *= 2;
  return lanes;
}

// Whether rows of `channels` at these addresses can be read and written in vectors of 16 bytes.
template <typename T, typename... Pointers>
bool wide(int64_t channels, Pointers... pointers) {
  return channels * sizeof(T) % 16 == 0 && ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

template <typename Reduction>
void reduce(const SegmentList& segments, const typename Reduction::Scalar* features, const Reduction& reduction,
            cudaStream_t stream) {
  if (segments.n.channels == 0) return;
  const int lanes = lanes_for(segments.n.channels / Reduction::Width);
  const int64_t per_block = kThreads / lanes;
  BEVKD_LAUNCH((reduce_spare_chunks<Reduction>), blocks_for(spare_chunks(segments.n), per_block), kThreads, 0, stream,
               segments, features, reduction, lanes);
  BEVKD_LAUNCH((reduce_voxels<Reduction>), blocks_for(segments.n.voxels, per_block), kThreads, 0, stream, segments,
               features, reduction, lanes);
}

template <typename T, int W>
void launch_gradient(const T* grad, const int32_t* winner, const int32_t* voxel_of_point, const SegmentSizes& n, T* out,
                     cudaStream_t stream) {
  if (n.channels == 0) return;
  const int lanes = lanes_for(n.channels / W);
  BEVKD_LAUNCH((give_gradient<T, W>), blocks_for(n.points, kThreads / lanes), kThreads, 0, stream, grad, winner,
               voxel_of_point, n, out, lanes);
}

}  // namespace

template <typename T>
void segment_sum(const SegmentList& segments, const T* features, bool mean, sum_t<T>* partial, T* out,
                 cudaStream_t stream) {
  constexpr int kWide = 16 / sizeof(T);
  if (wide<T>(segments.n.channels, features, out, partial)) {
    reduce<Sum<T, kWide>>(segments, features, {partial, out, mean}, stream);
  } else {
    reduce<Sum<T, 1>>(segments, features, {partial, out, mean}, stream);
  }
}

template <typename T>
void segment_max(const SegmentList& segments, const T* features, sum_t<T>* partial, int32_t* partial_winner, T* out,
                 int32_t* winner, cudaStream_t stream) {
  constexpr int kWide = 16 / sizeof(T);
  if (wide<T>(segments.n.channels, features, out, winner, partial, partial_winner)) {
    reduce<Max<T, kWide>>(segments, features, {partial, partial_winner, out, winner}, stream);
  } else {
    reduce<Max<T, 1>>(segments, features, {partial, partial_winner, out, winner}, stream);
  }
}

template <typename T>
void segment_max_backward(const T* grad, const int32_t* winner, const int32_t* voxel_of_point, const SegmentSizes& n,
                          T* out, cudaStream_t stream) {
  if (wide<T>(n.channels, grad, winner, out)) {
    launch_gradient<T, 16 / sizeof(T)>(grad, winner, voxel_of_point, n, out, stream);
  } else {
    launch_gradient<T, 1>(grad, winner, voxel_of_point, n, out, stream);
  }
}

template <typename T>
void segment_sum_backward(const T* grad, const int32_t* voxel_of_point, const SegmentSizes& n, T* out,
                          cudaStream_t stream) {
  segment_max_backward<T>(grad, nullptr, voxel_of_point, n, out, stream);
}

#define BEVKD_SEGMENT_SCATTER_OF(T)                                                                                 \
  template void segment_sum<T>(const SegmentList&, const T*, bool, sum_t<T>*, T*, cudaStream_t);                    \
  template void segment_max<T>(const SegmentList&, const T*, sum_t<T>*, int32_t*, T*, int32_t*, cudaStream_t);      \
  template void segment_sum_backward<T>(const T*, const int32_t*, const SegmentSizes&, T*, cudaStream_t);           \
  template void segment_max_backward<T>(const T*, const int32_t*, const int32_t*, const SegmentSizes&, T*, cudaStream_t);
BEVKD_SEGMENT_SCATTER_OF(float)
BEVKD_SEGMENT_SCATTER_OF(double)
BEVKD_SEGMENT_SCATTER_OF(__half)
BEVKD_SEGMENT_SCATTER_OF(__nv_bfloat16)

}  // namespace bevkd::cuda

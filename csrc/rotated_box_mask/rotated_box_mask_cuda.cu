// A thread per cell; a block reads boxes 64 at a time into shared memory, sines and radii included.
#include "rotated_box_mask_cuda.h"

namespace bevkd::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBoxes = 64;

template <typename T>
__global__ void mask_cells(const T* boxes, const bool* valid, BoxMaskSizes n, int64_t blocks_per_sample, int32_t* index,
                           int32_t* counts, float* gaussian) {
  BEVKD_SHARED BevBox tile[kBoxes];
  BEVKD_SHARED BoxPeak peaks[kBoxes];
  BEVKD_SHARED int hits[kBoxes];
  const int64_t sample = blockIdx.x / blocks_per_sample, cells = int64_t(n.map.rows) * n.map.columns;
  const int64_t cell = blockIdx.x % blocks_per_sample * kThreads + threadIdx.x;
  const bool real = cell < cells, first_block = blockIdx.x % blocks_per_sample == 0;
  const int32_t row = real ? static_cast<int32_t>(cell / n.map.columns) : 0;
  const int32_t column = real ? static_cast<int32_t>(cell % n.map.columns) : 0;
  const float x = n.map.centre_x(column), y = n.map.centre_y(row);
  int32_t found = kOutside;
  float weight = 0;
  for (int64_t first = 0; first < n.count; first += kBoxes) {
    const int number = static_cast<int>(n.count - first < kBoxes ? n.count - first : kBoxes);
    const int t = static_cast<int>(threadIdx.x);
    const int64_t mine = sample * n.count + first + t;
    const T* numbers = boxes + mine * n.width;
    __syncthreads();
    if (t < number) {
      hits[t] = 0;
      tile[t] = BevBox::read(numbers);
      if (first_block && valid[mine] && !tile[t].usable) counts[mine] = kUnusable;  // nobody adds to this one
      tile[t].usable = tile[t].usable && valid[mine];
      peaks[t].radius = -1;
      if (gaussian && tile[t].usable) peaks[t] = BoxPeak::of(numbers, n.map, n.min_overlap, n.min_radius);
    }
    __syncthreads();
    for (int k = 0; k < number; ++k) {
      const bool inside = real && tile[k].usable && tile[k].contains(x, y);
      const unsigned lanes = __ballot_sync(kFullWarp, inside);
      if (lanes != 0 && t % kWarp == 0) atomicAdd(&hits[k], __popc(lanes));
      if (inside && found < 0) found = static_cast<int32_t>(first + k);
      if (gaussian && peaks[k].radius >= 0) {
        const float value = peaks[k].at(row, column);
        weight = value > weight ? value : weight;
      }
    }
    __syncthreads();
    if (t < number && hits[t] > 0) atomicAdd(&counts[mine], hits[t]);
  }
  if (!real) return;
  index[sample * cells + cell] = found;
  if (gaussian) gaussian[sample * cells + cell] = weight;
}

}  // namespace

template <typename T>
void rotated_box_mask(const T* boxes, const bool* valid, const BoxMaskSizes& sizes, int32_t* index, int32_t* counts,
                      float* gaussian, cudaStream_t stream) {
  const int64_t cells = int64_t(sizes.map.rows) * sizes.map.columns, per_sample = (cells + kThreads - 1) / kThreads;
  const size_t bytes = sizeof(int32_t) * static_cast<size_t>(sizes.samples * sizes.count);
  if (bytes > 0) check(cudaMemsetAsync(counts, 0, bytes, stream), "memset of the counts of rotated_box_mask");
  BEVKD_LAUNCH(mask_cells<T>, blocks_for(sizes.samples * per_sample, 1), kThreads, 0, stream, boxes, valid, sizes,
               per_sample, index, counts, gaussian);
}

#define BEVKD_INSTANTIATE(T)                                                                                      \
  template void rotated_box_mask<T>(const T*, const bool*, const BoxMaskSizes&, int32_t*, int32_t*, float*,       \
                                    cudaStream_t);
BEVKD_INSTANTIATE(float)
BEVKD_INSTANTIATE(double)

}  // namespace bevkd::cuda

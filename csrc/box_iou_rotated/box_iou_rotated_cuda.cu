// Overlap of rotated boxes. A block reads a tile of rows and columns once, turns and circles included, and its threads
// share out the tile's pairs, neighbours in a row for neighbouring threads.
#include "box_iou_rotated_cuda.h"
#include "rotated_box.h"

namespace bevkd::cuda {
namespace {

constexpr int kSide = 32;
constexpr int kThreads = 256;

template <typename T>
__global__ void all_pairs(const T* first, int64_t rows, const T* second, int64_t columns, int64_t tiles_per_row,
                          bool over_first, T* out) {
  BEVKD_SHARED RotatedBox down[kSide];
  BEVKD_SHARED RotatedBox across[kSide];
  const int64_t row = blockIdx.x / tiles_per_row * kSide, column = blockIdx.x % tiles_per_row * kSide;
  const int thread = threadIdx.x;
  if (thread < kSide && row + thread < rows) down[thread] = read_box(first + 5 * (row + thread));
  const int other = thread - kSide;
  if (other >= 0 && other < kSide && column + other < columns) across[other] = read_box(second + 5 * (column + other));
  __syncthreads();
  for (int pair = thread; pair < kSide * kSide; pair += kThreads) {
    const int i = pair / kSide, j = pair % kSide;
    if (row + i < rows && column + j < columns) {
      out[(row + i) * columns + column + j] = static_cast<T>(overlap_ratio(down[i], across[j], over_first));
    }
  }
}

template <typename T>
__global__ void aligned_pairs(const T* first, const T* second, int64_t count, bool over_first, T* out) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) out[i] = static_cast<T>(overlap_ratio(read_box(first + 5 * i), read_box(second + 5 * i), over_first));
}

}  // namespace

template <typename T>
void box_iou_rotated(const T* first, int64_t rows, const T* second, int64_t columns, bool over_first, T* out,
                     cudaStream_t stream) {
  const int64_t across = (columns + kSide - 1) / kSide, down = (rows + kSide - 1) / kSide;
  BEVKD_LAUNCH(all_pairs<T>, blocks_for(across * down, 1), kThreads, 0, stream, first, rows, second, columns, across,
               over_first, out);
}

template <typename T>
void box_iou_rotated_aligned(const T* first, const T* second, int64_t count, bool over_first, T* out,
                             cudaStream_t stream) {
  BEVKD_LAUNCH(aligned_pairs<T>, blocks_for(count, kThreads), kThreads, 0, stream, first, second, count, over_first,
               out);
}

#define BEVKD_INSTANTIATE(T)                                                                                   \
  template void box_iou_rotated<T>(const T*, int64_t, const T*, int64_t, bool, T*, cudaStream_t);              \
  template void box_iou_rotated_aligned<T>(const T*, const T*, int64_t, bool, T*, cudaStream_t);
BEVKD_INSTANTIATE(float)
BEVKD_INSTANTIATE(double)

}  // namespace bevkd::cuda

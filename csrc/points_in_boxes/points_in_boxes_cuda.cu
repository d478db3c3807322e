// A thread per point; a block reads boxes 32 at a time, turns included, and keeps a bit for each.
#include <algorithm>

#include "points_in_boxes_cuda.h"
#include "upright_box.h"

namespace bevkd::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBoxes = 32;

// Where a block's points are.
struct Place {
  int64_t sample, point;

  __device__ explicit Place(int64_t blocks_per_sample)
      : sample(blockIdx.x / blocks_per_sample), point(blockIdx.x % blocks_per_sample * kThreads + threadIdx.x) {}
};

// All threads of the block: boxes [first, first + number) of the sample into shared memory.
template <typename T>
__device__ inline int read_tile(const T* boxes, int64_t first, int64_t box_count, UprightBox<T>* tile) {
  const int number = static_cast<int>(box_count - first < kBoxes ? box_count - first : kBoxes);
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < number) tile[threadIdx.x] = read_upright_box(boxes + 7 * (first + threadIdx.x));
  __syncthreads();
  return number;
}

template <typename T>
__global__ void all_pairs(const T* points, const T* boxes, int64_t count, int64_t box_count, int64_t blocks_per_sample,
                          bool point_major, bool* inside) {
  BEVKD_SHARED UprightBox<T> tile[kBoxes];
  const Place at(blocks_per_sample);
  const bool real = at.point < count;
  const T* mine = points + 3 * (at.sample * count + (real ? at.point : 0));
  const int lane = threadIdx.x % kWarp;
  for (int64_t first = int64_t(blockIdx.y) * kBoxes; first < box_count; first += int64_t(gridDim.y) * kBoxes) {
    const int number = read_tile(boxes + 7 * at.sample * box_count, first, box_count, tile);
    unsigned bits = 0;
    for (int k = 0; k < number; ++k) bits |= unsigned(tile[k].contains(mine)) << k;
    if (!point_major) {
      bool* out = inside + (at.sample * box_count + first) * count + at.point;
      for (int k = 0; real && k < number; ++k) out[k * count] = (bits >> k & 1) != 0;
      continue;
    }
    // The warp writes the boxes of one point after the other, so that neighbouring lanes write neighbouring bytes.
    for (int source = 0; source < kWarp; ++source) {
      const unsigned theirs = __shfl_sync(kFullWarp, bits, source);
      const int64_t point = at.point - lane + source;
      if (point < count && lane < number) {
        inside[(at.sample * count + point) * box_count + first + lane] = (theirs >> lane & 1) != 0;
      }
    }
  }
}

template <typename T>
__global__ void first_of(const T* points, const T* boxes, int64_t count, int64_t box_count, int64_t blocks_per_sample,
                         int32_t* out) {
  BEVKD_SHARED UprightBox<T> tile[kBoxes];
  const Place at(blocks_per_sample);
  const bool real = at.point < count;
  const T* mine = points + 3 * (at.sample * count + (real ? at.point : 0));
  int32_t found = -1;
  for (int64_t first = 0; first < box_count; first += kBoxes) {
    const int number = read_tile(boxes + 7 * at.sample * box_count, first, box_count, tile);
    for (int k = 0; found < 0 && k < number; ++k) {
      if (tile[k].contains(mine)) found = static_cast<int32_t>(first + k);
    }
  }
  if (real) out[at.sample * count + at.point] = found;
}

}  // namespace

template <typename T>
void points_in_boxes(const T* points, const T* boxes, int64_t samples, int64_t count, int64_t box_count,
                     bool point_major, bool* inside, cudaStream_t stream) {
  const int64_t per_sample = (count + kThreads - 1) / kThreads, tiles = (box_count + kBoxes - 1) / kBoxes;
  const dim3 grid(blocks_for(samples * per_sample, 1), static_cast<unsigned>(std::min<int64_t>(tiles, 65535)));
  BEVKD_LAUNCH(all_pairs<T>, grid, kThreads, 0, stream, points, boxes, count, box_count, per_sample, point_major,
               inside);
}

template <typename T>
void points_in_boxes_part(const T* points, const T* boxes, int64_t samples, int64_t count, int64_t box_count,
                          int32_t* first, cudaStream_t stream) {
  const int64_t per_sample = (count + kThreads - 1) / kThreads;
  BEVKD_LAUNCH(first_of<T>, blocks_for(samples * per_sample, 1), kThreads, 0, stream, points, boxes, count, box_count,
               per_sample, first);
}

#define BEVKD_INSTANTIATE(T)                                                                                        \
  template void points_in_boxes<T>(const T*, const T*, int64_t, int64_t, int64_t, bool, bool*, cudaStream_t);       \
  template void points_in_boxes_part<T>(const T*, const T*, int64_t, int64_t, int64_t, int32_t*, cudaStream_t);
BEVKD_INSTANTIATE(float)
BEVKD_INSTANTIATE(double)

}  // namespace bevkd::cuda

// Sorting by one block.
#pragma once

#include <climits>

#include "cuda_launch.h"

namespace bevkd::cuda {

constexpr int kSortPiece = 4096;  // numbers that fit into shared memory (16 KB)

// A list of at most kSortPiece, bitonic.
template <int kThreads>
__device__ inline void sort_shared(int32_t* list, int count) {
  BEVKD_SHARED int32_t value[kSortPiece];
  int size = 2;
  while (size < count) size *= 2;
  for (int i = threadIdx.x; i < size; i += kThreads) value[i] = i < count ? list[i] : INT_MAX;
  __syncthreads();
  for (int run = 2; run <= size; run *= 2) {
    for (int step = run / 2; step > 0; step /= 2) {
      for (int i = threadIdx.x; i < size / 2; i += kThreads) {
        const int low = 2 * i - (i & (step - 1)), high = low + step;
        const bool ascending = (low & run) == 0;
        const int32_t a = value[low], b = value[high];
        if ((a > b) == ascending) value[low] = b, value[high] = a;
      }
      __syncthreads();
    }
  }
  for (int i = threadIdx.x; i < count; i += kThreads) list[i] = value[i];
  __syncthreads();
}

// Numbers of the sorted `list` that are below `value`.
__device__ inline int64_t count_below(const int32_t* list, int64_t count, int32_t value) {
  int64_t low = 0;
  while (count > 0) {
    const int64_t half = count / 2;
    if (list[low + half] < value) low += half + 1, count -= half + 1;
    else count = half;
  }
  return low;
}

// Sorts distinct integers in place, by a whole block of kThreads; `room` holds as many. Pieces are sorted in shared
// memory and merged pair by pair between the list and `room`: a number's place is its place in its own piece plus the
// count of smaller ones in the other.
template <int kThreads>
__device__ void block_sort(int32_t* list, int32_t* room, int64_t count) {
  for (int64_t at = 0; at < count; at += kSortPiece) {
    sort_shared<kThreads>(list + at, static_cast<int>(min(count - at, int64_t(kSortPiece))));
  }
  int32_t *from = list, *to = room;
  for (int64_t run = kSortPiece; run < count; run *= 2) {
    for (int64_t i = threadIdx.x; i < count; i += kThreads) {
      const int64_t mine = i / run * run, other = i / run % 2 == 0 ? mine + run : mine - run;
      const int64_t others = max(int64_t(0), min(run, count - other));
      to[i - mine + min(mine, other) + count_below(from + other, others, from[i])] = from[i];
    }
    __syncthreads();
    int32_t* const swap = from;
    from = to, to = swap;
  }
  if (from == list) return;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) list[i] = from[i];
  __syncthreads();
}

}  // namespace bevkd::cuda

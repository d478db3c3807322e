// Sums over the threads of a warp and of a block.
#pragma once

#include "cuda_launch.h"

namespace bevkd::cuda {

template <typename T>
__device__ inline T warp_inclusive_sum(T value) {
  for (int step = 1; step < kWarp; step *= 2) {
    const T below = __shfl_up_sync(kFullWarp, value, step);
    if (static_cast<int>(threadIdx.x) % kWarp >= step) value += below;
  }
  return value;
}

// The sum of the values of all lower threads of a block of kThreads in one dimension; `total` is the sum of all. Every
// thread must call it. Sums associate in one fixed order.
template <int kThreads, typename T>
__device__ inline T block_exclusive_sum(T value, T* total) {
  static_assert(kThreads % kWarp == 0);
  BEVKD_SHARED T warp_sum[kThreads / kWarp];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const T inclusive = warp_inclusive_sum(value);
  if (threadIdx.x % kWarp == kWarp - 1) warp_sum[warp] = inclusive;
  __syncthreads();
  T before = 0, all = 0;
  for (int w = 0; w < kThreads / kWarp; ++w) {
    if (w == warp) before = all;
    all += warp_sum[w];
  }
  __syncthreads();  // warp_sum may be used again
  *total = all;
  return before + inclusive - value;
}

}  // namespace bevkd::cuda

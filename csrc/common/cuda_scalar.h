// The scalars of kernels: float, double, __half and __nv_bfloat16, and the type each of them is summed in.
#pragma once

#include "cuda_launch.h"
#ifndef BEVKD_EMULATED_CUDA
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace bevkd::cuda {

template <typename T>
struct SumType {
  using type = float;
};
template <>
struct SumType<double> {
  using type = double;
};
template <typename T>
using sum_t = typename SumType<T>::type;

__device__ inline float widen(float value) { return value; }
__device__ inline double widen(double value) { return value; }
__device__ inline float widen(__half value) { return __half2float(value); }
__device__ inline float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

// Rounds to nearest even, as torch does.
template <typename T>
__device__ inline T narrow(sum_t<T> value) {
  return value;
}
template <>
__device__ inline __half narrow<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

}  // namespace bevkd::cuda

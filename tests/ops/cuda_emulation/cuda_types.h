// CUDA's plain types for the emulation: errors, streams, dim3, vectors with CUDA's alignment, half and bfloat16.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

enum cudaError_t { cudaSuccess = 0 };
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
using cudaStream_t = struct CUstream_st*;

#define BEVKD_EMULATED_VECTORS(T, name, align2, align4)                               \
  struct alignas(align2) name##2 {                                                    \
    T x, y;                                                                           \
  };                                                                                  \
  struct name##3 {                                                                    \
    T x, y, z;                                                                        \
  };                                                                                  \
  struct alignas(align4) name##4 {                                                    \
    T x, y, z, w;                                                                     \
  };                                                                                  \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                          \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                  \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
BEVKD_EMULATED_VECTORS(float, float, 8, 16)
BEVKD_EMULATED_VECTORS(double, double, 16, 16)
BEVKD_EMULATED_VECTORS(int, int, 8, 16)
BEVKD_EMULATED_VECTORS(unsigned, uint, 8, 16)
BEVKD_EMULATED_VECTORS(short, short, 4, 8)
BEVKD_EMULATED_VECTORS(unsigned short, ushort, 4, 8)
BEVKD_EMULATED_VECTORS(unsigned char, uchar, 2, 4)
BEVKD_EMULATED_VECTORS(long long, longlong, 16, 16)
#undef BEVKD_EMULATED_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

using __half = c10::Half;
using __nv_bfloat16 = c10::BFloat16;
inline float __half2float(__half value) { return value; }
inline float __bfloat162float(__nv_bfloat16 value) { return value; }
inline __half __float2half_rn(float value) { return value; }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return value; }

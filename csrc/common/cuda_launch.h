// What a kernel file needs, and all that it may use: the same file compiles with nvcc and, for the tests of machines
// without a GPU, as plain C++ against tests/ops/cuda_emulation.
//
// Arithmetic: .cu files are compiled with --fmad=false and IEEE division, so that metres become the same cells as on
// the CPU. A loop that wants a fused multiply-add asks for it by name, with fmaf(a, b, c), and gets one everywhere.
// Emulated blocks run one after another, so a block must never wait for another one.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#ifdef BEVKD_EMULATED_CUDA
#include <cuda_emulation.h>
#else
#include <cuda_runtime.h>

// BEVKD_SHARED float tile[32];                  a static array shared by the block
#define BEVKD_SHARED __shared__

// BEVKD_DYNAMIC_SHARED(float, rows);            the dynamic shared memory of the launch as float* rows, 16-byte aligned
#define BEVKD_DYNAMIC_SHARED(T, name)                                 \
  extern __shared__ __align__(16) unsigned char bevkd_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(bevkd_dynamic_shared)
#endif

namespace bevkd::cuda {

constexpr int kWarp = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

// Throws unless the call before it went well; `what` names that call.
inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA ") + what + ": " + cudaGetErrorString(status));
}

// Blocks of `per_block` that cover `count`; 0 for nothing, which BEVKD_LAUNCH skips.
inline unsigned blocks_for(int64_t count, int64_t per_block) {
  const int64_t blocks = (count + per_block - 1) / per_block;
  if (blocks > INT32_MAX) throw std::length_error("CUDA grid: " + std::to_string(blocks) + " blocks are over 2^31 - 1");
  return static_cast<unsigned>(blocks);
}

#ifdef __CUDACC__
template <typename... Parameters, typename... Arguments>
void launch(const char* name, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
            void (*kernel)(Parameters...), Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared_bytes > 48 * 1024) {  // more than the default needs asking
    const int bytes = static_cast<int>(shared_bytes);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), name);
  }
  kernel<<<grid, block, shared_bytes, stream>>>(arguments...);
  check(cudaGetLastError(), name);
}
#endif

}  // namespace bevkd::cuda

// BEVKD_LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...). Write (kernel<A, B>) in brackets when the
// template has a comma. Throws std::runtime_error naming the kernel when the launch is refused; a grid of no blocks is
// no launch.
#define BEVKD_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ::bevkd::cuda::launch(#kernel, grid, block, shared_bytes, stream, kernel, __VA_ARGS__)

// CUDA kernels on the CPU, for tests: what csrc/common/cuda_launch.h promises to kernels, in plain C++.
//
// Every thread of a block is a fibre. A fibre runs until it meets __syncthreads or a warp operation; when all that are
// expected have come, they go on. Blocks run one after another. The order of blocks, warps and lanes is shuffled anew
// at every turn, shared memory starts as NaN in every block, and what hardware leaves undefined (a barrier that only
// some threads reach, lanes of one mask in different operations, a misaligned vector, an array index out of bounds)
// ends the launch with an exception that names the kernel and the line.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <utility>

#include "cuda_types.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

// Nothing else in the library may be thread_local: blocks start with this storage poisoned.
#ifdef __SANITIZE_ADDRESS__
#define BEVKD_SHARED static  // the address sanitizer puts fences around globals, and has no need of poison
#else
#define BEVKD_SHARED static thread_local
#endif
#define BEVKD_DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(::bevkd::emulation::dynamic_shared())

#define threadIdx (::bevkd::emulation::current().thread)
#define blockIdx (::bevkd::emulation::current().block)
#define blockDim (::bevkd::emulation::current().block_dim)
#define gridDim (::bevkd::emulation::current().grid_dim)
constexpr int warpSize = 32;

namespace bevkd::emulation {

struct Place {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
};

enum class WarpOp { kSync, kShuffle, kShuffleUp, kShuffleDown, kShuffleXor, kBallot, kAny, kAll };

const Place& current();
void* dynamic_shared();
void sync_threads(int line);
// Parks the lane until every living lane of `mask` is in the same operation; the result is the exchanged value.
uint64_t warp_operation(WarpOp op, unsigned mask, uint64_t value, int argument, int width, int line);
[[noreturn]] void stop_kernel(const char* message);
// `check` says what a launch has done wrong, or nothing.
void set_check_after_launch(std::function<std::string()> check);
void run(const char* name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread);

template <typename T>
T exchange(WarpOp op, unsigned mask, T value, int argument, int width, int line) {
  static_assert(sizeof(T) <= 8, "warps exchange at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = warp_operation(op, mask, bits, argument, width, line);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace bevkd::emulation

namespace bevkd::cuda {
template <typename... Parameters, typename... Arguments>
void launch(const char* name, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t, void (*kernel)(Parameters...),
            Arguments... arguments) {
  const std::tuple<Parameters...> values(arguments...);
  emulation::run(name, grid, block, shared_bytes, [&] { std::apply(kernel, values); });
}
}  // namespace bevkd::cuda

inline void __syncthreads(int line = __builtin_LINE()) { bevkd::emulation::sync_threads(line); }
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) {
  bevkd::emulation::warp_operation(bevkd::emulation::WarpOp::kSync, mask, 0, 0, 32, line);
}
inline void __threadfence() {}
inline void __trap() { bevkd::emulation::stop_kernel("__trap"); }

#define BEVKD_EMULATED_SHUFFLE(function, op)                                                                 \
  template <typename T>                                                                                      \
  T function(unsigned mask, T value, int argument, int width = 32, int line = __builtin_LINE()) {            \
    return bevkd::emulation::exchange(bevkd::emulation::WarpOp::op, mask, value, argument, width, line);     \
  }
BEVKD_EMULATED_SHUFFLE(__shfl_sync, kShuffle)
BEVKD_EMULATED_SHUFFLE(__shfl_up_sync, kShuffleUp)
BEVKD_EMULATED_SHUFFLE(__shfl_down_sync, kShuffleDown)
BEVKD_EMULATED_SHUFFLE(__shfl_xor_sync, kShuffleXor)
#undef BEVKD_EMULATED_SHUFFLE

#define BEVKD_EMULATED_VOTE(function, op, result)                                                            \
  inline result function(unsigned mask, int predicate, int line = __builtin_LINE()) {                        \
    using namespace bevkd::emulation;                                                                        \
    return static_cast<result>(warp_operation(WarpOp::op, mask, predicate != 0, 0, 32, line));               \
  }
BEVKD_EMULATED_VOTE(__ballot_sync, kBallot, unsigned)
BEVKD_EMULATED_VOTE(__any_sync, kAny, int)
BEVKD_EMULATED_VOTE(__all_sync, kAll, int)
#undef BEVKD_EMULATED_VOTE

// Atomics: fibres switch only at barriers, so plain read-modify-write is atomic.
template <typename T>
struct bevkd_same {
  using type = T;
};
#define BEVKD_EMULATED_ATOMIC(function, next)                                 \
  template <typename T>                                                       \
  T function(T* address, typename bevkd_same<T>::type value) {                \
    const T old = *address;                                                   \
    *address = static_cast<T>(next);                                          \
    return old;                                                               \
  }
BEVKD_EMULATED_ATOMIC(atomicAdd, old + value)
BEVKD_EMULATED_ATOMIC(atomicSub, old - value)
BEVKD_EMULATED_ATOMIC(atomicMin, value < old ? value : old)
BEVKD_EMULATED_ATOMIC(atomicMax, value > old ? value : old)
BEVKD_EMULATED_ATOMIC(atomicExch, value)
BEVKD_EMULATED_ATOMIC(atomicOr, old | value)
BEVKD_EMULATED_ATOMIC(atomicAnd, old & value)
#undef BEVKD_EMULATED_ATOMIC
template <typename T>
T atomicCAS(T* address, typename bevkd_same<T>::type expected, typename bevkd_same<T>::type value) {
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}

using std::max;
using std::min;
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits)); }
template <typename T>
T __ldg(const T* address) {
  return *address;
}
template <typename To, typename From>
To bevkd_bit_cast(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  std::memcpy(&result, &value, sizeof(To));
  return result;
}
inline int __float_as_int(float value) { return bevkd_bit_cast<int>(value); }
inline unsigned __float_as_uint(float value) { return bevkd_bit_cast<unsigned>(value); }
inline float __int_as_float(int value) { return bevkd_bit_cast<float>(value); }
inline float __uint_as_float(unsigned value) { return bevkd_bit_cast<float>(value); }

enum cudaMemcpyKind { cudaMemcpyDeviceToDevice = 3 };
inline cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t = nullptr) {
  std::memset(data, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t = nullptr) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

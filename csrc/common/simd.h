// Vectors of a chosen width, and the choice of the widest that the processor has.
//
// A job is a struct with `template <int kBytes> BEVKD_INLINE Result run() const`. It is compiled for AVX-512 (64 bytes),
// AVX2 (32) and the baseline (16). It writes vectors of kBytes, or plain loops for the compiler to vectorise.
// IEEE operations round alike at any width and setup.py forbids contraction, so a job whose order of additions does not
// depend on kBytes gives the same bits on all of them.
#pragma once

#include <ATen/Version.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

// What a job calls must become part of it to be compiled like it.
#define BEVKD_INLINE inline __attribute__((always_inline))

namespace bevkd::simd {

template <typename T, int kBytes>
struct Vector {
  typedef T type __attribute__((vector_size(kBytes)));
  static constexpr int lanes = kBytes / sizeof(T);
};
template <typename T, int kBytes>
using vec = typename Vector<T, kBytes>::type;

template <typename T, int kBytes>
BEVKD_INLINE void load(vec<T, kBytes>& to, const T* from) {
  std::memcpy(&to, from, kBytes);
}
template <typename T, int kBytes>
BEVKD_INLINE void store(T* to, const vec<T, kBytes>& from) {
  std::memcpy(to, &from, kBytes);
}

// The width of torch's own kernels. ATEN_CPU_CAPABILITY chooses it, and torch does not check that the processor has it.
inline int64_t asked_bytes() {
  const std::string name = at::get_cpu_capability();
  return name == "AVX512" ? 64 : name == "AVX2" ? 32 : 16;
}

// The widest registers that processor and operating system have, with all that torch's kernels of that width use.
inline int64_t processor_bytes() {
#ifdef __x86_64__
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  if (avx2 && avx512) return 64;
  if (avx2) return 32;
#endif
  return 16;
}

// The width of bevkd's kernels: torch's, or less where the processor has less.
inline int64_t widest() {
  static const int64_t bytes = std::min(asked_bytes(), processor_bytes());
  return bytes;
}

#ifdef __x86_64__
template <typename Job>
__attribute__((target("avx512f,avx512vl"))) auto run_avx512(const Job& job) {
  return job.template run<64>();
}
template <typename Job>
__attribute__((target("avx2"))) auto run_avx2(const Job& job) {
  return job.template run<32>();
}
#endif

template <typename Job>
auto run(const Job& job) {
#ifdef __x86_64__
  if (widest() == 64) return run_avx512(job);
  if (widest() == 32) return run_avx2(job);
#endif
  return job.template run<16>();
}

}  // namespace bevkd::simd

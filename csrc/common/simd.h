// Vectors of a chosen width, and the choice of the widest that the machine has.
//
// A job is a struct with `template <int kBytes> BEVKD_INLINE Result run() const` written in vectors of kBytes. It is
// compiled for AVX-512 (64 bytes), AVX2 (32) and the baseline (16); ATEN_CPU_CAPABILITY overrules the choice, as for
// torch. IEEE operations round alike at any width and setup.py forbids contraction, so a job whose order of additions
// does not depend on kBytes gives the same bits on all of them.
#pragma once

#include <ATen/Version.h>

#include <cstring>
#include <string>

#include "clones.h"

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

inline int widest() {
  static const int bytes = [] {
    const std::string name = at::get_cpu_capability();
    return name == "AVX512" ? 64 : name == "AVX2" ? 32 : 16;
  }();
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

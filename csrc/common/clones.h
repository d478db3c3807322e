// One function, compiled for several instruction sets; the loader picks the best that the machine has. Every version
// gives the same bits: IEEE operations round alike at any vector width, and setup.py forbids contraction to fused ones.
#pragma once

// What such a function calls must become part of it to be compiled like it.
#define BEVKD_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define BEVKD_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define BEVKD_CLONES
#endif

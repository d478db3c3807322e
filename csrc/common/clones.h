// One function, compiled for several instruction sets; the loader picks the best that the machine has. Every version
// gives the same bits: IEEE operations round alike at any vector width, and setup.py forbids contraction to fused ones.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define BEVKD_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define BEVKD_CLONES
#endif

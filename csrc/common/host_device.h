// Marks functions that a C++ compiler and nvcc both compile, so that CPU and GPU share one arithmetic.
#pragma once

#ifdef __CUDACC__
#define BEVKD_HD __host__ __device__
#else
#define BEVKD_HD
#endif

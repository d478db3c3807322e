// Four neighbouring channels as one load or store, and what the kernels of pooling do with them. Device code only.
#pragma once

#include "../common/cuda_scalar.h"
#include "../common/host_device.h"

namespace bevkd::cuda {

template <typename T>
struct alignas(sizeof(T) < 4 ? 4 * sizeof(T) : 16) Quad {
  T v[4];
};

__device__ inline float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return fma(a, b, c); }

// Plans are plain tensors in the user's hands: an index that points outside stops the kernel, as torch's do.
__device__ inline void require(bool fits) {
  if (!fits) __trap();
}

// Rows of `channels`; `quads` when each begins on a boundary of four and has a whole number of them.
struct RowForm {
  int64_t channels;
  bool quads;
};

template <typename T, typename... Pointers>
BEVKD_HD inline RowForm row_form(int64_t channels, Pointers... pointers) {
  return {channels, channels % 4 == 0 && ((reinterpret_cast<uintptr_t>(pointers) % alignof(Quad<T>) == 0) && ...)};
}

// Channels c to c + 3 of a row; those that it lacks are zero.
template <typename T>
__device__ inline Quad<sum_t<T>> load_quad(const T* row, int64_t c, RowForm form) {
  Quad<sum_t<T>> quad;
  if (form.quads) {
    const Quad<T> raw = *reinterpret_cast<const Quad<T>*>(row + c);
    for (int j = 0; j < 4; ++j) quad.v[j] = widen(raw.v[j]);
  } else {
    for (int j = 0; j < 4; ++j) quad.v[j] = c + j < form.channels ? widen(row[c + j]) : sum_t<T>(0);
  }
  return quad;
}

template <typename T>
__device__ inline void store_quad(T* row, int64_t c, RowForm form, const Quad<sum_t<T>>& quad) {
  if (form.quads) {
    Quad<T> raw;
    for (int j = 0; j < 4; ++j) raw.v[j] = narrow<T>(quad.v[j]);
    *reinterpret_cast<Quad<T>*>(row + c) = raw;
  } else {
    for (int j = 0; j < 4 && c + j < form.channels; ++j) row[c + j] = narrow<T>(quad.v[j]);
  }
}

}  // namespace bevkd::cuda

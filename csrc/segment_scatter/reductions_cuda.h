// What the kernels of segment scatter reduce: vectors of a row, and sums and maxima of them. Device code only.
#pragma once

#include "segment_scatter_cuda.h"

namespace bevkd::cuda::segment {

template <typename T, int Width>
struct Row {
  __align__(16) sum_t<T> value[Width];
};

// Copies Width values, by 16 bytes where so many are that long; both addresses are then aligned to 16.
template <typename T, int Width>
__device__ inline void copy(const T* from, T* to) {
  constexpr int kPerVector = 16 / sizeof(T);
  if constexpr (Width % kPerVector == 0) {
    for (int k = 0; k < Width; k += kPerVector) *reinterpret_cast<int4*>(to + k) = *reinterpret_cast<const int4*>(from + k);
  } else {
    for (int k = 0; k < Width; ++k) to[k] = from[k];
  }
}

template <typename T, int Width>
__device__ inline Row<T, Width> load(const T* from) {
  __align__(16) T raw[Width];
  copy<T, Width>(from, raw);
  Row<T, Width> row;
  for (int k = 0; k < Width; ++k) row.value[k] = widen(raw[k]);
  return row;
}

// A reduction: State of some points in a row, `first` of one point, `merge` with the next point or the next chunk.
template <typename T, int W>
struct Sum {
  static constexpr int Width = W;
  using Scalar = T;
  using State = Row<T, W>;
  sum_t<T>* partial;
  T* out;
  bool mean;

  static __device__ State first(const Row<T, W>& row, int32_t) { return row; }
  static __device__ State merge(State a, const State& b) {
    for (int k = 0; k < W; ++k) a.value[k] += b.value[k];
    return a;
  }
  __device__ void put_partial(int64_t at, const State& sum) const {
    copy<sum_t<T>, W>(sum.value, partial + at);
  }
  __device__ State partial_at(int64_t at) const {
    State sum;
    copy<sum_t<T>, W>(partial + at, sum.value);
    return sum;
  }
  __device__ void put(int64_t at, const State& sum, int64_t count) const {
    const sum_t<T> divisor = mean ? static_cast<sum_t<T>>(count) : sum_t<T>(1);
    __align__(16) T raw[W];
    for (int k = 0; k < W; ++k) raw[k] = narrow<T>(sum.value[k] / divisor);
    copy<T, W>(raw, out + at);
  }
  __device__ void put_empty(int64_t at) const {
    for (int k = 0; k < W; ++k) out[at + k] = narrow<T>(0);
  }
};

template <typename T, int W>
struct Max {
  static constexpr int Width = W;
  using Scalar = T;
  struct State {
    __align__(16) sum_t<T> value[W];
    __align__(16) int32_t point[W];
  };
  sum_t<T>* partial;
  int32_t* partial_winner;
  T* out;
  int32_t* winner;

  static __device__ State first(const Row<T, W>& row, int32_t point) {
    State best;
    for (int k = 0; k < W; ++k) {
      best.value[k] = row.value[k];
      best.point[k] = point;
    }
    return best;
  }
  // The later one takes over where it is greater or the first NaN, so that the first of equal ones stays.
  static __device__ State merge(State a, const State& b) {
    for (int k = 0; k < W; ++k) {
      const bool takes = b.value[k] > a.value[k] || (b.value[k] != b.value[k] && a.value[k] == a.value[k]);
      a.value[k] = takes ? b.value[k] : a.value[k];
      a.point[k] = takes ? b.point[k] : a.point[k];
    }
    return a;
  }
  __device__ void put_partial(int64_t at, const State& best) const {
    copy<sum_t<T>, W>(best.value, partial + at);
    copy<int32_t, W>(best.point, partial_winner + at);
  }
  __device__ State partial_at(int64_t at) const {
    State best;
    copy<sum_t<T>, W>(partial + at, best.value);
    copy<int32_t, W>(partial_winner + at, best.point);
    return best;
  }
  __device__ void put(int64_t at, const State& best, int64_t) const {
    __align__(16) T raw[W];
    for (int k = 0; k < W; ++k) raw[k] = narrow<T>(best.value[k]);
    copy<T, W>(raw, out + at);
    copy<int32_t, W>(best.point, winner + at);
  }
  __device__ void put_empty(int64_t at) const {
    for (int k = 0; k < W; ++k) {
      out[at + k] = narrow<T>(0);
      winner[at + k] = -1;
    }
  }
};

}  // namespace bevkd::cuda::segment

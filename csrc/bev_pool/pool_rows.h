// Rows of C channels in units of 64 bytes, and sums over them whose order does not depend on the vector width.
//
// A row that is no whole number of units has a last unit that overlaps the one before: its first channels are then
// computed twice, to the same bits, and no lane ever reads or writes beyond the row. A row of less than one unit is
// padded by the caller.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/constant_pad_nd.h>

#include <cstdint>

#include "../common/simd.h"

namespace bevkd::pool {

constexpr int kUnitBytes = 64;
constexpr int kMaxUnits = 8;  // units that stay in registers

template <typename T>
constexpr int kUnit = kUnitBytes / static_cast<int>(sizeof(T));  // channels

// At most kMaxUnits units of a row.
struct Block {
  int64_t first;     // channel
  int64_t channels;  // at least a unit
  template <typename T>
  int units() const {
    return static_cast<int>((channels + kUnit<T> - 1) / kUnit<T>);
  }
  template <typename T>
  int64_t last() const {  // where the last unit starts within the block
    return channels - kUnit<T>;
  }
};

// The block that starts at channel `first`: as many units as fit, and never a rest of less than one.
template <typename T>
inline Block block_at(int64_t first, int64_t channels) {
  const int64_t rest = channels - first, most = int64_t(kMaxUnits) * kUnit<T>;
  if (rest <= most) return {first, rest};
  return {first, rest - most < kUnit<T> ? most - kUnit<T> : most};
}

// Calls body.template operator()<units>() for units from 1 to kMaxUnits.
template <int kUnits = 1, typename Body>
BEVKD_INLINE void with_units(int units, const Body& body) {
  if constexpr (kUnits < kMaxUnits) {
    if (units > kUnits) return with_units<kUnits + 1>(units, body);
  }
  body.template operator()<kUnits>();
}

// kUnits units of a row as vectors of kBytes.
template <typename T, int kUnits, int kBytes>
struct Row {
  using V = simd::vec<T, kBytes>;
  static constexpr int lanes = kBytes / static_cast<int>(sizeof(T));
  static constexpr int parts = kUnitBytes / kBytes;  // vectors of a unit
  static constexpr int count = kUnits * parts;
  V v[count];

  static BEVKD_INLINE int64_t offset(int i, int64_t last) {
    const int unit = i / parts;
    return (unit < kUnits - 1 ? int64_t(unit) * kUnit<T> : last) + i % parts * lanes;
  }
  BEVKD_INLINE void clear() {
#pragma GCC unroll 32
    for (int i = 0; i < count; ++i) v[i] = V{};
  }
  BEVKD_INLINE void read(const T* from, int64_t last) {
#pragma GCC unroll 32
    for (int i = 0; i < count; ++i) simd::load<T, kBytes>(v[i], from + offset(i, last));
  }
  // As read, with zeros where the last unit repeats channels of the one before, so that a dot product counts them once.
  BEVKD_INLINE void read_once(const T* from, int64_t last) {
    read(from, last);
    const int64_t repeated = int64_t(kUnits - 1) * kUnit<T> - last;
    if (repeated <= 0) return;
    T unit[kUnit<T>];
    std::memcpy(unit, from + last, kUnitBytes);
    for (int64_t i = 0; i < repeated; ++i) unit[i] = T(0);
#pragma GCC unroll 4
    for (int i = 0; i < parts; ++i) simd::load<T, kBytes>(v[count - parts + i], unit + i * lanes);
  }
  BEVKD_INLINE void write(T* to, int64_t last) const {
#pragma GCC unroll 32
    for (int i = 0; i < count; ++i) simd::store<T, kBytes>(to + offset(i, last), v[i]);
  }
  BEVKD_INLINE void add_scaled(const T* row, int64_t last, T weight) {
#pragma GCC unroll 32
    for (int i = 0; i < count; ++i) {
      V x;
      simd::load<T, kBytes>(x, row + offset(i, last));
      v[i] += x * weight;
    }
  }
};

// The tensor as contiguous T, its rows (last dimension) no shorter than a unit. No channels stay none.
template <typename T>
at::Tensor padded_rows(const at::Tensor& tensor) {
  const at::Tensor rows = tensor.to(c10::CppTypeToScalarType<T>::value);
  const int64_t channels = rows.size(-1);
  if (channels == 0 || channels >= kUnit<T>) return rows.contiguous();
  return at::constant_pad_nd(rows, {0, kUnit<T> - channels}, 0);
}

BEVKD_INLINE void prefetch_row(const void* row, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(row) + at);
}

}  // namespace bevkd::pool

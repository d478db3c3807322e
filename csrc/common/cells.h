// From metres to cells. The one place where compiled code does it; bevkd/ops/reference/cells.py says the same in torch.
//
// Contract: subtract, IEEE divide, floor, all in the precision of the input (no reciprocal, no fast-math), and the
// upper bound is exclusive. Two compares guard the upper bound, because (high - low) / size may round to either side
// of the whole number it stands for.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace bevkd {

constexpr int32_t kOutside = -1;

template <typename T>
struct Axis {
  T low;          // metres, inclusive
  T high;         // metres, exclusive
  T size;         // metres per cell
  int32_t count;  // number of cells, at most 2^24 so that a float counts them exactly
};

template <typename T>
BEVKD_HD inline bool is_finite(T value) {
  return value - value == T(0);
}

// The cell of a value, or kOutside. NaN fails the first compare, -inf the second.
// `truncate` rounds toward zero as older lift-splat code does: the cell below the lower bound counts as cell 0 too.
// Past the compares floor and truncation are the same number, and a conversion to an integer gives it: without branch or
// call to floor(), a compiler turns loops over this into vector instructions.
template <typename T>
BEVKD_HD inline int32_t cell_of(T value, const Axis<T>& axis, bool truncate = false) {
  const T ratio = (value - axis.low) / axis.size;
  const bool above = truncate ? ratio > T(-1) : ratio >= T(0);
  const bool inside = bool(value < axis.high) & above & bool(ratio < static_cast<T>(axis.count));
  return static_cast<int32_t>(inside ? ratio : static_cast<T>(kOutside));
}

}  // namespace bevkd

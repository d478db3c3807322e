// Bilinear weights of a point on a map, as torch's grid_sample(align_corners=False, padding_mode="zeros") has them.
#pragma once

#include <cmath>
#include <cstdint>

#include "../common/cells.h"
#include "../common/host_device.h"

namespace bevkd {

// Four cells around a point, numbered (row above, left), (above, right), (below, left), (below, right).
template <typename T>
struct Bilinear {
  int32_t row, column;  // of the first cell, from -1
  T down, right;        // distances from its centre, in cells
  bool finite, near;    // near: at least one of the cells lies on the map

  // x, y from -1 to 1 between the outer edges of the map.
  BEVKD_HD Bilinear(T x, T y, int64_t rows, int64_t columns) : row(0), column(0), down(0), right(0) {
    const T v = ((y + 1) * T(rows) - 1) / 2, u = ((x + 1) * T(columns) - 1) / 2;
    finite = is_finite(u) && is_finite(v);
    near = u > -1 && u < T(columns) && v > -1 && v < T(rows);
    if (!near) return;
    row = static_cast<int32_t>(std::floor(v));
    column = static_cast<int32_t>(std::floor(u));
    down = v - T(row);
    right = u - T(column);
  }

  BEVKD_HD int32_t tap_row(int k) const { return row + (k >> 1); }
  BEVKD_HD int32_t tap_column(int k) const { return column + (k & 1); }
  BEVKD_HD T tap_weight(int k) const { return (k >> 1 ? down : 1 - down) * (k & 1 ? right : 1 - right); }
  BEVKD_HD bool on_map(int k, int64_t rows, int64_t columns) const {
    const int32_t r = tap_row(k), c = tap_column(k);
    return near && r >= 0 && r < rows && c >= 0 && c < columns;
  }
};

}  // namespace bevkd

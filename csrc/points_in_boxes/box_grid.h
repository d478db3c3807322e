// The candidates among up to 64 boxes for any point: a coarse grid over the boxes, one bit per box in every cell.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "upright_box.h"

namespace bevkd {

template <typename T>
class BoxGrid {
 public:
  static constexpr int kBoxes = 64;

  BoxGrid(const UprightBox<T>* boxes, int count) {
    std::array<Bounds, kBoxes> bounds;
    for (int k = 0; k < count; ++k) {
      bounds[k] = around(boxes[k]);
      if (!bounds[k].finite()) {
        unbounded_ |= uint64_t(1) << k;
        continue;
      }
      x_.widen(bounds[k].x_low, bounds[k].x_high);
      y_.widen(bounds[k].y_low, bounds[k].y_high);
    }
    x_.settle();
    y_.settle();
    cells_.fill(unbounded_);
    for (int k = 0; k < count; ++k) {
      if (bounds[k].finite()) mark(bounds[k], uint64_t(1) << k);
    }
  }

  // A bit for every box that may contain the point, none missing.
  uint64_t candidates(T x, T y) const {
    if (!x_.covers(x) || !y_.covers(y)) return unbounded_;
    return cells_[y_.cell(y) * kSide + x_.cell(x)];
  }

 private:
  static constexpr int kSide = 64;

  struct Bounds {
    T x_low, x_high, y_low, y_high;

    // False for NaN, infinity and what would overflow when borders are subtracted.
    bool finite() const {
      return std::fabs(x_low) + std::fabs(x_high) + std::fabs(y_low) + std::fabs(y_high) <
             std::numeric_limits<T>::max() / 4;
    }
  };

  // Borders and points go through the same monotone arithmetic, so rounding cannot part a point from its box's cells.
  struct Side {
    T low = std::numeric_limits<T>::max(), high = std::numeric_limits<T>::lowest(), per_cell = 0;

    void widen(T from, T to) {
      low = std::min(low, from);
      high = std::max(high, to);
    }
    void settle() {
      per_cell = high > low ? T(kSide) / (high - low) : T(0);
      if (!std::isfinite(per_cell)) per_cell = 0;
    }
    bool covers(T value) const { return value >= low && value <= high; }
    int cell(T value) const { return std::min(static_cast<int>((value - low) * per_cell), kSide - 1); }
  };

  // Wider than the box by far more than the rounding in contains().
  static Bounds around(const UprightBox<T>& box) {
    const T reach_x = std::fabs(box.cos * box.half_x) + std::fabs(box.sin * box.half_y);
    const T reach_y = std::fabs(box.sin * box.half_x) + std::fabs(box.cos * box.half_y);
    const T slack = T(1e-5) * (reach_x + reach_y + std::fabs(box.x) + std::fabs(box.y));
    return {box.x - reach_x - slack, box.x + reach_x + slack, box.y - reach_y - slack, box.y + reach_y + slack};
  }

  void mark(const Bounds& bounds, uint64_t bit) {
    const int left = x_.cell(bounds.x_low), right = x_.cell(bounds.x_high);
    for (int y = y_.cell(bounds.y_low); y <= y_.cell(bounds.y_high); ++y) {
      for (int x = left; x <= right; ++x) cells_[y * kSide + x] |= bit;
    }
  }

  Side x_, y_;
  uint64_t unbounded_ = 0;
  std::array<uint64_t, kSide * kSide> cells_;
};

}  // namespace bevkd

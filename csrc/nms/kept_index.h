// Where the boxes kept so far are, so that suppression compares a box with its neighbours only.
//
// A hash grid of square cells, each as wide as the circles around ordinary boxes: two ordinary boxes that overlap lie
// in neighbouring cells. Boxes much larger than most would widen every cell; they are listed apart and always visited.
// What is visited decides the speed alone: the caller tests every visited box.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace bevkd {

struct Circle {
  double x, y, radius;  // around a box; NaN where the box overlaps nothing
};

class KeptIndex {
 public:
  explicit KeptIndex(const std::vector<Circle>& circles) : circles_(circles), next_(circles.size(), kEnd) {
    std::vector<double> radii;
    radii.reserve(circles.size());
    for (const Circle& circle : circles) {
      if (std::isfinite(circle.radius)) radii.push_back(circle.radius);
    }
    if (!radii.empty()) {
      const auto most = radii.begin() + static_cast<int64_t>(radii.size() - 1) * 9 / 10;
      std::nth_element(radii.begin(), most, radii.end());
      ordinary_ = 2 * *most;
    }
    // Rounding of centres and radii must not part two boxes that touch; a width of zero must not divide.
    cell_ = std::max(2 * ordinary_ * 1.001, 1e-30);
    size_t buckets = 16;
    while (buckets < 2 * circles.size()) buckets *= 2;
    head_.assign(buckets, kEnd);
  }

  void insert(int64_t box) {
    kept_.push_back(box);
    const Circle& circle = circles_[box];
    if (!(circle.radius <= ordinary_)) {
      if (circle.radius == circle.radius) large_.push_back(box);
      return;
    }
    int64_t& head = head_[bucket(cell(circle.x), cell(circle.y))];
    next_[box] = head;
    head = box;
  }

  // Whether `test` holds for a kept box that may overlap `box`. A box may be visited twice.
  template <typename Test>
  bool any_near(int64_t box, const Test& test) const {
    const Circle& circle = circles_[box];
    if (circle.radius != circle.radius) return false;
    if (circle.radius > ordinary_) return std::any_of(kept_.begin(), kept_.end(), test);
    if (std::any_of(large_.begin(), large_.end(), test)) return true;
    const int64_t x = cell(circle.x), y = cell(circle.y);
    for (int64_t i = x - 1; i <= x + 1; ++i) {
      for (int64_t j = y - 1; j <= y + 1; ++j) {
        for (int64_t other = head_[bucket(i, j)]; other != kEnd; other = next_[other]) {
          if (test(other)) return true;
        }
      }
    }
    return false;
  }

  const std::vector<int64_t>& kept() const { return kept_; }

 private:
  static constexpr int64_t kEnd = -1;

  // Clamped far outside any scene: still the same or neighbouring cells for boxes close to each other.
  int64_t cell(double metres) const {
    return static_cast<int64_t>(std::min(std::max(std::floor(metres / cell_), -1e15), 1e15));
  }

  size_t bucket(int64_t x, int64_t y) const {
    const uint64_t mixed = uint64_t(x) * 0x9E3779B97F4A7C15u + uint64_t(y) * 0xC2B2AE3D27D4EB4Fu;
    return (mixed ^ (mixed >> 32)) & (head_.size() - 1);
  }

  const std::vector<Circle>& circles_;
  double ordinary_ = 0;  // radius up to which a box lives in the grid
  double cell_;
  std::vector<int64_t> head_, next_, kept_, large_;
};

}  // namespace bevkd

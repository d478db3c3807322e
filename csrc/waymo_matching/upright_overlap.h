// Intersection over union of upright 3D boxes, by the rules of the Waymo Open Dataset's detection metrics.
#pragma once

#include <algorithm>

#include "../box_iou_rotated/rotated_box.h"
#include "chased_overlap.h"

namespace bevkd::waymo {

// A side of 1 cm or less, or of 1000 km or more, overlaps nothing.
constexpr double kSmallestSide = 1e-2, kLargestSide = 1e6;
constexpr double kSmallestUnion = 1e-6;  // m^3

struct UprightBox {
  bool usable;
  double bottom, top, volume;
  Rectangle plan;
  RotatedBox exact_plan;
};

// One row (x, y, z centre, length, width, height, heading).
inline UprightBox make_upright_box(const double* row) {
  const double x = row[0], y = row[1], z = row[2], length = row[3], width = row[4], height = row[5];
  const double smallest = std::min({length, width, height}), largest = std::max({length, width, height});
  UprightBox box{};
  box.usable = smallest > kSmallestSide && largest < kLargestSide;
  if (!box.usable) return box;
  box.bottom = z - height * 0.5;
  box.top = z + height * 0.5;
  box.volume = length * width * height;
  box.plan = make_rectangle(x, y, length, width, row[6]);
  const double plan[5] = {x, y, length, width, row[6]};
  box.exact_plan = read_box(plan);
  return box;
}

// In [0, 1]. exact: the true overlap of the outlines instead of the official one.
inline double upright_iou(const UprightBox& prediction, const UprightBox& truth, bool exact) {
  if (!prediction.usable || !truth.usable) return 0;
  const double height = std::min(prediction.top, truth.top) - std::max(prediction.bottom, truth.bottom);
  if (height < 0 || frames_apart(prediction.plan, truth.plan)) return 0;
  const double area = exact ? overlap_area(prediction.exact_plan, truth.exact_plan)
                            : chased_overlap(prediction.plan, truth.plan);
  const double shared = area * height, either = prediction.volume + truth.volume - shared;
  return either <= kSmallestUnion ? 0 : std::max(std::min(shared / either, 1.0), 0.0);
}

}  // namespace bevkd::waymo

// Exact overlap of two rotated rectangles: one is clipped by the four edges of the other, in the other's own frame.
//
// There every edge is axis-aligned, so a shared edge, an identical box or a copy turned by pi meets `<=` exactly or
// leaves a sliver of rounding size, never a wrong polygon. Everything is double, whatever the boxes are stored in.
#pragma once

#include <cmath>

#include "../common/cells.h"
#include "../common/host_device.h"

namespace bevkd {

// Centre, size along the box's own axes, radians; and what every pair it takes part in needs of it.
struct RotatedBox {
  double x, y, w, h, angle;
  double cos, sin;
  double radius;  // of the circle around the box; NaN where the box is not valid, so that no distance is within it

  BEVKD_HD double area() const { return w * h; }
  BEVKD_HD bool valid() const { return radius == radius; }
};

// One row (x, y, w, h, radians) of a tensor. A box is not valid with a side <= 0, with a value that is not finite, or
// with sides so long that areas would overflow.
template <typename T>
BEVKD_HD inline RotatedBox read_box(const T* row) {
  RotatedBox box{double(row[0]), double(row[1]), double(row[2]), double(row[3]), double(row[4]), 0, 0, NAN};
  const double square = box.w * box.w + box.h * box.h;
  if (box.w > 0 && box.h > 0 && is_finite(4 * square) && is_finite(box.x) && is_finite(box.y) && is_finite(box.angle)) {
    box.cos = std::cos(box.angle);
    box.sin = std::sin(box.angle);
    box.radius = 0.5 * std::sqrt(square);
  }
  return box;
}

struct Polygon {
  // A convex polygon gains at most one corner per clipping line, 4 + 4; the rest is room for corners that rounding
  // doubles.
  static constexpr int kRoom = 16;
  double x[kRoom], y[kRoom];
  int size;
};

// Keep in `polygon` the part where sign * coordinate <= limit; the coordinate is x, or y when `along_y`.
BEVKD_HD inline void clip(Polygon& polygon, bool along_y, double sign, double limit) {
  double excess[Polygon::kRoom];
  bool cuts = false;
  for (int i = 0; i < polygon.size; ++i) {
    excess[i] = sign * (along_y ? polygon.y[i] : polygon.x[i]) - limit;
    cuts |= excess[i] > 0;
  }
  if (!cuts) return;
  Polygon in;
  in.size = polygon.size;
  for (int i = 0; i < in.size; ++i) {
    in.x[i] = polygon.x[i];
    in.y[i] = polygon.y[i];
  }
  int size = 0;
  for (int i = 0; i < in.size; ++i) {
    const int j = i + 1 < in.size ? i + 1 : 0;
    const double here = excess[i], next = excess[j];
    if (here <= 0 && size < Polygon::kRoom) {
      polygon.x[size] = in.x[i];
      polygon.y[size++] = in.y[i];
    }
    if ((here < 0) != (next < 0) && here != 0 && next != 0 && size < Polygon::kRoom) {
      const double t = here / (here - next);
      polygon.x[size] = in.x[i] + t * (in.x[j] - in.x[i]);
      polygon.y[size++] = in.y[i] + t * (in.y[j] - in.y[i]);
    }
  }
  polygon.size = size;
}

BEVKD_HD inline double shoelace(const Polygon& polygon) {
  double twice = 0;
  for (int i = 2; i < polygon.size; ++i) {
    const double ax = polygon.x[i - 1] - polygon.x[0], ay = polygon.y[i - 1] - polygon.y[0];
    const double bx = polygon.x[i] - polygon.x[0], by = polygon.y[i] - polygon.y[0];
    twice += ax * by - ay * bx;
  }
  return 0.5 * std::fabs(twice);
}

// False where the circles around the boxes are apart: they share nothing then. False for a box that is not valid.
BEVKD_HD inline bool may_overlap(const RotatedBox& a, const RotatedBox& b) {
  const double dx = b.x - a.x, dy = b.y - a.y, reach = a.radius + b.radius;
  return dx * dx + dy * dy <= reach * reach;
}

// Square metres shared by two boxes; 0 for a box that is not valid.
BEVKD_HD inline double overlap_area(const RotatedBox& a, const RotatedBox& b) {
  if (!may_overlap(a, b)) return 0;
  const double dx = b.x - a.x, dy = b.y - a.y;
  const double cx = a.cos * dx + a.sin * dy, cy = a.cos * dy - a.sin * dx;
  const double cd = std::cos(b.angle - a.angle), sd = std::sin(b.angle - a.angle);
  const double ux = 0.5 * b.w * cd, uy = 0.5 * b.w * sd;   // half axes of b in the frame of a
  const double vx = -0.5 * b.h * sd, vy = 0.5 * b.h * cd;
  Polygon polygon{{cx + ux + vx, cx - ux + vx, cx - ux - vx, cx + ux - vx},
                  {cy + uy + vy, cy - uy + vy, cy - uy - vy, cy + uy - vy},
                  4};
  clip(polygon, false, 1, 0.5 * a.w);
  clip(polygon, false, -1, 0.5 * a.w);
  clip(polygon, true, 1, 0.5 * a.h);
  clip(polygon, true, -1, 0.5 * a.h);
  return shoelace(polygon);
}

// Intersection over union, or over the area of `a`; 0 for a box that is not valid.
BEVKD_HD inline double overlap_ratio(const RotatedBox& a, const RotatedBox& b, bool over_first) {
  const double shared = overlap_area(a, b);
  if (!(shared > 0)) return 0;
  return shared / (over_first ? a.area() : a.area() + b.area() - shared);
}

}  // namespace bevkd

// Exact overlap of two rotated rectangles: one is clipped by the four edges of the other, in the other's own frame.
//
// There every edge is axis-aligned, so a shared edge, an identical box or a copy turned by pi meets `<=` exactly or
// leaves a sliver of rounding size, never a wrong polygon. Everything is double, whatever the boxes are stored in.
#pragma once

#include <cmath>

#include "../common/cells.h"
#include "../common/host_device.h"

namespace bevkd {

struct RotatedBox {
  double x, y, w, h, angle;  // centre, size along its own axes, radians

  BEVKD_HD double area() const { return w * h; }
  BEVKD_HD bool valid() const {
    return w > 0 && h > 0 && is_finite(x) && is_finite(y) && is_finite(w) && is_finite(h) && is_finite(angle);
  }
};

struct Polygon {
  // A convex polygon gains at most one corner per clipping line, 4 + 4; the rest is room for corners that rounding
  // doubles.
  static constexpr int kRoom = 16;
  double x[kRoom], y[kRoom];
  int size;
};

// Keep the part of the polygon where sign * coordinate <= limit; the coordinate is x, or y when `along_y`.
BEVKD_HD inline Polygon clip(const Polygon& in, bool along_y, double sign, double limit) {
  Polygon out;
  out.size = 0;
  for (int i = 0; i < in.size; ++i) {
    const int j = i + 1 < in.size ? i + 1 : 0;
    const double here = sign * (along_y ? in.y[i] : in.x[i]) - limit;
    const double next = sign * (along_y ? in.y[j] : in.x[j]) - limit;
    if (here <= 0 && out.size < Polygon::kRoom) {
      out.x[out.size] = in.x[i];
      out.y[out.size++] = in.y[i];
    }
    if ((here < 0) != (next < 0) && here != 0 && next != 0 && out.size < Polygon::kRoom) {
      const double t = here / (here - next);
      out.x[out.size] = in.x[i] + t * (in.x[j] - in.x[i]);
      out.y[out.size++] = in.y[i] + t * (in.y[j] - in.y[i]);
    }
  }
  return out;
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

// Square metres shared by two boxes; 0 for a box that is not valid().
BEVKD_HD inline double overlap_area(const RotatedBox& a, const RotatedBox& b) {
  if (!a.valid() || !b.valid()) return 0;
  const double dx = b.x - a.x, dy = b.y - a.y;
  const double reach = 0.5 * (std::sqrt(a.w * a.w + a.h * a.h) + std::sqrt(b.w * b.w + b.h * b.h));
  if (dx * dx + dy * dy > reach * reach) return 0;

  const double ca = std::cos(a.angle), sa = std::sin(a.angle);
  const double cx = ca * dx + sa * dy, cy = ca * dy - sa * dx;
  const double cd = std::cos(b.angle - a.angle), sd = std::sin(b.angle - a.angle);
  const double ux = 0.5 * b.w * cd, uy = 0.5 * b.w * sd;   // half axes of b in the frame of a
  const double vx = -0.5 * b.h * sd, vy = 0.5 * b.h * cd;
  Polygon polygon{{cx + ux + vx, cx - ux + vx, cx - ux - vx, cx + ux - vx},
                  {cy + uy + vy, cy - uy + vy, cy - uy - vy, cy + uy - vy},
                  4};
  polygon = clip(polygon, false, 1, 0.5 * a.w);
  polygon = clip(polygon, false, -1, 0.5 * a.w);
  polygon = clip(polygon, true, 1, 0.5 * a.h);
  polygon = clip(polygon, true, -1, 0.5 * a.h);
  return shoelace(polygon);
}

// Intersection over union, or over the area of `a`; 0 for a box that is not valid().
BEVKD_HD inline double overlap_ratio(const RotatedBox& a, const RotatedBox& b, bool over_first) {
  const double shared = overlap_area(a, b);
  if (!(shared > 0)) return 0;
  return shared / (over_first ? a.area() : a.area() + b.area() - shared);
}

// One row (x, y, w, h, radians) of a tensor.
template <typename T>
BEVKD_HD inline RotatedBox read_box(const T* row) {
  return {double(row[0]), double(row[1]), double(row[2]), double(row[3]), double(row[4])};
}

}  // namespace bevkd

// Overlap of two rectangles as the Waymo Open Dataset's metrics compute it: two edges chase each other around the
// intersection (O'Rourke et al. 1982, "A new linear algorithm for intersecting convex polygons").
//
// Kept step for step, because its rounding decides ties and its blind spots belong to the official numbers: where the
// two outlines never close a common polygon although they touch, the overlap counts as nothing. The known case is a
// box and the same box turned by exactly pi, now and then. box_iou_rotated/rotated_box.h has no blind spots.
#pragma once

#include <algorithm>
#include <cmath>

#include "exact_cross.h"

namespace bevkd::waymo {

// Counter-clockwise from the rear left corner.
struct Rectangle {
  Vec corner[4];
  Vec low, high;
};

inline Rectangle make_rectangle(double x, double y, double length, double width, double heading) {
  const Vec centre{x, y}, reach = Vec{std::cos(heading), std::sin(heading)} * (length / 2.0);
  const Vec rear = centre - reach, front = centre + reach, axis = front - rear;
  const Vec left = Vec{-axis.y, axis.x} * (1.0 / length) * (width / 2.0);
  Rectangle r{{rear + left, rear - left, front - left, front + left}, rear + left, rear + left};
  for (const Vec p : r.corner) {
    r.low = {std::min(r.low.x, p.x), std::min(r.low.y, p.y)};
    r.high = {std::max(r.high.x, p.x), std::max(r.high.y, p.y)};
  }
  return r;
}

inline bool frames_apart(const Rectangle& a, const Rectangle& b) {
  return a.low.x > b.high.x || b.low.x > a.high.x || a.low.y > b.high.y || b.low.y > a.high.y;
}

namespace chase {

struct Outline {
  Vec point[20];  // at most two an iteration: nine of them from the first crossing on
  int size = 0;

  // A point equal to the first or the last one adds nothing: polygons may meet in a corner or along an edge.
  void add(Vec p) {
    if (size == 0 || !(p == point[0] || p == point[size - 1])) point[size++] = p;
  }
};

inline bool in_frame(Vec a, Vec b, Vec p) {
  return std::min(a.x, b.x) <= p.x && p.x <= std::max(a.x, b.x) && std::min(a.y, b.y) <= p.y &&
         p.y <= std::max(a.y, b.y);
}

// A point of both segments p0 p1 and q0 q1, whose cross product (p1 - p0) x (q0 - q1) is det.
inline bool meet(Vec p0, Vec p1, Vec q0, Vec q1, double det, Vec* at) {
  if (det == 0) {
    if (signed_cross(p0, p1, p0, q0) != 0) return false;
    for (const Vec end : {p0, p1}) {
      if (in_frame(q0, q1, end)) return *at = end, true;
    }
    for (const Vec end : {q0, q1}) {
      if (in_frame(p0, p1, end)) return *at = end, true;
    }
    return false;
  }
  const double sign = std::copysign(1.0, det), size = std::fabs(det), doubt = std::max(size, 1.0) * kDoubtful;
  // share / det says where along a segment the lines cross, 0 its start and 1 its end; near the end the segment is
  // measured once more from there.
  const auto inside = [&](double share, auto from_end) {
    if (share * sign < 0 || share * sign > size + doubt) return false;
    return share * sign <= size - doubt || from_end() * sign >= 0;
  };
  const double along_p = signed_cross(p0, q0, q1, q0);
  if (!inside(along_p, [&] { return signed_cross(p1, q1, q0, q1); })) return false;
  if (!inside(signed_cross(p0, p1, p0, q0), [&] { return signed_cross(p1, p0, p1, q1); })) return false;
  *at = p0 + (p1 - p0) * std::max(0.0, std::min(1.0, along_p / det));
  return true;
}

inline bool holds(const Rectangle& r, Vec p) {
  if (p.x < r.low.x || p.y < r.low.y || p.x > r.high.x || p.y > r.high.y) return false;
  for (int i = 0; i < 4; ++i) {
    const Vec edge = r.corner[(i + 1) % 4] - r.corner[i], to = p - r.corner[i];
    if (edge.x * to.y - edge.y * to.x < 0) return false;
  }
  return true;
}

inline bool holds(const Rectangle& outer, const Rectangle& inner) {
  return std::all_of(inner.corner, inner.corner + 4, [&](Vec p) { return holds(outer, p); });
}

inline double area(const Vec* point, int size) {
  double twice = 0;
  for (int i = 1; i + 1 < size; ++i) twice += cross(point[0], point[i], point[0], point[i + 1]);
  return std::fabs(twice) <= 1e-10 ? 0 : twice * 0.5;
}

// An edge that walks around a rectangle.
struct Edge {
  const Rectangle& rectangle;
  int end = 1;
  Vec from = rectangle.corner[0], to = rectangle.corner[1];

  void step() {
    from = to;
    end = (end + 1) % 4;
    to = rectangle.corner[end];
  }
};

}  // namespace chase

// Square metres shared by p and q. Not symmetric in its roundings and blind spots: p is the prediction.
inline double chased_overlap(const Rectangle& rp, const Rectangle& rq) {
  using namespace chase;
  if (frames_apart(rp, rq)) return 0;
  constexpr int kCorners = 8;
  Outline shared;
  bool p_inside = false, q_inside = false;
  Edge p{rp}, q{rq};
  for (int i = 0; i < 2 * kCorners; ++i) {
    const double det = signed_cross(p.from, p.to, q.to, q.from);
    const double p_beside_q = signed_cross(q.to, q.from, p.to, q.from);  // >= 0: p's end lies left of q
    Vec at;
    if (meet(p.from, p.to, q.from, q.to, det, &at)) {
      if (shared.size > 2 && at == shared.point[0]) return area(shared.point, shared.size);
      if (shared.size == 0) i = kCorners - 1;  // from the first crossing, one round leads back to it
      shared.add(at);
      p_inside = p_beside_q >= 0;
      q_inside = !p_inside;
    }
    const bool advance_p = det >= 0 ? p_beside_q < 0 : signed_cross(p.to, p.from, q.to, p.from) >= 0;
    Edge& moved = advance_p ? p : q;
    if (advance_p ? p_inside : q_inside) shared.add(moved.to);
    moved.step();
  }
  if (shared.size > 0) return 0;  // a corner, an edge, or a blind spot
  if (holds(rq, rp)) return area(rp.corner, 4);
  return holds(rp, rq) ? area(rq.corner, 4) : 0;
}

}  // namespace bevkd::waymo

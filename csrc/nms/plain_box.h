// Overlap of axis-aligned boxes, in the precision they are stored in.
#pragma once

#include "../common/host_device.h"

namespace bevkd {

template <typename T>
struct PlainBox {
  T x1, y1, x2, y2;

  BEVKD_HD T area(T extra) const { return (x2 - x1 + extra) * (y2 - y1 + extra); }
};

template <typename T>
BEVKD_HD inline PlainBox<T> read_plain_box(const T* row) {
  return {row[0], row[1], row[2], row[3]};
}

// Whether intersection over union exceeds `threshold`; `extra` is added to widths and heights. A value that is NaN
// makes the area, hence the ratio, NaN: no overlap. Compares in place of min and max treat it alike on every device.
template <typename T>
BEVKD_HD inline bool overlaps(const PlainBox<T>& a, const PlainBox<T>& b, T extra, T threshold) {
  const T w = (a.x2 < b.x2 ? a.x2 : b.x2) - (a.x1 > b.x1 ? a.x1 : b.x1) + extra;
  const T h = (a.y2 < b.y2 ? a.y2 : b.y2) - (a.y1 > b.y1 ? a.y1 : b.y1) + extra;
  if (!(w > T(0)) || !(h > T(0))) return false;
  const T shared = w * h;
  return shared / (a.area(extra) + b.area(extra) - shared) > threshold;
}

}  // namespace bevkd

// Whether a point lies in an upright box: one arithmetic for every device, in the precision of the tensors.
#pragma once

#include <cmath>

#include "../common/host_device.h"

namespace bevkd {

// Box (x, y, bottom z, dx, dy, dz, yaw counter-clockwise). Top and bottom belong to it, its sides do not.
template <typename T>
struct UprightBox {
  T x, y, middle, half_x, half_y, half_z, cos, sin;

  // NaN fails every compare, so a NaN in point or box means outside.
  BEVKD_HD bool contains(const T* point) const {
    if (!(std::fabs(point[2] - middle) <= half_z)) return false;
    const T dx = point[0] - x, dy = point[1] - y;
    return std::fabs(dx * cos + dy * sin) < half_x && std::fabs(dy * cos - dx * sin) < half_y;
  }
};

template <typename T>
BEVKD_HD inline UprightBox<T> read_upright_box(const T* row) {
  const T half_z = row[5] / 2;
  return {row[0], row[1], row[2] + half_z, row[3] / 2, row[4] / 2, half_z, std::cos(row[6]), std::sin(row[6])};
}

}  // namespace bevkd

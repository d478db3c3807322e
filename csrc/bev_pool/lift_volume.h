// The volume that frustum points fall into.
#pragma once

#include "../common/cells.h"

namespace bevkd::pool {

template <typename T>
struct Volume {
  Axis<T> x, y, z;
  bool truncate;

  // Cell number inside one sample's BEV map, kOutside where the point leaves it; NaN and infinities do.
  BEVKD_HD int32_t cell(const T* xyz) const {
    const int32_t column = cell_of(xyz[0], x, truncate), row = cell_of(xyz[1], y, truncate);
    return (column | row | cell_of(xyz[2], z, truncate)) >= 0 ? row * x.count + column : kOutside;  // no sign bit
  }
};

}  // namespace bevkd::pool

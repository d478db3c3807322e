// The voxel grid of one call. Shared by every voxelization kernel, of any device; no torch header here.
#pragma once

#include <cstdint>

#include "../common/cells.h"

namespace bevkd {

constexpr int64_t kNotFinite = -2;

struct VoxelGrid {
  Axis<float> axis[3];  // x, y, z

  BEVKD_HD int64_t cells() const { return int64_t(axis[0].count) * axis[1].count * axis[2].count; }

  // Row-major (z, y, x) number of the cell that holds a point of `width` columns, kOutside or kNotFinite.
  BEVKD_HD int64_t key(const float* point, int64_t width) const {
    for (int64_t f = 0; f < width; ++f) {
      if (!is_finite(point[f])) return kNotFinite;
    }
    const int32_t x = cell_of(point[0], axis[0]);
    const int32_t y = cell_of(point[1], axis[1]);
    const int32_t z = cell_of(point[2], axis[2]);
    if (x < 0 || y < 0 || z < 0) return kOutside;
    return (int64_t(z) * axis[1].count + y) * axis[0].count + x;
  }

  // The cell of a point that is inside: cell_of without its compares.
  BEVKD_HD void cell_inside(const float* point, int32_t* zyx) const {
    for (int i = 0; i < 3; ++i) zyx[2 - i] = static_cast<int32_t>((point[i] - axis[i].low) / axis[i].size);
  }
};

}  // namespace bevkd

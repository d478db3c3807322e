// The voxel grid of one call, checked. Shared by every voxelization kernel.
#pragma once

#include <c10/util/ArrayRef.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <cstdint>

#include "../common/cells.h"

namespace bevkd {

constexpr int64_t kNotFinite = -2;

struct VoxelGrid {
  Axis<float> axis[3];  // x, y, z

  int64_t cells() const { return int64_t(axis[0].count) * axis[1].count * axis[2].count; }

  // Row-major (z, y, x) number of the cell that holds a point of `width` columns, kOutside or kNotFinite.
  int64_t key(const float* point, int64_t width) const {
    for (int64_t f = 0; f < width; ++f) {
      if (!is_finite(point[f])) return kNotFinite;
    }
    const int32_t x = cell_of(point[0], axis[0]);
    const int32_t y = cell_of(point[1], axis[1]);
    const int32_t z = cell_of(point[2], axis[2]);
    if (x < 0 || y < 0 || z < 0) return kOutside;
    return (int64_t(z) * axis[1].count + y) * axis[0].count + x;
  }

  void unpack(int64_t key, int32_t* zyx) const {
    zyx[2] = static_cast<int32_t>(key % axis[0].count);
    key /= axis[0].count;
    zyx[1] = static_cast<int32_t>(key % axis[1].count);
    zyx[0] = static_cast<int32_t>(key / axis[1].count);
  }
};

inline VoxelGrid make_voxel_grid(c10::ArrayRef<double> size, c10::ArrayRef<double> range) {
  TORCH_CHECK_VALUE(size.size() == 3 && range.size() == 6, "voxel_size has ", size.size(), " and point_range ",
                    range.size(), " numbers, expected 3 and 6");
  VoxelGrid grid;
  double cells = 1;
  for (int i = 0; i < 3; ++i) {
    TORCH_CHECK_VALUE(size[i] > 0 && is_finite(size[i]), "voxel_size[", i, "] is ", size[i], ", expected a positive number");
    const double exact = (range[3 + i] - range[i]) / size[i];
    const double count = std::nearbyint(exact);
    TORCH_CHECK_VALUE(count >= 1 && count <= (1 << 24) && std::abs(exact - count) <= 1e-3, "point_range[", i, "] to [",
                      i + 3, "] is ", exact, " voxels, expected a whole number from 1 to 2^24");
    grid.axis[i] = {static_cast<float>(range[i]), static_cast<float>(range[3 + i]), static_cast<float>(size[i]),
                    static_cast<int32_t>(count)};
    cells *= count;
  }
  TORCH_CHECK_VALUE(cells < 9e18, "point_range holds ", cells, " voxels, expected fewer than 9e18");
  return grid;
}

}  // namespace bevkd

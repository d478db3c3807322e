// Cells of many points at once.
#pragma once

#include <cstdint>

#include "voxel_grid.h"

namespace bevkd {

// Coordinates of up to kSize points, apart, so that vector instructions fit; -1 -1 -1 outside or not finite.
struct CellBlock {
  static constexpr int64_t kSize = 256;
  alignas(64) int32_t x[kSize], y[kSize], z[kSize];
};

// `points` [count <= CellBlock::kSize, width]. Returns how many of them are not finite in some column.
int64_t cells_of_block(const float* points, int64_t width, int64_t count, const VoxelGrid& grid, CellBlock& cells);

}  // namespace bevkd

#include "voxel_cells.h"

#include "../common/simd.h"

namespace bevkd {
namespace {

// Puts points that are not finite in some column outside; there are few, so this need not be fast.
int64_t drop_invalid(const float* points, int64_t width, int64_t count, CellBlock& cells) {
  int64_t invalid = 0;
  for (int64_t i = 0; i < count; ++i) {
    bool finite = true;
    for (int64_t f = 0; f < width; ++f) finite &= is_finite(points[i * width + f]);
    if (finite) continue;
    cells.x[i] = cells.y[i] = cells.z[i] = kOutside;
    ++invalid;
  }
  return invalid;
}

struct CellsOfBlock {
  const float* points;
  int64_t width, count;
  const VoxelGrid& grid;
  CellBlock& cells;

  template <int kBytes>
  BEVKD_INLINE int64_t run() const {
    int32_t* const out[3] = {cells.x, cells.y, cells.z};
    for (int axis = 0; axis < 3; ++axis) {
      alignas(64) float column[CellBlock::kSize];
      for (int64_t i = 0; i < count; ++i) column[i] = points[i * width + axis];
      const Axis<float> scale = grid.axis[axis];
      for (int64_t i = 0; i < count; ++i) out[axis][i] = cell_of(column[i], scale);
    }
    for (int64_t i = 0; i < count; ++i) {
      const bool inside = (cells.x[i] | cells.y[i] | cells.z[i]) >= 0;  // no sign bit anywhere
      cells.x[i] = inside ? cells.x[i] : kOutside;
      cells.y[i] = inside ? cells.y[i] : kOutside;
      cells.z[i] = inside ? cells.z[i] : kOutside;
    }
    int32_t odd = 0;
    for (int64_t i = 0; i < count * width; ++i) odd |= !is_finite(points[i]);
    return odd ? drop_invalid(points, width, count, cells) : 0;
  }
};

}  // namespace

int64_t cells_of_block(const float* points, int64_t width, int64_t count, const VoxelGrid& grid, CellBlock& cells) {
  return simd::run(CellsOfBlock{points, width, count, grid, cells});
}

}  // namespace bevkd

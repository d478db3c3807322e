// Which points make up which voxel, found without locks and without regard to the number of threads.
//
// Points are distributed over buckets by their cell, so that a bucket owns its cells and its table of them stays in the
// cache; a job numbers the cells of one bucket and lists the members of each in input order. A voxel is known by its
// first point until all buckets are done; voxels in the order of their first points are then simply the set flags from
// left to right.
#pragma once

#include <cstdint>
#include <vector>

#include "voxel_grid.h"

namespace bevkd {

struct VoxelGroups {
  struct Members {
    uint32_t begin, count;  // into `member`
  };
  static constexpr int64_t kBlock = 4096;  // points; voxels are counted and written by blocks of their first points

  int64_t points = 0;
  int64_t invalid = 0;               // points with a column that is not finite
  const uint8_t* is_first = nullptr;  // [points] 1 for the first point of each voxel
  const Members* members = nullptr;   // [points], defined at first points
  const uint32_t* member = nullptr;   // points by voxel, in input order
  std::vector<int64_t> voxels_before;  // [blocks + 1] voxels whose first point lies in an earlier block

  int64_t blocks() const { return static_cast<int64_t>(voxels_before.size()) - 1; }
  int64_t voxels() const { return voxels_before.back(); }

  static std::vector<uint32_t> block_list() { return std::vector<uint32_t>(kBlock); }
  // Rows of the points in `block` that are the first of their voxel, at most `most` of them. `first` holds kBlock;
  // block_list() makes one.
  int64_t first_points(int64_t block, int64_t most, uint32_t* first) const;
};

// `points` [count, width]; the groups point into `scratch`, which holds voxel_scratch_bytes(count).
VoxelGroups group_points(const float* points, int64_t width, int64_t count, const VoxelGrid& grid, void* scratch);

}  // namespace bevkd

// Voxelization on a GPU: pointers, sizes and a stream. Nothing here allocates or waits for the device.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../common/cuda_launch.h"
#include "voxel_grid.h"

namespace bevkd::cuda {

// Where the numbers of one call go, on the device.
struct VoxelCounts {
  int64_t* voxels;   // null where nobody wants it; else its value on entry is the number of rows in use
  int64_t* dropped;  // voxels
  int64_t* invalid;  // points
};

// First point and number of points of an occupied cell; later the voxel's number and its first place in `point`.
struct CellEntry {
  unsigned first, count;
};

// Begins the scratch. Counters begin at -1, because one fill with 0xff prepares them and the table.
struct GroupingState {
  int64_t voxels, kept_points;  // kept_points lie in the voxels
  int64_t previous_voxels;      // counts.voxels on entry, or 0
  unsigned long long invalid;
  unsigned finished_tiles, long_segments;
};

// One call's scratch. Voxel v of the voxels that were kept holds point[begin[v]] .. point[begin[v + 1] - 1].
struct VoxelGroups {
  GroupingState* state;
  unsigned long long* key;   // [slots] cell of each slot; null where slots are cells
  CellEntry* entry;          // [slots]
  unsigned long long* tile;  // [tiles] voxels << 32 | points before each tile
  unsigned* slot;            // [N] slot of each point
  unsigned* rank;            // [N] how many points of the same cell arrived before
  unsigned* lead;            // [N] points of the cell if this is its first point, else 0; afterwards room for sorting
  int32_t* point;            // [N]
  int32_t* begin;            // [voxels + 1]
  int32_t* long_segment;     // [N / 32] voxels with many points
  VoxelCounts counts;
  int64_t points, slots, max_voxels;
  size_t cleared_bytes;  // from `state` on, to be filled with 0xff
  size_t bytes;          // in all
};

VoxelGroups lay_out_groups(void* scratch, int64_t points, int64_t cells, int64_t max_voxels, VoxelCounts counts);

// Fills counts, state, begin, point and, where it is not null, voxel_of_point [N].
void group_points(const VoxelGroups& groups, const float* points, int64_t width, const VoxelGrid& grid,
                  int32_t* voxel_of_point, cudaStream_t stream);

// What both kinds of features are written from and to. `rows` are the rows of the outputs; those past the voxels of
// this call that held voxels of the previous one (state->previous_voxels) are blanked.
struct VoxelRows {
  const float* points;
  int64_t width, rows;
  VoxelGrid grid;
  float* features;
  int32_t* coords;      // [rows, 3]
  int32_t* num_points;  // [rows]
};

void emit_padded(const VoxelGroups& groups, const VoxelRows& out, int64_t max_points, cudaStream_t stream);
void emit_means(const VoxelGroups& groups, const VoxelRows& out, int64_t max_points, cudaStream_t stream);
void emit_segments(const VoxelGroups& groups, const VoxelRows& out, int64_t* offsets, cudaStream_t stream);

// coords [N, 3]
void dynamic_cells(const float* points, int64_t count, int64_t width, const VoxelGrid& grid, int32_t* coords,
                   cudaStream_t stream);

}  // namespace bevkd::cuda

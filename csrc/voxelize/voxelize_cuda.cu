// What a voxelization writes: padded rows, means, or segments with their cells; and the cell of every point.
//
// One kernel each. emit_padded writes 4 K F V bytes as 16-byte stores, in order, and reads every kept point once;
// emit_means writes 4 F V; both write 16 V of coords and num_points. The cell of a voxel is found again from its first
// point, which spares 64-bit divisions of keys.
#include "voxelize_cuda.h"

namespace bevkd::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVoxels = 32;  // voxels of a block of emit_padded: its rows begin on a 16-byte boundary for any K and F
constexpr int kLanes = 8;    // lanes that average one voxel
constexpr int kAhead = 8;    // points whose loads are under way together

__device__ void write_cell(const VoxelGrid& grid, const float* point, int32_t* zyx) {
  for (int axis = 0; axis < 3; ++axis) zyx[2 - axis] = cell_of(point[axis], grid.axis[axis]);
}

// coords and num_points of one row. Returns whether its features are to be written: not so where the row was blank.
__device__ bool write_head(const VoxelGroups& groups, const VoxelRows& out, int64_t voxel, int64_t max_points) {
  if (voxel < groups.state->voxels) {
    const int32_t begin = groups.begin[voxel];
    const int64_t count = groups.begin[voxel + 1] - begin;
    write_cell(out.grid, out.points + groups.point[begin] * out.width, out.coords + 3 * voxel);
    if (out.num_points != nullptr) out.num_points[voxel] = static_cast<int32_t>(min(count, max_points));
    return true;
  }
  if (voxel >= groups.state->previous_voxels) return false;
  for (int axis = 0; axis < 3; ++axis) out.coords[3 * voxel + axis] = kOutside;
  out.num_points[voxel] = 0;
  return true;
}

__global__ void padded_rows(VoxelGroups groups, VoxelRows out, unsigned max_points) {
  const int64_t first = int64_t(blockIdx.x) * kVoxels, voxels = groups.state->voxels;
  if (first >= max(voxels, groups.state->previous_voxels)) return;
  const int64_t here = min(int64_t(kVoxels), out.rows - first);
  if (threadIdx.x < here) write_head(groups, out, first + threadIdx.x, max_points);

  const unsigned width = static_cast<unsigned>(out.width), row = max_points * width;
  const unsigned floats = static_cast<unsigned>(here) * row;
  float* const base = out.features + first * row;
  for (unsigned at = threadIdx.x * 4; at < floats; at += kThreads * 4) {
    unsigned voxel = at / row, rest = at % row, k = rest / width, column = rest % width;
    float value[4] = {};
    for (int j = 0; j < 4 && at + j < floats; ++j) {
      if (first + voxel < voxels) {
        const int32_t begin = groups.begin[first + voxel], end = groups.begin[first + voxel + 1];
        if (k < static_cast<unsigned>(end - begin)) value[j] = out.points[groups.point[begin + k] * out.width + column];
      }
      if (++column < width) continue;
      column = 0;
      if (++k < max_points) continue;
      k = 0, ++voxel;
    }
    if (at + 4 <= floats) {
      *reinterpret_cast<float4*>(base + at) = make_float4(value[0], value[1], value[2], value[3]);
    } else {
      for (unsigned j = 0; at + j < floats; ++j) base[at + j] = value[j];
    }
  }
}

// Eight lanes a voxel, each with every eighth column. The sum runs in input order, whatever its length.
__global__ void mean_rows(VoxelGroups groups, VoxelRows out, int64_t max_points) {
  const int64_t voxel = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t voxels = groups.state->voxels;
  if (voxel >= out.rows || voxel >= max(voxels, groups.state->previous_voxels)) return;
  if (lane == 0) write_head(groups, out, voxel, max_points);
  const int32_t begin = voxel < voxels ? groups.begin[voxel] : 0;
  const int64_t count = voxel < voxels ? min(int64_t(groups.begin[voxel + 1] - begin), max_points) : 0;
  for (int64_t column = lane; column < out.width; column += kLanes) {
    double sum = 0;
    for (int64_t first = 0; first < count; first += kAhead) {
      float value[kAhead];
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        if (first + j < count) value[j] = out.points[groups.point[begin + first + j] * out.width + column];
      }
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        if (first + j < count) sum += value[j];
      }
    }
    out.features[voxel * out.width + column] = count > 0 ? static_cast<float>(sum / static_cast<double>(count)) : 0.0f;
  }
}

__global__ void segment_rows(VoxelGroups groups, VoxelRows out, int64_t* offsets) {
  const int64_t voxel = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (voxel > out.rows) return;
  offsets[voxel] = groups.begin[voxel];
  if (voxel < out.rows) write_head(groups, out, voxel, 0);
}

__global__ void cells(const float* points, int64_t count, int64_t width, VoxelGrid grid, int32_t* coords) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const float* const point = points + i * width;
  if (grid.key(point, width) >= 0) {
    write_cell(grid, point, coords + 3 * i);
  } else {
    for (int axis = 0; axis < 3; ++axis) coords[3 * i + axis] = kOutside;
  }
}

}  // namespace

void emit_padded(const VoxelGroups& groups, const VoxelRows& out, int64_t max_points, cudaStream_t stream) {
  const unsigned blocks = blocks_for(out.rows, kVoxels);
  BEVKD_LAUNCH(padded_rows, blocks, kThreads, 0, stream, groups, out, static_cast<unsigned>(max_points));
}

void emit_means(const VoxelGroups& groups, const VoxelRows& out, int64_t max_points, cudaStream_t stream) {
  BEVKD_LAUNCH(mean_rows, blocks_for(out.rows, kThreads / kLanes), kThreads, 0, stream, groups, out, max_points);
}

void emit_segments(const VoxelGroups& groups, const VoxelRows& out, int64_t* offsets, cudaStream_t stream) {
  BEVKD_LAUNCH(segment_rows, blocks_for(out.rows + 1, kThreads), kThreads, 0, stream, groups, out, offsets);
}

void dynamic_cells(const float* points, int64_t count, int64_t width, const VoxelGrid& grid, int32_t* coords,
                   cudaStream_t stream) {
  BEVKD_LAUNCH(cells, blocks_for(count, kThreads), kThreads, 0, stream, points, count, width, grid, coords);
}

}  // namespace bevkd::cuda

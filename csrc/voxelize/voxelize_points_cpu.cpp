// Voxelization that keeps every point: its cell, or segments of points by voxel.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "../common/huge_pages.h"
#include "../common/share.h"
#include "voxel_cells.h"
#include "voxel_checks.h"
#include "voxel_groups.h"

namespace bevkd {
namespace {

using Segments = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

at::Tensor voxelize_dynamic(const at::Tensor& points_in, at::ArrayRef<double> size, at::ArrayRef<double> range) {
  const at::Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  const int64_t count = points.size(0), width = points.size(1);
  at::Tensor coords = at::empty({count, 3}, points.options().dtype(at::kInt));
  const float* const in = points.const_data_ptr<float>();
  int32_t* const out = coords.mutable_data_ptr<int32_t>();
  constexpr int64_t kJob = 32 * CellBlock::kSize;
  const auto make_block = [] { return CellBlock(); };
  share((count + kJob - 1) / kJob, make_block, [&](CellBlock& block, int64_t job) {
    const int64_t end = std::min(count, (job + 1) * kJob);
    for (int64_t begin = job * kJob; begin < end; begin += CellBlock::kSize) {
      const int64_t size = std::min(CellBlock::kSize, end - begin);
      cells_of_block(in + begin * width, width, size, grid, block);
      int32_t* zyx = out + 3 * begin;
      for (int64_t i = 0; i < size; ++i, zyx += 3) {
        zyx[0] = block.z[i], zyx[1] = block.y[i], zyx[2] = block.x[i];
      }
    }
  });
  return coords;
}

// Where the members of each block's voxels begin; and no point has an owner yet.
std::vector<int64_t> members_before(const VoxelGroups& groups, int64_t voxels, int32_t* owner) {
  std::vector<int64_t> before(groups.blocks() + 1, 0);
  share(groups.blocks(), VoxelGroups::block_list, [&](std::vector<uint32_t>& first, int64_t block) {
    const int64_t count = groups.first_points(block, voxels - groups.voxels_before[block], first.data());
    for (int64_t v = 0; v < count; ++v) before[block + 1] += groups.members[first[v]].count;
    const int64_t begin = block * VoxelGroups::kBlock, end = std::min(groups.points, begin + VoxelGroups::kBlock);
    std::fill(owner + begin, owner + end, kOutside);
  });
  for (size_t block = 1; block < before.size(); ++block) before[block] += before[block - 1];
  return before;
}

Segments voxelize_segments(const at::Tensor& points_in, at::ArrayRef<double> size, at::ArrayRef<double> range,
                           int64_t max_voxels) {
  const at::Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  check_caps(1, max_voxels);
  const auto ints = points.options().dtype(at::kInt), longs = points.options().dtype(at::kLong);
  const float* const in = points.const_data_ptr<float>();
  const int64_t width = points.size(1);
  at::Tensor scratch = empty_in_huge_pages({voxel_scratch_bytes(points.size(0))}, points.options().dtype(at::kByte),
                                           at::MemoryFormat::Contiguous);
  const VoxelGroups groups = group_points(in, width, points.size(0), grid, scratch.mutable_data_ptr());
  const int64_t voxels = std::min(groups.voxels(), max_voxels);
  at::Tensor voxel_of_point = at::empty({points.size(0)}, ints);
  int32_t* const owner = voxel_of_point.mutable_data_ptr<int32_t>();
  const std::vector<int64_t> before = members_before(groups, voxels, owner);

  at::Tensor coords = at::empty({voxels, 3}, ints), point = at::empty({before.back()}, ints);
  at::Tensor offsets = at::empty({voxels + 1}, longs);
  int32_t* const zyx = coords.mutable_data_ptr<int32_t>();
  int32_t* const order = point.mutable_data_ptr<int32_t>();
  int64_t* const offset = offsets.mutable_data_ptr<int64_t>();
  share(groups.blocks(), VoxelGroups::block_list, [&](std::vector<uint32_t>& first, int64_t block) {
    int64_t v = groups.voxels_before[block], at = before[block];
    const int64_t count = groups.first_points(block, voxels - v, first.data());
    for (int64_t i = 0; i < count; ++i, ++v) {
      const VoxelGroups::Members members = groups.members[first[i]];
      grid.cell_inside(in + first[i] * width, zyx + 3 * v);
      offset[v] = at;
      for (uint32_t k = 0; k < members.count; ++k, ++at) {
        const uint32_t row = groups.member[members.begin + k];
        order[at] = static_cast<int32_t>(row);
        owner[row] = static_cast<int32_t>(v);
      }
    }
  });
  offset[voxels] = before.back();
  return {coords, point, offsets, voxel_of_point, at::scalar_tensor(groups.voxels() - voxels, longs),
          at::scalar_tensor(groups.invalid, longs)};
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) {
  m.impl("voxelize_dynamic", bevkd::voxelize_dynamic);
  m.impl("voxelize_segments", bevkd::voxelize_segments);
}

// Hard voxelization on the CPU, padded or as means.
//
// Points are grouped by voxel (voxel_groups.h), then the rows of the voxels are written in voxel order, in parallel: the
// result does not depend on the number of threads.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "../common/huge_pages.h"
#include "../common/share.h"
#include "voxel_checks.h"
#include "voxel_groups.h"
#include "voxel_rows.h"

namespace bevkd {
namespace {

using Result = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

// Writes the voxels of one block of first points. Their points lie anywhere, so they are asked for some voxels ahead.
template <typename Rows>
void write_block(const VoxelGroups& groups, const VoxelGrid& grid, const Rows& rows, const uint32_t* first,
                 int64_t count, float* features, int32_t* coords, int32_t* num_points) {
  const int64_t row = rows.row_size();
  constexpr int64_t kAhead = 12;
  constexpr uint32_t kMembersAhead = 4;
  for (int64_t v = 0; v < count; ++v) {
    if (v + 2 * kAhead < count) __builtin_prefetch(groups.member + groups.members[first[v + 2 * kAhead]].begin);
    if (v + kAhead < count) {
      const VoxelGroups::Members next = groups.members[first[v + kAhead]];
      for (uint32_t k = 0; k < kMembersAhead; ++k) {  // a fixed number, because counts cannot be predicted
        __builtin_prefetch(rows.points + groups.member[next.begin + std::min(k, next.count - 1)] * rows.width);
      }
      for (uint32_t k = kMembersAhead; k < std::min<int64_t>(next.count, rows.max_points); ++k) {
        __builtin_prefetch(rows.points + groups.member[next.begin + k] * rows.width);
      }
    }
    const VoxelGroups::Members members = groups.members[first[v]];
    const int64_t kept = std::min<int64_t>(members.count, rows.max_points);
    rows(groups.member + members.begin, kept, features + v * row);
    grid.cell_inside(rows.points + first[v] * rows.width, coords + 3 * v);
    num_points[v] = static_cast<int32_t>(kept);
  }
}

template <typename Rows>
void write_voxels(const VoxelGroups& groups, const VoxelGrid& grid, const Rows& rows, int64_t voxels, float* features,
                  int32_t* coords, int32_t* num_points) {
  share(groups.blocks(), VoxelGroups::block_list, [&](std::vector<uint32_t>& first, int64_t block) {
    const int64_t begin = groups.voxels_before[block];
    const int64_t count = groups.first_points(block, voxels - begin, first.data());
    if (count <= 0) return;
    write_block(groups, grid, rows, first.data(), count, features + begin * rows.row_size(), coords + 3 * begin,
                num_points + begin);
  });
}

// One call, checked.
struct Call {
  at::Tensor points;
  VoxelGrid grid;
  int64_t max_points, max_voxels;

  Call(const at::Tensor& points_in, at::ArrayRef<double> size, at::ArrayRef<double> range, int64_t max_points,
       int64_t max_voxels)
      : points(checked_points(points_in)), grid(make_voxel_grid(size, range)), max_points(max_points),
        max_voxels(max_voxels) {
    check_caps(max_points, max_voxels);
  }
  int64_t width() const { return points.size(1); }
  VoxelGroups group(at::Tensor& scratch) const {
    return group_points(points.const_data_ptr<float>(), width(), points.size(0), grid, scratch.mutable_data_ptr());
  }
  int64_t voxels(const VoxelGroups& groups) const { return std::min(groups.voxels(), max_voxels); }

  template <template <int> class Rows>
  void write(const VoxelGroups& groups, at::Tensor& features, at::Tensor& coords, at::Tensor& num_points) const {
    const auto write_rows = [&](auto rows) {
      write_voxels(groups, grid, rows, voxels(groups), features.mutable_data_ptr<float>(),
                   coords.mutable_data_ptr<int32_t>(), num_points.mutable_data_ptr<int32_t>());
    };
    const float* const data = points.const_data_ptr<float>();
    switch (width()) {  // a copy of known length is a move or two
      case 3: return write_rows(Rows<3>{data, 3, max_points});
      case 4: return write_rows(Rows<4>{data, 4, max_points});
      case 5: return write_rows(Rows<5>{data, 5, max_points});
      case 6: return write_rows(Rows<6>{data, 6, max_points});
      default: return write_rows(Rows<0>{data, width(), max_points});
    }
  }
};

template <template <int> class Rows>
Result write_new(const Call& call, at::ArrayRef<int64_t> row) {
  const auto ints = call.points.options().dtype(at::kInt), longs = call.points.options().dtype(at::kLong);
  at::Tensor scratch = empty_in_huge_pages({voxel_scratch_bytes(call.points.size(0))},
                                           call.points.options().dtype(at::kByte), at::MemoryFormat::Contiguous);
  const VoxelGroups groups = call.group(scratch);
  const int64_t voxels = call.voxels(groups);
  std::vector<int64_t> shape{voxels};
  shape.insert(shape.end(), row.begin(), row.end());
  at::Tensor features = empty_in_huge_pages(shape, call.points.options(), at::MemoryFormat::Contiguous);
  at::Tensor coords = at::empty({voxels, 3}, ints), num_points = at::empty({voxels}, ints);
  call.write<Rows>(groups, features, coords, num_points);
  return {features, coords, num_points, at::scalar_tensor(groups.voxels() - voxels, longs),
          at::scalar_tensor(groups.invalid, longs)};
}

template <template <int> class Rows>
void write_into(const Call& call, at::ArrayRef<int64_t> row, at::Tensor& features, at::Tensor& coords,
                at::Tensor& num_points, at::Tensor& counts, at::Tensor& scratch) {
  check_outputs(call.points, features, row, coords, num_points, counts, scratch);
  const VoxelGroups groups = call.group(scratch);
  const int64_t voxels = call.voxels(groups);
  call.write<Rows>(groups, features, coords, num_points);
  int64_t* const count = counts.mutable_data_ptr<int64_t>();
  if (const int64_t stale = count[0] - voxels; stale > 0) {
    features.narrow(0, voxels, stale).zero_();
    coords.narrow(0, voxels, stale).fill_(kOutside);
    num_points.narrow(0, voxels, stale).zero_();
  }
  count[0] = voxels, count[1] = groups.voxels() - voxels, count[2] = groups.invalid;
}

Result voxelize(const at::Tensor& points, at::ArrayRef<double> size, at::ArrayRef<double> range, int64_t max_points,
                int64_t max_voxels) {
  const Call call(points, size, range, max_points, max_voxels);
  return write_new<PaddedRows>(call, {max_points, call.width()});
}

Result voxelize_mean(const at::Tensor& points, at::ArrayRef<double> size, at::ArrayRef<double> range,
                     int64_t max_points, int64_t max_voxels) {
  const Call call(points, size, range, max_points, max_voxels);
  return write_new<MeanRows>(call, {call.width()});
}

void voxelize_into(const at::Tensor& points, at::ArrayRef<double> size, at::ArrayRef<double> range,
                   at::Tensor features, at::Tensor coords, at::Tensor num_points, at::Tensor counts,
                   at::Tensor scratch) {
  TORCH_CHECK_VALUE(features.dim() == 3, "features have shape ", features.sizes(), ", expected [M, K, F]");
  const Call call(points, size, range, features.size(1), features.size(0));
  write_into<PaddedRows>(call, {features.size(1), call.width()}, features, coords, num_points, counts, scratch);
}

void voxelize_mean_into(const at::Tensor& points, at::ArrayRef<double> size, at::ArrayRef<double> range,
                        int64_t max_points, at::Tensor features, at::Tensor coords, at::Tensor num_points,
                        at::Tensor counts, at::Tensor scratch) {
  TORCH_CHECK_VALUE(features.dim() == 2, "features have shape ", features.sizes(), ", expected [M, F]");
  const Call call(points, size, range, max_points, features.size(0));
  write_into<MeanRows>(call, {call.width()}, features, coords, num_points, counts, scratch);
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) {
  m.impl("voxelize", bevkd::voxelize);
  m.impl("voxelize_mean", bevkd::voxelize_mean);
  m.impl("voxelize_into", bevkd::voxelize_into);
  m.impl("voxelize_mean_into", bevkd::voxelize_mean_into);
}

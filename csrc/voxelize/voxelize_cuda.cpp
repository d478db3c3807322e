// The torch side of voxelization on a GPU. The plain forms wait for the device once, to learn how many rows their
// outputs have; the `_into` forms never do, allocate nothing and can be captured in a CUDA graph.
#include "voxelize_cuda.h"

#include <ATen/ops/empty.h>

#include <cstring>
#include <tuple>

#include "../common/cuda_glue.h"
#include "voxel_checks.h"

namespace bevkd {
namespace {

using at::Tensor;
using Sizes = at::ArrayRef<double>;
using Result = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;
using SegmentsResult = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Tensor longs(const Tensor& points, at::IntArrayRef shape) {
  return at::empty(shape, points.options().dtype(at::kLong));
}

Tensor ints(const Tensor& points, at::IntArrayRef shape) { return at::empty(shape, points.options().dtype(at::kInt)); }

// A block of 32 voxels counts its floats in 32 bits.
void check_row(int64_t max_points, int64_t width) {
  TORCH_CHECK_VALUE(max_points < (int64_t(1) << 26) / width, "max_points is ", max_points, " with ", width,
                    " columns, expected fewer than 2^26 numbers in a voxel on a GPU");
}

cuda::VoxelGroups lay_out(const Tensor& scratch, const Tensor& points, const VoxelGrid& grid, int64_t max_voxels,
                          cuda::VoxelCounts counts) {
  const auto groups =
      cuda::lay_out_groups(scratch.mutable_data_ptr(), points.size(0), grid.cells(), max_voxels, counts);
  TORCH_INTERNAL_ASSERT(groups.bytes <= static_cast<size_t>(scratch.numel()), "voxel scratch is too small");
  return groups;
}

// Points in their voxels, in scratch of its own.
struct Grouped {
  Tensor points;
  VoxelGrid grid;
  cuda::OnDeviceOf device;
  Tensor dropped, invalid, scratch;
  cuda::VoxelGroups groups;

  Grouped(const Tensor& points_in, Sizes size, Sizes range, int64_t max_voxels)
      : points(checked_points(points_in)),
        grid(make_voxel_grid(size, range)),
        device(points),
        dropped(longs(points, {})),
        invalid(longs(points, {})),
        scratch(at::empty({voxel_scratch_bytes(points.size(0))}, points.options().dtype(at::kByte))) {
    groups = lay_out(scratch, points, grid, max_voxels,
                     {nullptr, cuda::write<int64_t>(dropped), cuda::write<int64_t>(invalid)});
  }

  // Waits for the device.
  cuda::GroupingState group(int32_t* voxel_of_point = nullptr) {
    cuda::group_points(groups, cuda::read<float>(points), points.size(1), grid, voxel_of_point, device.stream());
    const Tensor host = scratch.narrow(0, 0, sizeof(cuda::GroupingState)).cpu();
    cuda::GroupingState state;
    std::memcpy(&state, host.const_data_ptr(), sizeof(state));
    return state;
  }
};

cuda::VoxelRows rows_of(const Tensor& points, const VoxelGrid& grid, const Tensor& features, const Tensor& coords,
                        const Tensor& num_points) {
  return {cuda::read<float>(points),    points.size(1),
          coords.size(0),               grid,
          cuda::write<float>(features), cuda::write<int32_t>(coords),
          cuda::write<int32_t>(num_points)};
}

Result voxelize(const Tensor& points, Sizes size, Sizes range, int64_t max_points, int64_t max_voxels) {
  check_caps(max_points, max_voxels);
  Grouped call(points, size, range, max_voxels);
  check_row(max_points, points.size(1));
  const int64_t voxels = call.group().voxels;
  const Tensor features = at::empty({voxels, max_points, points.size(1)}, points.options());
  const Tensor coords = ints(points, {voxels, 3}), num_points = ints(points, {voxels});
  const auto out = rows_of(call.points, call.grid, features, coords, num_points);
  cuda::emit_padded(call.groups, out, max_points, call.device.stream());
  return {features, coords, num_points, call.dropped, call.invalid};
}

Result voxelize_mean(const Tensor& points, Sizes size, Sizes range, int64_t max_points, int64_t max_voxels) {
  check_caps(max_points, max_voxels);
  Grouped call(points, size, range, max_voxels);
  const int64_t voxels = call.group().voxels;
  const Tensor features = at::empty({voxels, points.size(1)}, points.options());
  const Tensor coords = ints(points, {voxels, 3}), num_points = ints(points, {voxels});
  const auto out = rows_of(call.points, call.grid, features, coords, num_points);
  cuda::emit_means(call.groups, out, max_points, call.device.stream());
  return {features, coords, num_points, call.dropped, call.invalid};
}

SegmentsResult voxelize_segments(const Tensor& points, Sizes size, Sizes range, int64_t max_voxels) {
  check_caps(1, max_voxels);
  Grouped call(points, size, range, max_voxels);
  const Tensor voxel_of_point = ints(points, {points.size(0)});
  const cuda::GroupingState state = call.group(cuda::write<int32_t>(voxel_of_point));
  const int64_t voxels = state.voxels;
  const Tensor coords = ints(points, {voxels, 3}), point = ints(points, {state.kept_points});
  const Tensor offsets = longs(points, {voxels + 1});
  const cuda::VoxelRows out = {cuda::read<float>(call.points), points.size(1), voxels, call.grid, nullptr,
                               cuda::write<int32_t>(coords),   nullptr};
  cuda::emit_segments(call.groups, out, cuda::write<int64_t>(offsets), call.device.stream());
  cuda::check(cudaMemcpyAsync(cuda::write<int32_t>(point), call.groups.point, point.nbytes(), cudaMemcpyDeviceToDevice,
                              call.device.stream()),
              "copy of segments");
  return {coords, point, offsets, voxel_of_point, call.dropped, call.invalid};
}

// Points in their voxels, in the caller's scratch.
cuda::VoxelGroups group_into(const Tensor& points, const VoxelGrid& grid, int64_t max_voxels, const Tensor& counts,
                             const Tensor& scratch, cudaStream_t stream) {
  int64_t* const count = cuda::write<int64_t>(counts);
  const auto groups = lay_out(scratch, points, grid, max_voxels, {count, count + 1, count + 2});
  cuda::group_points(groups, cuda::read<float>(points), points.size(1), grid, nullptr, stream);
  return groups;
}

void voxelize_into(const Tensor& points_in, Sizes size, Sizes range, Tensor features, Tensor coords, Tensor num_points,
                   Tensor counts, Tensor scratch) {
  const Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  const int64_t max_points = features.dim() == 3 ? features.size(1) : 0;
  check_outputs(points, features, {max_points, points.size(1)}, coords, num_points, counts, scratch);
  check_caps(max_points, features.size(0));
  check_row(max_points, points.size(1));
  const cuda::OnDeviceOf device(points);
  const auto groups = group_into(points, grid, features.size(0), counts, scratch, device.stream());
  cuda::emit_padded(groups, rows_of(points, grid, features, coords, num_points), max_points, device.stream());
}

void voxelize_mean_into(const Tensor& points_in, Sizes size, Sizes range, int64_t max_points, Tensor features,
                        Tensor coords, Tensor num_points, Tensor counts, Tensor scratch) {
  const Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  check_outputs(points, features, {points.size(1)}, coords, num_points, counts, scratch);
  check_caps(max_points, features.size(0));
  const cuda::OnDeviceOf device(points);
  const auto groups = group_into(points, grid, features.size(0), counts, scratch, device.stream());
  cuda::emit_means(groups, rows_of(points, grid, features, coords, num_points), max_points, device.stream());
}

Tensor voxelize_dynamic(const Tensor& points_in, Sizes size, Sizes range) {
  const Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  const cuda::OnDeviceOf device(points);
  const Tensor coords = ints(points, {points.size(0), 3});
  cuda::dynamic_cells(cuda::read<float>(points), points.size(0), points.size(1), grid, cuda::write<int32_t>(coords),
                      device.stream());
  return coords;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, BEVKD_CUDA_KEY, m) {
  m.impl("voxelize", bevkd::voxelize);
  m.impl("voxelize_mean", bevkd::voxelize_mean);
  m.impl("voxelize_into", bevkd::voxelize_into);
  m.impl("voxelize_mean_into", bevkd::voxelize_mean_into);
  m.impl("voxelize_dynamic", bevkd::voxelize_dynamic);
  m.impl("voxelize_segments", bevkd::voxelize_segments);
}

// Hard voxelization on the CPU, padded or as means, and dynamic voxelization.
//
// Cells of points are computed in parallel, voxels are numbered in input order by one thread, rows are written in
// voxel order in parallel: the result does not depend on the number of threads.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

#include "voxel_grid.h"
#include "voxel_table.h"

namespace bevkd {
namespace {

using Result = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
constexpr int64_t kPointGrain = 8192;
constexpr int64_t kVoxelGrain = 1024;

// Which points go to which voxel: voxel v holds point[offset[v]] .. point[offset[v + 1] - 1], in input order.
struct Groups {
  std::vector<int64_t> key;  // [V] cell of each voxel
  std::vector<int64_t> offset;
  std::vector<int32_t> point;
  int64_t dropped = 0;
  int64_t invalid = 0;

  int64_t voxels() const { return static_cast<int64_t>(key.size()); }
};

at::Tensor checked_points(const at::Tensor& points) {
  TORCH_CHECK_VALUE(points.dim() == 2 && points.size(1) >= 3, "points have shape ", points.sizes(),
                    ", expected [N, F] with F >= 3");
  TORCH_CHECK_TYPE(points.scalar_type() == at::kFloat, "points are ", points.scalar_type(), ", expected float32");
  TORCH_CHECK_VALUE(points.size(0) < std::numeric_limits<int32_t>::max(), "there are ", points.size(0),
                    " points, expected fewer than 2^31 - 1");
  return points.contiguous();
}

std::vector<int64_t> point_keys(const at::Tensor& points, const VoxelGrid& grid) {
  const int64_t width = points.size(1);
  const float* data = points.const_data_ptr<float>();
  std::vector<int64_t> keys(points.size(0));
  at::parallel_for(0, points.size(0), kPointGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) keys[i] = grid.key(data + i * width, width);
  });
  return keys;
}

Groups group_points(const std::vector<int64_t>& keys, int64_t cells, int64_t max_points, int64_t max_voxels) {
  Groups groups;
  VoxelTable table(cells, static_cast<int64_t>(keys.size()));
  std::vector<int32_t> voxel_of_point(keys.size(), -1);
  std::vector<int64_t> count;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] < 0) {
      groups.invalid += keys[i] == kNotFinite;
      continue;
    }
    const int32_t voxel = table.find_or_add(keys[i]);
    if (voxel >= max_voxels) continue;
    if (voxel == groups.voxels()) {
      groups.key.push_back(keys[i]);
      count.push_back(0);
    }
    if (count[voxel] == max_points) continue;
    ++count[voxel];
    voxel_of_point[i] = voxel;
  }
  groups.dropped = table.count() - groups.voxels();

  groups.offset.assign(count.size() + 1, 0);
  for (size_t v = 0; v < count.size(); ++v) groups.offset[v + 1] = groups.offset[v] + count[v];
  groups.point.resize(groups.offset.back());
  std::vector<int64_t> next(groups.offset.begin(), groups.offset.end() - 1);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (voxel_of_point[i] >= 0) groups.point[next[voxel_of_point[i]]++] = static_cast<int32_t>(i);
  }
  return groups;
}

// `emit(voxel, points, count)` writes the features of one voxel.
template <typename Emit>
Result finish(const at::Tensor& features, const Groups& groups, const VoxelGrid& grid, const Emit& emit) {
  const auto ints = features.options().dtype(at::kInt);
  at::Tensor coords = at::empty({groups.voxels(), 3}, ints);
  at::Tensor num_points = at::empty({groups.voxels()}, ints);
  int32_t* coord = coords.mutable_data_ptr<int32_t>();
  int32_t* number = num_points.mutable_data_ptr<int32_t>();
  at::parallel_for(0, groups.voxels(), kVoxelGrain, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) {
      const int64_t count = groups.offset[v + 1] - groups.offset[v];
      grid.unpack(groups.key[v], coord + 3 * v);
      number[v] = static_cast<int32_t>(count);
      emit(v, groups.point.data() + groups.offset[v], count);
    }
  });
  const auto longs = features.options().dtype(at::kLong);
  return {features, coords, num_points, at::scalar_tensor(groups.dropped, longs), at::scalar_tensor(groups.invalid, longs)};
}

Groups group_checked(const at::Tensor& points, const VoxelGrid& grid, int64_t max_points, int64_t max_voxels) {
  TORCH_CHECK_VALUE(max_points >= 1, "max_points is ", max_points, ", expected at least 1");
  TORCH_CHECK_VALUE(max_voxels >= 1, "max_voxels is ", max_voxels, ", expected at least 1");
  return group_points(point_keys(points, grid), grid.cells(), max_points, max_voxels);
}

Result voxelize(const at::Tensor& points_in, at::ArrayRef<double> size, at::ArrayRef<double> range, int64_t max_points,
                int64_t max_voxels) {
  const at::Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  const Groups groups = group_checked(points, grid, max_points, max_voxels);
  const int64_t width = points.size(1);
  at::Tensor features = at::empty({groups.voxels(), max_points, width}, points.options());
  const float* in = points.const_data_ptr<float>();
  float* out = features.mutable_data_ptr<float>();
  return finish(features, groups, grid, [&](int64_t v, const int32_t* point, int64_t count) {
    float* row = out + v * max_points * width;
    for (int64_t k = 0; k < count; ++k, row += width) std::copy_n(in + point[k] * width, width, row);
    std::fill_n(row, (max_points - count) * width, 0.0f);
  });
}

Result voxelize_mean(const at::Tensor& points_in, at::ArrayRef<double> size, at::ArrayRef<double> range,
                     int64_t max_points, int64_t max_voxels) {
  const at::Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  const Groups groups = group_checked(points, grid, max_points, max_voxels);
  const int64_t width = points.size(1);
  at::Tensor features = at::empty({groups.voxels(), width}, points.options());
  const float* in = points.const_data_ptr<float>();
  float* out = features.mutable_data_ptr<float>();
  return finish(features, groups, grid, [&](int64_t v, const int32_t* point, int64_t count) {
    for (int64_t f = 0; f < width; ++f) {
      double sum = 0;
      for (int64_t k = 0; k < count; ++k) sum += in[point[k] * width + f];
      out[v * width + f] = static_cast<float>(sum / static_cast<double>(count));
    }
  });
}

at::Tensor voxelize_dynamic(const at::Tensor& points_in, at::ArrayRef<double> size, at::ArrayRef<double> range) {
  const at::Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  const int64_t width = points.size(1);
  at::Tensor coords = at::empty({points.size(0), 3}, points.options().dtype(at::kInt));
  const float* in = points.const_data_ptr<float>();
  int32_t* out = coords.mutable_data_ptr<int32_t>();
  at::parallel_for(0, points.size(0), kPointGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t key = grid.key(in + i * width, width);
      if (key < 0) {
        std::fill_n(out + 3 * i, 3, kOutside);
      } else {
        grid.unpack(key, out + 3 * i);
      }
    }
  });
  return coords;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) {
  m.impl("voxelize", bevkd::voxelize);
  m.impl("voxelize_mean", bevkd::voxelize_mean);
  m.impl("voxelize_dynamic", bevkd::voxelize_dynamic);
}

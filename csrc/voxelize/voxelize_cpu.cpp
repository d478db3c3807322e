// Hard voxelization on the CPU, padded or as means, and dynamic voxelization.
//
// Cells of points are computed in parallel, voxels are numbered in input order by one thread, rows are written in
// voxel order in parallel: the result does not depend on the number of threads.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/scalar_tensor.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "voxel_checks.h"
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

Groups group_checked(const at::Tensor& points, const VoxelGrid& grid, int64_t max_points, int64_t max_voxels) {
  check_caps(max_points, max_voxels);
  return group_points(point_keys(points, grid), grid.cells(), max_points, max_voxels);
}

// The padded rows of a voxel, or their mean.
struct PadRows {
  const float* in;
  float* out;
  int64_t width, max_points;

  void operator()(int64_t v, const int32_t* point, int64_t count) const {
    float* row = out + v * max_points * width;
    for (int64_t k = 0; k < count; ++k, row += width) std::copy_n(in + point[k] * width, width, row);
    std::fill_n(row, (max_points - count) * width, 0.0f);
  }
};

struct MeanRows {
  const float* in;
  float* out;
  int64_t width;

  void operator()(int64_t v, const int32_t* point, int64_t count) const {
    for (int64_t f = 0; f < width; ++f) {
      double sum = 0;
      for (int64_t k = 0; k < count; ++k) sum += in[point[k] * width + f];
      out[v * width + f] = static_cast<float>(sum / static_cast<double>(count));
    }
  }
};

// `emit(voxel, points, count)` writes the features of one voxel.
template <typename Emit>
void write_voxels(const Groups& groups, const VoxelGrid& grid, at::Tensor& coords, at::Tensor& num_points,
                  const Emit& emit) {
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
}

template <typename Emit>
Result finish(const at::Tensor& features, const Groups& groups, const VoxelGrid& grid, const Emit& emit) {
  const auto ints = features.options().dtype(at::kInt);
  at::Tensor coords = at::empty({groups.voxels(), 3}, ints);
  at::Tensor num_points = at::empty({groups.voxels()}, ints);
  write_voxels(groups, grid, coords, num_points, emit);
  const auto longs = features.options().dtype(at::kLong);
  return {features, coords, num_points, at::scalar_tensor(groups.dropped, longs), at::scalar_tensor(groups.invalid, longs)};
}

template <typename Emit>
void finish_into(const Groups& groups, const VoxelGrid& grid, at::Tensor& features, at::Tensor& coords,
                 at::Tensor& num_points, at::Tensor& counts, const Emit& emit) {
  write_voxels(groups, grid, coords, num_points, emit);
  int64_t* count = counts.mutable_data_ptr<int64_t>();
  if (count[0] > groups.voxels()) {
    const int64_t stale = count[0] - groups.voxels();
    features.narrow(0, groups.voxels(), stale).zero_();
    coords.narrow(0, groups.voxels(), stale).fill_(kOutside);
    num_points.narrow(0, groups.voxels(), stale).zero_();
  }
  count[0] = groups.voxels(), count[1] = groups.dropped, count[2] = groups.invalid;
}

Result voxelize(const at::Tensor& points_in, at::ArrayRef<double> size, at::ArrayRef<double> range, int64_t max_points,
                int64_t max_voxels) {
  const at::Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  const Groups groups = group_checked(points, grid, max_points, max_voxels);
  const int64_t width = points.size(1);
  at::Tensor features = at::empty({groups.voxels(), max_points, width}, points.options());
  return finish(features, groups, grid,
                PadRows{points.const_data_ptr<float>(), features.mutable_data_ptr<float>(), width, max_points});
}

Result voxelize_mean(const at::Tensor& points_in, at::ArrayRef<double> size, at::ArrayRef<double> range,
                     int64_t max_points, int64_t max_voxels) {
  const at::Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  const Groups groups = group_checked(points, grid, max_points, max_voxels);
  const int64_t width = points.size(1);
  at::Tensor features = at::empty({groups.voxels(), width}, points.options());
  return finish(features, groups, grid,
                MeanRows{points.const_data_ptr<float>(), features.mutable_data_ptr<float>(), width});
}

void voxelize_into(const at::Tensor& points_in, at::ArrayRef<double> size, at::ArrayRef<double> range,
                   at::Tensor features, at::Tensor coords, at::Tensor num_points, at::Tensor counts,
                   at::Tensor scratch) {
  const at::Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  const int64_t width = points.size(1), max_points = features.dim() == 3 ? features.size(1) : 0;
  check_outputs(points, features, {max_points, width}, coords, num_points, counts, scratch);
  const Groups groups = group_checked(points, grid, max_points, features.size(0));
  finish_into(groups, grid, features, coords, num_points, counts,
              PadRows{points.const_data_ptr<float>(), features.mutable_data_ptr<float>(), width, max_points});
}

void voxelize_mean_into(const at::Tensor& points_in, at::ArrayRef<double> size, at::ArrayRef<double> range,
                        int64_t max_points, at::Tensor features, at::Tensor coords, at::Tensor num_points,
                        at::Tensor counts, at::Tensor scratch) {
  const at::Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  check_outputs(points, features, {points.size(1)}, coords, num_points, counts, scratch);
  const Groups groups = group_checked(points, grid, max_points, features.size(0));
  finish_into(groups, grid, features, coords, num_points, counts,
              MeanRows{points.const_data_ptr<float>(), features.mutable_data_ptr<float>(), points.size(1)});
}

using SegmentsResult = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

SegmentsResult voxelize_segments(const at::Tensor& points_in, at::ArrayRef<double> size, at::ArrayRef<double> range,
                                 int64_t max_voxels) {
  const at::Tensor points = checked_points(points_in);
  const VoxelGrid grid = make_voxel_grid(size, range);
  const Groups groups = group_checked(points, grid, points.size(0) + 1, max_voxels);
  const auto ints = points.options().dtype(at::kInt), longs = points.options().dtype(at::kLong);
  at::Tensor coords = at::empty({groups.voxels(), 3}, ints), num_points = at::empty({groups.voxels()}, ints);
  at::Tensor point = at::empty({static_cast<int64_t>(groups.point.size())}, ints);
  at::Tensor offsets = at::empty({groups.voxels() + 1}, longs);
  at::Tensor voxel_of_point = at::full({points.size(0)}, -1, ints);
  std::copy(groups.point.begin(), groups.point.end(), point.mutable_data_ptr<int32_t>());
  std::copy(groups.offset.begin(), groups.offset.end(), offsets.mutable_data_ptr<int64_t>());
  int32_t* owner = voxel_of_point.mutable_data_ptr<int32_t>();
  write_voxels(groups, grid, coords, num_points, [&](int64_t v, const int32_t* members, int64_t count) {
    for (int64_t k = 0; k < count; ++k) owner[members[k]] = static_cast<int32_t>(v);
  });
  return {coords, point, offsets, voxel_of_point, at::scalar_tensor(groups.dropped, longs),
          at::scalar_tensor(groups.invalid, longs)};
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
  m.impl("voxelize_into", bevkd::voxelize_into);
  m.impl("voxelize_mean_into", bevkd::voxelize_mean_into);
  m.impl("voxelize_dynamic", bevkd::voxelize_dynamic);
  m.impl("voxelize_segments", bevkd::voxelize_segments);
}

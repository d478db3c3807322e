// Checks of a voxelization call, the same on every device.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "voxel_grid.h"

namespace bevkd {

// Bytes of scratch that a call on `points` points may use. bevkd/ops/voxelize.py has the same formula.
inline int64_t voxel_scratch_bytes(int64_t points) { return 64 * points + (int64_t(1) << 16); }

inline at::Tensor checked_points(const at::Tensor& points) {
  TORCH_CHECK_VALUE(points.dim() == 2 && points.size(1) >= 3, "points have shape ", points.sizes(),
                    ", expected [N, F] with F >= 3");
  TORCH_CHECK_TYPE(points.scalar_type() == at::kFloat, "points are ", points.scalar_type(), ", expected float32");
  TORCH_CHECK_VALUE(points.size(0) < std::numeric_limits<int32_t>::max(), "there are ", points.size(0),
                    " points, expected fewer than 2^31 - 1");
  return points.contiguous();
}

inline VoxelGrid make_voxel_grid(c10::ArrayRef<double> size, c10::ArrayRef<double> range) {
  TORCH_CHECK_VALUE(size.size() == 3 && range.size() == 6, "voxel_size has ", size.size(), " and point_range ",
                    range.size(), " numbers, expected 3 and 6");
  VoxelGrid grid;
  double cells = 1;
  for (int i = 0; i < 3; ++i) {
    TORCH_CHECK_VALUE(size[i] > 0 && is_finite(size[i]), "voxel_size[", i, "] is ", size[i],
                      ", expected a positive number");
    const double exact = (range[3 + i] - range[i]) / size[i];
    const double count = std::nearbyint(exact);
    TORCH_CHECK_VALUE(count >= 1 && count <= (1 << 24) && std::abs(exact - count) <= 1e-3, "point_range[", i, "] to [",
                      i + 3, "] is ", exact, " voxels, expected a whole number from 1 to 2^24");
    grid.axis[i] = {static_cast<float>(range[i]), static_cast<float>(range[3 + i]), static_cast<float>(size[i]),
                    static_cast<int32_t>(count)};
    cells *= count;
  }
  TORCH_CHECK_VALUE(cells < 9e18, "point_range holds ", cells, " voxels, expected fewer than 9e18");
  return grid;
}

inline void check_caps(int64_t max_points, int64_t max_voxels) {
  TORCH_CHECK_VALUE(max_points >= 1, "max_points is ", max_points, ", expected at least 1");
  TORCH_CHECK_VALUE(max_voxels >= 1, "max_voxels is ", max_voxels, ", expected at least 1");
}

// The caller's tensors of the `_into` ops. `row` is the shape of one voxel's features.
inline void check_outputs(const at::Tensor& points, const at::Tensor& features, c10::ArrayRef<int64_t> row,
                          const at::Tensor& coords, const at::Tensor& num_points, const at::Tensor& counts,
                          const at::Tensor& scratch) {
  const auto check = [&](const char* name, const at::Tensor& tensor, at::ScalarType type, bool shape_fits) {
    TORCH_CHECK_VALUE(shape_fits && tensor.scalar_type() == type && tensor.is_contiguous() &&
                          tensor.device() == points.device(),
                      name, " is ", tensor.scalar_type(), " ", tensor.sizes(), " on ", tensor.device(),
                      ", expected a contiguous ", type, " tensor of a fitting shape on ", points.device());
  };
  const int64_t voxels = features.dim() > 0 ? features.size(0) : 0;
  check("features", features, at::kFloat, voxels >= 1 && features.sizes().slice(1) == row);
  check("coords", coords, at::kInt, coords.sizes() == c10::IntArrayRef({voxels, 3}));
  check("num_points", num_points, at::kInt, num_points.sizes() == c10::IntArrayRef({voxels}));
  check("counts", counts, at::kLong, counts.sizes() == c10::IntArrayRef({3}));
  const int64_t bytes = voxel_scratch_bytes(points.size(0));
  TORCH_CHECK_VALUE(scratch.numel() >= bytes, "scratch has ", scratch.numel(), " bytes, expected at least ", bytes);
  check("scratch", scratch, at::kByte, scratch.dim() == 1);
}

}  // namespace bevkd

// What building a plan checks on every device.
#pragma once

#include <ATen/core/Tensor.h>

#include <limits>

#include "lift_volume.h"

namespace bevkd::pool {

template <typename T>
Volume<T> volume_of(at::ArrayRef<double> low, at::ArrayRef<double> high, double size, at::IntArrayRef map,
                    bool truncate) {
  const auto axis = [](double a, double b, double step, int64_t n) {
    return Axis<T>{T(a), T(b), T(step), static_cast<int32_t>(n)};
  };
  return {axis(low[0], high[0], size, map[1]), axis(low[1], high[1], size, map[0]),
          axis(low[2], high[2], high[2] - low[2], 1), truncate};
}

inline void check_counts(int64_t points, double cells) {
  constexpr double kLimit = std::numeric_limits<int32_t>::max();
  TORCH_CHECK_VALUE(points < kLimit && cells < kLimit, "there are ", points, " frustum points and ", cells,
                    " BEV cells, expected fewer than 2^31 - 1 of each");
}

inline void check_volume(const at::Tensor& frustum, at::ArrayRef<double> low, at::ArrayRef<double> high, double size,
                         at::IntArrayRef map) {
  TORCH_CHECK_VALUE(frustum.dim() == 6 && frustum.size(5) == 3, "frustum has shape ", frustum.sizes(),
                    ", expected [B, N, D, H, W, 3]");
  TORCH_CHECK_VALUE(low.size() == 3 && high.size() == 3 && map.size() == 2, "low, high and shape have ", low.size(),
                    ", ", high.size(), " and ", map.size(), " numbers, expected 3, 3 and 2");
  TORCH_CHECK_VALUE(size > 0 && low[2] < high[2], "cell is ", size, " and z_range ", low[2], " to ", high[2],
                    ", expected a positive cell and a range that is not empty");
  TORCH_CHECK_VALUE(map[0] >= 1 && map[1] >= 1 && map[0] <= (1 << 24) && map[1] <= (1 << 24), "shape is ", map,
                    ", expected (Y, X) from 1 to 2^24");
  check_counts(frustum.numel() / 3, double(frustum.size(0)) * double(map[0]) * double(map[1]));
}

// cell [B, N, D, H, W] int32 and the cells of all samples together, as the lists of a plan take them.
inline void check_cell(const at::Tensor& cell, int64_t cells) {
  TORCH_CHECK_TYPE(cell.scalar_type() == at::kInt, "cell is ", cell.scalar_type(), ", expected int32");
  TORCH_CHECK_VALUE(cell.dim() == 5, "cell has shape ", cell.sizes(), ", expected [B, N, D, H, W]");
  TORCH_CHECK_VALUE(cells >= 0 && (cell.size(0) == 0 ? cells == 0 : cells % cell.size(0) == 0), "there are ", cells,
                    " BEV cells, expected as many for each of ", cell.size(0), " samples");
  check_counts(cell.numel(), double(cells));
}

}  // namespace bevkd::pool

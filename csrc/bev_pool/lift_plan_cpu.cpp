// Which frustum point falls into which BEV cell, as a map and as lists sorted by cell.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scalar_tensor.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <tuple>
#include <vector>

#include "../common/cells.h"

namespace bevkd {
namespace {

constexpr int64_t kPointGrain = 8192;

template <typename T>
struct Volume {
  Axis<T> x, y, z;
  bool truncate;

  // Cell number inside one sample's BEV map, kOutside where the point leaves it.
  int32_t cell(const T* point) const {
    if (!is_finite(point[0]) || !is_finite(point[1]) || !is_finite(point[2])) return kOutside;
    const int32_t column = cell_of(point[0], x, truncate);
    const int32_t row = cell_of(point[1], y, truncate);
    if (column < 0 || row < 0 || cell_of(point[2], z, truncate) < 0) return kOutside;
    return row * x.count + column;
  }
};

template <typename T>
int64_t assign_cells(const at::Tensor& frustum, const Volume<T>& volume, int32_t* cell) {
  const int64_t per_sample = frustum.numel() / 3 / frustum.size(0);
  const int64_t map_cells = int64_t(volume.x.count) * volume.y.count;
  const T* point = frustum.const_data_ptr<T>();
  std::atomic<int64_t> invalid{0};
  at::parallel_for(0, frustum.numel() / 3, kPointGrain, [&](int64_t begin, int64_t end) {
    int64_t not_finite = 0;
    for (int64_t p = begin; p < end; ++p) {
      const T* xyz = point + 3 * p;
      const int32_t local = volume.cell(xyz);
      cell[p] = local < 0 ? kOutside : static_cast<int32_t>(p / per_sample * map_cells + local);
      not_finite += !(is_finite(xyz[0]) && is_finite(xyz[1]) && is_finite(xyz[2]));
    }
    invalid += not_finite;
  });
  return invalid;
}

// Counting sort by cell; stable, so the points of a cell stay in frustum order. Samples own disjoint cells.
void count_points(const int32_t* cell, int64_t samples, int64_t per_sample, int32_t* offsets) {
  at::parallel_for(0, samples, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin * per_sample; p < end * per_sample; ++p) {
      if (cell[p] >= 0) ++offsets[cell[p] + 1];
    }
  });
}

void list_points(const int32_t* cell, at::IntArrayRef shape, std::vector<int32_t> next, int32_t* point, int32_t* pixel) {
  const int64_t image = shape[3] * shape[4], depths = shape[2], per_sample = shape[1] * depths * image;
  at::parallel_for(0, shape[0], 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin * per_sample; p < end * per_sample; ++p) {
      if (cell[p] < 0) continue;
      const int32_t slot = next[cell[p]]++;
      point[slot] = static_cast<int32_t>(p);
      pixel[slot] = static_cast<int32_t>(p / (depths * image) * image + p % image);
    }
  });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> lift_plan(
    const at::Tensor& frustum_in, at::ArrayRef<double> low, at::ArrayRef<double> high, double size,
    at::IntArrayRef map, bool truncate) {
  TORCH_CHECK_VALUE(frustum_in.dim() == 6 && frustum_in.size(5) == 3, "frustum has shape ", frustum_in.sizes(),
                    ", expected [B, N, D, H, W, 3]");
  TORCH_CHECK_VALUE(low.size() == 3 && high.size() == 3 && map.size() == 2, "low, high and shape have ", low.size(),
                    ", ", high.size(), " and ", map.size(), " numbers, expected 3, 3 and 2");
  TORCH_CHECK_VALUE(size > 0 && low[2] < high[2], "cell is ", size, " and z_range ", low[2], " to ", high[2],
                    ", expected a positive cell and a range that is not empty");
  TORCH_CHECK_VALUE(map[0] >= 1 && map[1] >= 1 && map[0] <= (1 << 24) && map[1] <= (1 << 24), "shape is ", map,
                    ", expected (Y, X) from 1 to 2^24");
  const at::Tensor frustum = frustum_in.contiguous();
  const int64_t samples = frustum.size(0), points = frustum.numel() / 3;
  const double cells = double(samples) * double(map[0]) * double(map[1]);
  constexpr double kLimit = std::numeric_limits<int32_t>::max();
  TORCH_CHECK_VALUE(points < kLimit && cells < kLimit, "there are ", points, " frustum points and ", cells,
                    " BEV cells, expected fewer than 2^31 - 1 of each");

  const auto ints = frustum.options().dtype(at::kInt);
  at::Tensor cell = at::empty(frustum.sizes().slice(0, 5), ints);
  at::Tensor offsets = at::empty({samples * map[0] * map[1] + 1}, ints);
  int32_t* offset = offsets.mutable_data_ptr<int32_t>();
  std::fill_n(offset, offsets.numel(), 0);
  int64_t invalid = 0;
  if (points > 0) {
    AT_DISPATCH_FLOATING_TYPES(frustum.scalar_type(), "lift_plan", [&] {
      const auto axis = [](double a, double b, double step, int64_t n) {
        return Axis<scalar_t>{scalar_t(a), scalar_t(b), scalar_t(step), static_cast<int32_t>(n)};
      };
      const Volume<scalar_t> volume{axis(low[0], high[0], size, map[1]), axis(low[1], high[1], size, map[0]),
                                    axis(low[2], high[2], high[2] - low[2], 1), truncate};
      invalid = assign_cells<scalar_t>(frustum, volume, cell.mutable_data_ptr<int32_t>());
    });
    count_points(cell.const_data_ptr<int32_t>(), samples, points / samples, offset);
  }
  for (int64_t c = 1; c < offsets.numel(); ++c) offset[c] += offset[c - 1];
  at::Tensor point = at::empty({offset[offsets.numel() - 1]}, ints);
  at::Tensor pixel = at::empty_like(point);
  if (points > 0) {
    list_points(cell.const_data_ptr<int32_t>(), cell.sizes(), {offset, offset + offsets.numel()},
                point.mutable_data_ptr<int32_t>(), pixel.mutable_data_ptr<int32_t>());
  }
  return {cell, point, pixel, offsets, at::scalar_tensor(invalid, frustum.options().dtype(at::kLong))};
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) { m.impl("lift_plan", bevkd::lift_plan); }

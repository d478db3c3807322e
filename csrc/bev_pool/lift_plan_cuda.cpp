// The torch side of building a lift plan on a GPU. Cells take no wait for the device; lists take one, to learn how long
// they are.
#include "lift_plan_cuda.h"

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/SymInt.h>

#include <optional>
#include <tuple>

#include "../common/cuda_glue.h"
#include "lift_plan_checks.h"

namespace bevkd::cuda {
namespace {

using at::Tensor;

std::tuple<Tensor, Tensor> lift_plan_glue(const Tensor& frustum_in, at::ArrayRef<double> low, at::ArrayRef<double> high,
                                          double size, at::IntArrayRef map, bool truncate) {
  pool::check_volume(frustum_in, low, high, size, map);
  const OnDeviceOf device(frustum_in);
  const Tensor frustum = frustum_in.contiguous();
  const Tensor cell = at::empty(frustum.sizes().slice(0, 5), frustum.options().dtype(at::kInt));
  const Tensor invalid = at::zeros({}, frustum.options().dtype(at::kLong));
  const int64_t points = cell.numel();
  AT_DISPATCH_FLOATING_TYPES(frustum.scalar_type(), "lift_plan", [&] {
    if (points == 0) return;
    lift_cells(read<scalar_t>(frustum), points, points / cell.size(0),
               pool::volume_of<scalar_t>(low, high, size, map, truncate), write<int32_t>(cell),
               reinterpret_cast<unsigned long long*>(write<int64_t>(invalid)), device.stream());
  });
  return {cell, invalid};
}

// Torch's stable sort keeps the points of a cell in frustum order.
std::tuple<Tensor, Tensor, Tensor> lift_points_glue(const Tensor& cell, int64_t cells) {
  pool::check_cell(cell, cells);
  const OnDeviceOf device(cell);
  const Tensor key = at::where(cell.ge(0).logical_and(cell.lt(cells)), cell, cells).flatten().to(at::kInt);
  const auto [sorted, order] = at::sort(key, std::optional<bool>(true), 0);
  const Tensor offsets = at::searchsorted(sorted, at::arange(cells + 1, key.options()), /*out_int32=*/true);
  const Tensor point = order.narrow(0, 0, offsets[cells].item<int64_t>());
  const int64_t image = cell.size(3) * cell.size(4), per_image = cell.size(2) * image;
  if (point.numel() == 0) return {at::empty({0}, key.options()), at::empty({0}, key.options()), offsets};
  const Tensor pixel = point.floor_divide(per_image).mul(image).add(point.remainder(image));
  return {point.to(at::kInt), pixel.to(at::kInt), offsets};
}

// What lies before each of the counts, and in all.
Tensor offsets_of(const Tensor& count) {
  Tensor offsets = at::zeros({count.numel() + 1}, count.options());
  offsets.narrow(0, 1, count.numel()).copy_(at::cumsum(count, 0, at::kInt));
  return offsets;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, c10::SymInt> lift_columns_glue(const Tensor& cell_in, int64_t cells) {
  pool::check_cell(cell_in, cells);
  TORCH_CHECK_VALUE(cell_in.size(2) * cell_in.size(3) < (1 << 15), "an image column has ", cell_in.size(2), " x ",
                    cell_in.size(3), " points, expected fewer than 32768: this camera needs lists of points");
  const OnDeviceOf device(cell_in);
  const Tensor cell = cell_in.contiguous();
  const int64_t samples = cell.size(0);
  const Sizes n = {samples, cell.size(1), cell.size(2), cell.size(3), cell.size(4), 0, samples ? cells / samples : 0};
  const Tensor local = at::empty(cell.sizes(), cell.options().dtype(at::kShort));
  const Tensor in_column = at::zeros({n.images() * n.width}, cell.options());
  number_column_cells(read<int32_t>(cell), n, write<int16_t>(local), write<int32_t>(in_column), device.stream());
  const Tensor column_offsets = offsets_of(in_column);
  const Tensor most = in_column.numel() ? in_column.max() : at::zeros({}, cell.options());
  const Tensor host = at::stack({column_offsets[-1], most}).cpu();
  const int64_t rows = host[0].item<int64_t>(), max_cells = host[1].item<int64_t>();

  const Tensor column_cell = at::empty({rows}, cell.options()), in_cell = at::zeros({cells}, cell.options());
  const Tensor arrival = at::empty_like(column_cell), room = at::empty_like(column_cell);
  const Tensor row_slot = at::empty_like(column_cell);
  list_column_cells(read<int32_t>(cell), read<int16_t>(local), read<int32_t>(column_offsets), n, rows,
                    write<int32_t>(column_cell), write<int32_t>(in_cell), write<int32_t>(arrival), device.stream());
  const Tensor cell_offsets = offsets_of(in_cell);
  sort_rows(read<int32_t>(column_cell), read<int32_t>(cell_offsets), read<int32_t>(arrival), rows, write<int32_t>(room),
            write<int32_t>(row_slot), device.stream());
  return {local, column_offsets, column_cell, row_slot, cell_offsets, c10::SymInt(max_cells)};
}

}  // namespace
}  // namespace bevkd::cuda

TORCH_LIBRARY_IMPL(bevkd, BEVKD_CUDA_KEY, m) {
  m.impl("lift_plan", bevkd::cuda::lift_plan_glue);
  m.impl("lift_points", bevkd::cuda::lift_points_glue);
  m.impl("lift_columns", bevkd::cuda::lift_columns_glue);
}

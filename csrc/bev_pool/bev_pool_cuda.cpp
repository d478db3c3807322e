// The torch side of pooling on a GPU.
#include "bev_pool_cuda.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <tuple>

#include "../common/cuda_glue.h"
#include "pool_checks.h"

namespace bevkd::cuda {
namespace {

using at::Tensor;
using pool::check_index_tensor;
using Gradients = std::tuple<Tensor, Tensor>;

at::TensorOptions wide(const Tensor& tensor) {
  return tensor.options().dtype(at::toOpMathType(tensor.scalar_type()));
}

Tensor empty_map(const Tensor& feat, const Sizes& n, at::IntArrayRef shape) {
  return at::empty({n.samples, shape[0], shape[1], n.channels}, feat.options());
}

Tensor pool_points_glue(const Tensor& depth_in, const Tensor& feat_in, const Tensor& cell, const Tensor& point,
                        const Tensor& pixel, const Tensor& offsets, at::IntArrayRef shape) {
  check_one_device({{"depth", depth_in}, {"feat", feat_in}, {"plan.cell", cell}, {"plan.point", point},
                    {"plan.pixel", pixel}, {"plan.offsets", offsets}});
  const Sizes n = pool::checked_sizes(depth_in, feat_in, cell, shape);
  check_index_tensor(cell, "cell", n.points());
  check_index_tensor(point, "point", point.numel());
  check_index_tensor(pixel, "pixel", point.numel());
  check_index_tensor(offsets, "offsets", n.cells() + 1);
  const OnDeviceOf device(depth_in);
  const Tensor depth = depth_in.contiguous(), feat = feat_in.contiguous(), out = empty_map(feat, n, shape);
  const PointPlan plan = {read<int32_t>(cell), read<int32_t>(point), read<int32_t>(pixel), read<int32_t>(offsets),
                          point.numel()};
  const Tensor partial = at::empty({(point.numel() + kWindow - 1) / kWindow, 2, n.channels}, wide(feat));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, depth.scalar_type(), "bev_pool", [&] {
    pool_points(read<scalar_t>(depth), read<scalar_t>(feat), plan, n, write<at::opmath_type<scalar_t>>(partial),
                write<scalar_t>(out), device.stream());
  });
  return out;
}

Gradients pool_points_backward_glue(const Tensor& grad_in, const Tensor& depth_in, const Tensor& feat_in,
                                    const Tensor& cell, const Tensor&, const Tensor&, const Tensor&,
                                    at::IntArrayRef shape) {
  check_one_device({{"depth", depth_in}, {"feat", feat_in}, {"plan.cell", cell}, {"grad", grad_in}});
  const Sizes n = pool::checked_sizes(depth_in, feat_in, cell, shape);
  check_index_tensor(cell, "cell", n.points());
  pool::check_grad(grad_in, depth_in, n, shape);
  const OnDeviceOf device(depth_in);
  const Tensor grad = grad_in.contiguous(), depth = depth_in.contiguous(), feat = feat_in.contiguous();
  const Tensor grad_depth = at::empty(depth.sizes(), depth.options());
  const Tensor grad_feat = at::empty(feat.sizes(), feat.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, depth.scalar_type(), "bev_pool_backward", [&] {
    pool_pixels_backward(read<scalar_t>(grad), read<scalar_t>(depth), read<scalar_t>(feat), read<int32_t>(cell), n,
                         write<scalar_t>(grad_depth), write<scalar_t>(grad_feat), device.stream());
  });
  return {grad_depth, grad_feat};
}

ColumnPlan checked_columns(const Tensor& local, const Tensor& column_offsets, const Tensor& column_cell,
                           const Tensor& row_slot, const Tensor& cell_offsets, int64_t max_cells, const Sizes& n) {
  check_index_tensor(local, "local", n.points(), at::kShort);
  check_index_tensor(column_offsets, "column_offsets", n.images() * n.width + 1);
  check_index_tensor(column_cell, "column_cell", column_cell.numel());
  check_index_tensor(row_slot, "row_slot", column_cell.numel());
  check_index_tensor(cell_offsets, "cell_offsets", n.cells() + 1);
  TORCH_CHECK_VALUE(max_cells >= 0, "plan.max_cells is ", max_cells, ", expected 0 or more");
  return {read<int16_t>(local),        read<int32_t>(column_offsets), read<int32_t>(column_cell),
          read<int32_t>(row_slot),     read<int32_t>(cell_offsets),   column_cell.numel(),
          max_cells};
}

Tensor pool_columns_glue(const Tensor& depth_in, const Tensor& feat_in, const Tensor& cell, const Tensor& local,
                         const Tensor& column_offsets, const Tensor& column_cell, const Tensor& row_slot,
                         const Tensor& cell_offsets, int64_t max_cells, at::IntArrayRef shape) {
  check_one_device({{"depth", depth_in}, {"feat", feat_in}, {"plan.cell", cell}, {"plan.local", local},
                    {"plan.column_offsets", column_offsets}, {"plan.column_cell", column_cell},
                    {"plan.row_slot", row_slot}, {"plan.cell_offsets", cell_offsets}});
  const Sizes n = pool::checked_sizes(depth_in, feat_in, cell, shape);
  const ColumnPlan plan = checked_columns(local, column_offsets, column_cell, row_slot, cell_offsets, max_cells, n);
  const OnDeviceOf device(depth_in);
  const Tensor depth = depth_in.contiguous(), feat = feat_in.contiguous(), out = empty_map(feat, n, shape);
  const Tensor partial = at::empty({plan.rows, (n.channels + 3) / 4 * 4}, wide(feat));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, depth.scalar_type(), "bev_pool_columns", [&] {
    pool_columns(read<scalar_t>(depth), read<scalar_t>(feat), plan, n, write<at::opmath_type<scalar_t>>(partial),
                 write<scalar_t>(out), device.stream());
  });
  return out;
}

Gradients pool_columns_backward_glue(const Tensor& grad_in, const Tensor& depth_in, const Tensor& feat_in,
                                     const Tensor& cell, const Tensor& local, const Tensor& column_offsets,
                                     const Tensor& column_cell, const Tensor& row_slot, const Tensor& cell_offsets,
                                     int64_t max_cells, at::IntArrayRef shape) {
  check_one_device({{"depth", depth_in}, {"feat", feat_in}, {"grad", grad_in}, {"plan.cell", cell},
                    {"plan.local", local}, {"plan.column_offsets", column_offsets}, {"plan.column_cell", column_cell},
                    {"plan.row_slot", row_slot}, {"plan.cell_offsets", cell_offsets}});
  const Sizes n = pool::checked_sizes(depth_in, feat_in, cell, shape);
  const ColumnPlan plan = checked_columns(local, column_offsets, column_cell, row_slot, cell_offsets, max_cells, n);
  pool::check_grad(grad_in, depth_in, n, shape);
  const OnDeviceOf device(depth_in);
  const Tensor grad = grad_in.contiguous(), depth = depth_in.contiguous(), feat = feat_in.contiguous();
  const Tensor grad_depth = at::empty(depth.sizes(), depth.options()), grad_feat = at::empty(feat.sizes(), wide(feat));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, depth.scalar_type(), "bev_pool_columns_backward", [&] {
    pool_columns_backward(read<scalar_t>(grad), read<scalar_t>(depth), read<scalar_t>(feat), plan, n,
                          write<scalar_t>(grad_depth), write<at::opmath_type<scalar_t>>(grad_feat), device.stream());
  });
  return {grad_depth, grad_feat.to(feat.scalar_type())};
}

}  // namespace
}  // namespace bevkd::cuda

TORCH_LIBRARY_IMPL(bevkd, BEVKD_CUDA_KEY, m) {
  m.impl("bev_pool", bevkd::cuda::pool_points_glue);
  m.impl("bev_pool_backward", bevkd::cuda::pool_points_backward_glue);
  m.impl("bev_pool_columns", bevkd::cuda::pool_columns_glue);
  m.impl("bev_pool_columns_backward", bevkd::cuda::pool_columns_backward_glue);
}

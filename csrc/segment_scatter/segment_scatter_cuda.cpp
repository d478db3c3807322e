// The torch side of segment scatter's CUDA kernels.
#include "segment_scatter_cuda.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <tuple>

#include "../common/cuda_glue.h"
#include "segment_checks.h"

namespace bevkd::cuda {
namespace {

SegmentList checked_list(const at::Tensor& features, const at::Tensor& point, const at::Tensor& offsets,
                         const at::Tensor& voxel_of_point) {
  check_one_device({{"features", features},
                    {"segments.point", point},
                    {"segments.offsets", offsets},
                    {"segments.voxel_of_point", voxel_of_point}});
  const SegmentSizes n = checked_segments(features, point, offsets, voxel_of_point);
  return {point.const_data_ptr<int32_t>(), offsets.const_data_ptr<int64_t>(), voxel_of_point.const_data_ptr<int32_t>(),
          n};
}

at::Tensor segment_sum_glue(const at::Tensor& features_in, const at::Tensor& point, const at::Tensor& offsets,
                            const at::Tensor& voxel_of_point, bool mean) {
  const SegmentList segments = checked_list(features_in, point, offsets, voxel_of_point);
  const OnDeviceOf device(features_in);
  const at::Tensor features = features_in.contiguous();
  const at::Tensor out = at::empty({segments.n.voxels, segments.n.channels}, features.options());
  const auto wide = features.options().dtype(at::toOpMathType(features.scalar_type()));
  const at::Tensor partial = at::empty({spare_chunks(segments.n), segments.n.channels}, wide);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, features.scalar_type(), "segment_sum", [&] {
    segment_sum(segments, read<scalar_t>(features), mean, write<at::opmath_type<scalar_t>>(partial),
                write<scalar_t>(out), device.stream());
  });
  return out;
}

std::tuple<at::Tensor, at::Tensor> segment_max_glue(const at::Tensor& features_in, const at::Tensor& point,
                                                    const at::Tensor& offsets, const at::Tensor& voxel_of_point) {
  const SegmentList segments = checked_list(features_in, point, offsets, voxel_of_point);
  const OnDeviceOf device(features_in);
  const at::Tensor features = features_in.contiguous();
  const auto ints = features.options().dtype(at::kInt);
  const auto wide = features.options().dtype(at::toOpMathType(features.scalar_type()));
  const at::Tensor out = at::empty({segments.n.voxels, segments.n.channels}, features.options());
  const at::Tensor winner = at::empty(out.sizes(), ints);
  const at::Tensor partial = at::empty({spare_chunks(segments.n), segments.n.channels}, wide);
  const at::Tensor partial_winner = at::empty(partial.sizes(), ints);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, features.scalar_type(), "segment_max", [&] {
    segment_max(segments, read<scalar_t>(features), write<at::opmath_type<scalar_t>>(partial),
                write<int32_t>(partial_winner), write<scalar_t>(out), write<int32_t>(winner), device.stream());
  });
  return {out, winner};
}

at::Tensor segment_sum_backward_glue(const at::Tensor& grad_in, const at::Tensor&, const at::Tensor&,
                                     const at::Tensor& voxel_of_point) {
  check_one_device({{"grad", grad_in}, {"segments.voxel_of_point", voxel_of_point}});
  const SegmentSizes n = checked_gradient(grad_in, voxel_of_point);
  const OnDeviceOf device(grad_in);
  const at::Tensor grad = grad_in.contiguous();
  const at::Tensor out = at::empty({n.points, n.channels}, grad.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), "segment_sum_backward", [&] {
    segment_sum_backward(read<scalar_t>(grad), voxel_of_point.const_data_ptr<int32_t>(), n, write<scalar_t>(out),
                         device.stream());
  });
  return out;
}

at::Tensor segment_max_backward_glue(const at::Tensor& grad_in, const at::Tensor& winner,
                                     const at::Tensor& voxel_of_point) {
  check_one_device({{"grad", grad_in}, {"winner", winner}, {"segments.voxel_of_point", voxel_of_point}});
  const SegmentSizes n = checked_gradient(grad_in, voxel_of_point);
  check_winner(winner, grad_in);
  const OnDeviceOf device(grad_in);
  const at::Tensor grad = grad_in.contiguous();
  const at::Tensor out = at::empty({n.points, n.channels}, grad.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), "segment_max_backward", [&] {
    segment_max_backward(read<scalar_t>(grad), winner.const_data_ptr<int32_t>(),
                         voxel_of_point.const_data_ptr<int32_t>(), n, write<scalar_t>(out), device.stream());
  });
  return out;
}

}  // namespace
}  // namespace bevkd::cuda

TORCH_LIBRARY_IMPL(bevkd, BEVKD_CUDA_KEY, m) {
  m.impl("segment_sum", bevkd::cuda::segment_sum_glue);
  m.impl("segment_sum_backward", bevkd::cuda::segment_sum_backward_glue);
  m.impl("segment_max", bevkd::cuda::segment_max_glue);
  m.impl("segment_max_backward", bevkd::cuda::segment_max_backward_glue);
}

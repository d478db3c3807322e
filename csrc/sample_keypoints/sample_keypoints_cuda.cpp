// The torch side of the keypoint kernels. No host synchronisation.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>

#include <algorithm>
#include <tuple>

#include "../common/cuda_glue.h"
#include "sample_keypoints.h"
#include "sample_keypoints_cuda.h"

namespace bevkd {
namespace {

cuda::MapType type_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return cuda::MapType::kFloat;
    case at::kDouble: return cuda::MapType::kDouble;
    case at::kHalf: return cuda::MapType::kHalf;
    case at::kBFloat16: return cuda::MapType::kBFloat16;
    default: TORCH_CHECK_TYPE(false, "a map is ", type, ", expected a floating type");
  }
}

cuda::MapView view_of(const at::Tensor& map) {
  if (!map.defined()) return {nullptr, cuda::MapType::kFloat, 0, {0, 0, 0, 0}};
  return {map.const_data_ptr(), type_of(map.scalar_type()), map.size(1),
          {map.stride(0), map.stride(1), map.stride(2), map.stride(3)}};
}

std::tuple<at::Tensor, at::Tensor> sample_keypoints_cuda(const at::Tensor& student,
                                                         const std::optional<at::Tensor>& teacher,
                                                         const at::Tensor& points) {
  cuda::check_one_device({{"student", student}, {"teacher", teacher.value_or(student)}, {"points", points}});
  const cuda::OnDeviceOf device(student);
  const SampleCall call(student, teacher, points);
  const cuda::PointSizes sizes{points.size(0), points.size(1), student.size(2), student.size(3)};
  AT_DISPATCH_FLOATING_TYPES(call.points.scalar_type(), "sample_keypoints", [&] {
    cuda::sample_keypoints<scalar_t>(
        {view_of(call.student), view_of(call.teacher)}, call.points.const_data_ptr<scalar_t>(), sizes,
        {call.mine.mutable_data_ptr<scalar_t>(), call.theirs.mutable_data_ptr<scalar_t>()}, device.stream());
  });
  return {call.mine, call.theirs};
}

at::Tensor sample_keypoints_backward_cuda(const at::Tensor& grad_in, const at::Tensor& points_in, at::IntArrayRef shape,
                                          at::ScalarType dtype, bool channels_last) {
  cuda::check_one_device({{"grad", grad_in}, {"points", points_in}});
  const cuda::OnDeviceOf device(grad_in);
  at::Tensor out = zero_gradient(grad_in, points_in, shape, dtype, channels_last);
  const at::Tensor grad = grad_in.contiguous(), points = points_in.contiguous();
  const cuda::PointSizes sizes{points.size(0), points.size(1), shape[2], shape[3]};
  const int64_t stride[4] = {out.stride(0), out.stride(1), out.stride(2), out.stride(3)};
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "sample_keypoints_backward", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    cuda::sample_keypoints_backward(grad.const_data_ptr<acc_t>(), points.const_data_ptr<acc_t>(), sizes, shape[1],
                                    stride, cuda::write<scalar_t>(out), device.stream());
  });
  return out;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, BEVKD_CUDA_KEY, m) {
  m.impl("sample_keypoints", bevkd::sample_keypoints_cuda);
  m.impl("sample_keypoints_backward", bevkd::sample_keypoints_backward_cuda);
}

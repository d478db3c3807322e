// The torch side of the points-in-boxes kernels. No host synchronisation.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "../common/box_checks.h"
#include "../common/cuda_glue.h"
#include "points_in_boxes_cuda.h"

namespace bevkd {
namespace {

void check(const at::Tensor& points, const at::Tensor& boxes) {
  check_points_in_boxes(points, boxes);
  cuda::check_one_device({{"points", points}, {"boxes", boxes}});
}

at::Tensor all_pairs(const at::Tensor& points_in, const at::Tensor& boxes_in, bool point_major) {
  check(points_in, boxes_in);
  const cuda::OnDeviceOf device(points_in);
  const at::Tensor points = points_in.contiguous(), boxes = boxes_in.contiguous();
  const int64_t samples = points.size(0), count = points.size(1), box_count = boxes.size(1);
  const auto options = points.options().dtype(at::kBool);
  at::Tensor inside = point_major ? at::empty({samples, count, box_count}, options)
                                  : at::empty({samples, box_count, count}, options);
  AT_DISPATCH_FLOATING_TYPES(points.scalar_type(), "points_in_boxes", [&] {
    cuda::points_in_boxes(points.const_data_ptr<scalar_t>(), boxes.const_data_ptr<scalar_t>(), samples, count,
                          box_count, point_major, inside.mutable_data_ptr<bool>(), device.stream());
  });
  return inside;
}

at::Tensor points_in_boxes_cuda(const at::Tensor& points, const at::Tensor& boxes) {
  return all_pairs(points, boxes, false);
}

at::Tensor points_in_boxes_all_cuda(const at::Tensor& points, const at::Tensor& boxes) {
  return all_pairs(points, boxes, true);
}

at::Tensor points_in_boxes_part_cuda(const at::Tensor& points_in, const at::Tensor& boxes_in) {
  check(points_in, boxes_in);
  const cuda::OnDeviceOf device(points_in);
  const at::Tensor points = points_in.contiguous(), boxes = boxes_in.contiguous();
  at::Tensor first = at::empty({points.size(0), points.size(1)}, points.options().dtype(at::kInt));
  AT_DISPATCH_FLOATING_TYPES(points.scalar_type(), "points_in_boxes_part", [&] {
    cuda::points_in_boxes_part(points.const_data_ptr<scalar_t>(), boxes.const_data_ptr<scalar_t>(), points.size(0),
                               points.size(1), boxes.size(1), first.mutable_data_ptr<int32_t>(), device.stream());
  });
  return first;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, BEVKD_CUDA_KEY, m) {
  m.impl("points_in_boxes", bevkd::points_in_boxes_cuda);
  m.impl("points_in_boxes_all", bevkd::points_in_boxes_all_cuda);
  m.impl("points_in_boxes_part", bevkd::points_in_boxes_part_cuda);
}

// The torch side of the rotated-overlap kernels. No host synchronisation.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "../common/box_checks.h"
#include "../common/cuda_glue.h"
#include "box_iou_rotated_cuda.h"

namespace bevkd {
namespace {

at::Tensor box_iou_rotated_cuda(const at::Tensor& boxes1, const at::Tensor& boxes2, bool aligned, bool over_first) {
  check_pairs(boxes1, boxes2, aligned);
  cuda::check_one_device({{"boxes1", boxes1}, {"boxes2", boxes2}});
  const cuda::OnDeviceOf device(boxes1);
  const at::Tensor first = boxes1.contiguous(), second = boxes2.contiguous();
  const int64_t rows = first.size(0), columns = second.size(0);
  at::Tensor ious = aligned ? at::empty({rows}, first.options()) : at::empty({rows, columns}, first.options());
  AT_DISPATCH_FLOATING_TYPES(first.scalar_type(), "box_iou_rotated", [&] {
    const scalar_t *a = first.const_data_ptr<scalar_t>(), *b = second.const_data_ptr<scalar_t>();
    scalar_t* out = ious.mutable_data_ptr<scalar_t>();
    if (aligned) {
      cuda::box_iou_rotated_aligned(a, b, rows, over_first, out, device.stream());
    } else {
      cuda::box_iou_rotated(a, rows, b, columns, over_first, out, device.stream());
    }
  });
  return ious;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, BEVKD_CUDA_KEY, m) { m.impl("box_iou_rotated", bevkd::box_iou_rotated_cuda); }

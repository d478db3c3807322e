// Intersection over union of rotated boxes, all pairs or aligned pairs.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "rotated_box.h"

namespace bevkd {
namespace {

void check_boxes(const at::Tensor& boxes, const char* name) {
  TORCH_CHECK_VALUE(boxes.dim() == 2 && boxes.size(1) == 5, name, " has shape ", boxes.sizes(), ", expected [M, 5]");
}

at::Tensor box_iou_rotated(const at::Tensor& boxes1, const at::Tensor& boxes2, bool aligned, bool over_first) {
  check_boxes(boxes1, "boxes1");
  check_boxes(boxes2, "boxes2");
  TORCH_CHECK_TYPE(boxes1.scalar_type() == boxes2.scalar_type(), "boxes1 are ", boxes1.scalar_type(), " and boxes2 ",
                   boxes2.scalar_type(), ", expected the same dtype");
  const int64_t rows = boxes1.size(0), columns = boxes2.size(0);
  TORCH_CHECK_VALUE(!aligned || rows == columns, "aligned boxes number ", rows, " and ", columns, ", expected as many");
  const at::Tensor first = boxes1.contiguous(), second = boxes2.contiguous();
  at::Tensor ious = aligned ? at::empty({rows}, first.options()) : at::empty({rows, columns}, first.options());
  AT_DISPATCH_FLOATING_TYPES(first.scalar_type(), "box_iou_rotated", [&] {
    const scalar_t* a = first.const_data_ptr<scalar_t>();
    const scalar_t* b = second.const_data_ptr<scalar_t>();
    scalar_t* out = ious.mutable_data_ptr<scalar_t>();
    const int64_t per_row = aligned ? 1 : columns;
    at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const RotatedBox box = read_box(a + 5 * i);
        for (int64_t j = 0; j < per_row; ++j) {
          const RotatedBox other = read_box(b + 5 * (aligned ? i : j));
          out[i * per_row + j] = static_cast<scalar_t>(overlap_ratio(box, other, over_first));
        }
      }
    });
  });
  return ious;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) { m.impl("box_iou_rotated", bevkd::box_iou_rotated); }

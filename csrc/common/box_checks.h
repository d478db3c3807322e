// What every kernel over boxes asks of its tensors, on any device.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace bevkd {

inline void check_boxes(const at::Tensor& boxes, const char* name, int64_t width) {
  TORCH_CHECK_VALUE(boxes.dim() == 2 && boxes.size(1) == width, name, " have shape ", boxes.sizes(), ", expected [N, ",
                    width, "]");
}

inline void check_pairs(const at::Tensor& boxes1, const at::Tensor& boxes2, bool aligned) {
  check_boxes(boxes1, "boxes1", 5);
  check_boxes(boxes2, "boxes2", 5);
  TORCH_CHECK_TYPE(boxes1.scalar_type() == boxes2.scalar_type(), "boxes1 are ", boxes1.scalar_type(), " and boxes2 ",
                   boxes2.scalar_type(), ", expected the same dtype");
  TORCH_CHECK_VALUE(!aligned || boxes1.size(0) == boxes2.size(0), "aligned boxes number ", boxes1.size(0), " and ",
                    boxes2.size(0), ", expected as many");
}

inline void check_nms(const at::Tensor& boxes, int64_t width, const std::optional<at::Tensor>& labels,
                      double threshold) {
  check_boxes(boxes, "boxes", width);
  TORCH_CHECK_VALUE(threshold >= 0, "iou_threshold is ", threshold, ", expected at least 0");
  if (!labels.has_value()) return;
  TORCH_CHECK_VALUE(labels->dim() == 1 && labels->size(0) == boxes.size(0) && labels->scalar_type() == at::kLong,
                    "labels are ", labels->scalar_type(), " ", labels->sizes(), ", expected int64 [", boxes.size(0),
                    "]");
}

inline void check_points_in_boxes(const at::Tensor& points, const at::Tensor& boxes) {
  TORCH_CHECK_VALUE(points.dim() == 3 && points.size(2) == 3, "points have shape ", points.sizes(),
                    ", expected [B, M, 3]");
  TORCH_CHECK_VALUE(boxes.dim() == 3 && boxes.size(2) == 7, "boxes have shape ", boxes.sizes(),
                    ", expected [B, T, 7]");
  TORCH_CHECK_VALUE(points.size(0) == boxes.size(0), "points hold ", points.size(0), " samples and boxes ",
                    boxes.size(0), ", expected as many");
  TORCH_CHECK_TYPE(points.scalar_type() == boxes.scalar_type(), "points are ", points.scalar_type(), " and boxes ",
                   boxes.scalar_type(), ", expected the same dtype");
}

}  // namespace bevkd

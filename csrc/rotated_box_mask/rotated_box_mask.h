// What the CPU and the CUDA side of rotated_box_mask check and allocate alike.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "bev_box.h"

namespace bevkd {

struct BoxMaskCall {
  at::Tensor boxes, valid;  // contiguous, width columns each
  int64_t samples, count, width;
  MapFrame map;
  at::Tensor index, counts, gaussian;

  BoxMaskCall(const at::Tensor& boxes_in, const at::Tensor& valid_in, at::ArrayRef<double> low, double cell,
              at::IntArrayRef shape, bool with_gaussian, double min_overlap, int64_t min_radius) {
    TORCH_CHECK_VALUE(boxes_in.dim() == 3 && boxes_in.size(2) >= 7, "boxes have shape ", boxes_in.sizes(),
                      ", expected [B, M, 7 or more]");
    TORCH_CHECK_TYPE(boxes_in.scalar_type() == at::kFloat || boxes_in.scalar_type() == at::kDouble, "boxes are ",
                     boxes_in.scalar_type(), ", expected float32 or float64");
    TORCH_CHECK_VALUE(valid_in.sizes() == boxes_in.sizes().slice(0, 2), "valid has shape ", valid_in.sizes(),
                      ", expected [B, M] of boxes ", boxes_in.sizes());
    TORCH_CHECK_TYPE(valid_in.scalar_type() == at::kBool, "valid is ", valid_in.scalar_type(), ", expected bool");
    TORCH_CHECK_VALUE(low.size() == 2 && shape.size() == 2, "low and shape have ", low.size(), " and ", shape.size(),
                      " numbers, expected 2 each");
    TORCH_CHECK_VALUE(cell > 0 && shape[0] >= 1 && shape[1] >= 1 && shape[0] <= (1 << 24) && shape[1] <= (1 << 24),
                      "cell is ", cell, " and shape ", shape, ", expected a positive cell and (Y, X) from 1 to 2^24");
    TORCH_CHECK_VALUE(!with_gaussian || (min_overlap > 0 && min_overlap < 1 && min_radius >= 0), "min_overlap is ",
                      min_overlap, " and min_radius ", min_radius, ", expected between 0 and 1, and not negative");
    boxes = boxes_in.contiguous();
    valid = valid_in.contiguous();
    samples = boxes.size(0);
    count = boxes.size(1);
    width = boxes.size(2);
    map = {low[0], low[1], cell, static_cast<int32_t>(shape[0]), static_cast<int32_t>(shape[1])};
    const auto ints = boxes.options().dtype(at::kInt), floats = boxes.options().dtype(at::kFloat);
    index = at::empty({samples, shape[0], shape[1]}, ints);
    counts = at::empty({samples, count}, ints);
    gaussian = with_gaussian ? at::empty({samples, shape[0], shape[1]}, floats) : at::empty({0}, floats);
  }
};

}  // namespace bevkd

// What the CPU and the CUDA side of box_keypoints check and allocate alike.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "keypoints.h"

namespace bevkd {

struct KeypointCall {
  at::Tensor boxes, valid, points;  // contiguous [B, M, width], [B, M], [B, M, 9, 2]
  MapRange map;

  KeypointCall(const at::Tensor& boxes_in, const at::Tensor& valid_in, at::ArrayRef<double> low,
               at::ArrayRef<double> high)
      : boxes(boxes_in.contiguous()), valid(valid_in.contiguous()) {
    TORCH_CHECK_VALUE(boxes.dim() == 3 && boxes.size(2) >= 7, "boxes have shape ", boxes.sizes(),
                      ", expected [B, M, 7 or more]");
    TORCH_CHECK_TYPE(boxes.scalar_type() == at::kFloat || boxes.scalar_type() == at::kDouble, "boxes are ",
                     boxes.scalar_type(), ", expected float32 or float64");
    TORCH_CHECK_VALUE(valid.sizes() == boxes.sizes().slice(0, 2), "valid has shape ", valid.sizes(),
                      ", expected [B, M] of boxes ", boxes.sizes());
    TORCH_CHECK_TYPE(valid.scalar_type() == at::kBool, "valid is ", valid.scalar_type(), ", expected bool");
    TORCH_CHECK_VALUE(low.size() == 2 && high.size() == 2 && low[0] < high[0] && low[1] < high[1], "low and high are ",
                      low, " and ", high, ", expected (x, y) each, low below high");
    map = {low[0], high[0], low[1], high[1]};
    points = at::empty({boxes.size(0), boxes.size(1), kKeypoints, 2}, boxes.options());
  }
};

}  // namespace bevkd

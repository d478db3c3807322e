// What the poolings of every device and plan check before a kernel sees a pointer.
#pragma once

#include <ATen/core/Tensor.h>

#include "pool_sizes.h"

namespace bevkd::pool {

inline Sizes checked_sizes(const at::Tensor& depth, const at::Tensor& feat, const at::Tensor& cell,
                           at::IntArrayRef shape) {
  TORCH_CHECK_VALUE(depth.dim() == 5, "depth has shape ", depth.sizes(), ", expected [B, N, D, H, W]");
  TORCH_CHECK_VALUE(feat.dim() == 5, "feat has shape ", feat.sizes(), ", expected [B, N, H, W, C]");
  TORCH_CHECK_TYPE(depth.scalar_type() == feat.scalar_type(), "depth is ", depth.scalar_type(), " and feat ",
                   feat.scalar_type(), ", expected the same dtype");
  TORCH_CHECK_VALUE(cell.sizes() == depth.sizes(), "the plan was built for depth ", cell.sizes(), ", found ",
                    depth.sizes());
  TORCH_CHECK_VALUE(feat.size(0) == depth.size(0) && feat.size(1) == depth.size(1) && feat.size(2) == depth.size(3) &&
                        feat.size(3) == depth.size(4),
                    "feat has shape ", feat.sizes(), ", expected [B, N, H, W, C] of depth ", depth.sizes());
  TORCH_CHECK_VALUE(shape.size() == 2 && shape[0] >= 1 && shape[1] >= 1, "shape is ", shape, ", expected (Y, X)");
  return {depth.size(0), depth.size(1), depth.size(2), depth.size(3), depth.size(4), feat.size(4), shape[0] * shape[1]};
}

inline void check_index_tensor(const at::Tensor& tensor, const char* name, int64_t numel,
                               at::ScalarType dtype = at::kInt) {
  TORCH_CHECK_TYPE(tensor.scalar_type() == dtype && tensor.is_contiguous(), "plan.", name, " is ", tensor.scalar_type(),
                   ", expected contiguous ", dtype);
  TORCH_CHECK_VALUE(tensor.numel() == numel, "plan.", name, " has ", tensor.numel(), " entries, expected ", numel);
}

inline void check_grad(const at::Tensor& grad, const at::Tensor& depth, const Sizes& n, at::IntArrayRef shape) {
  TORCH_CHECK_VALUE(grad.sizes() == at::IntArrayRef({n.samples, shape[0], shape[1], n.channels}) &&
                        grad.scalar_type() == depth.scalar_type(),
                    "grad is ", grad.scalar_type(), " ", grad.sizes(), ", expected [B, Y, X, C] like the output");
}

}  // namespace bevkd::pool

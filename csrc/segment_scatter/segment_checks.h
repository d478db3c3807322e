// Checks of segment scatter's arguments, the same on every device, and what kernels need of them.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <limits>

#include "segment_sizes.h"

namespace bevkd {

inline void check_index_list(const char* name, const at::Tensor& tensor, at::ScalarType type, int64_t numel) {
  TORCH_CHECK_TYPE(tensor.scalar_type() == type && tensor.is_contiguous(), name, " is ", tensor.scalar_type(),
                   ", expected contiguous ", type);
  TORCH_CHECK_VALUE(tensor.dim() == 1 && tensor.numel() == numel, name, " has shape ", tensor.sizes(), ", expected [",
                    numel, "]");
}

// features [N, C], point [P] int32, offsets [V + 1] int64, voxel_of_point [N] int32
inline SegmentSizes checked_segments(const at::Tensor& features, const at::Tensor& point, const at::Tensor& offsets,
                                     const at::Tensor& voxel_of_point) {
  TORCH_CHECK_VALUE(features.dim() == 2, "features have shape ", features.sizes(), ", expected [N, C]");
  TORCH_CHECK_VALUE(features.size(0) < std::numeric_limits<int32_t>::max(), "there are ", features.size(0),
                    " points, expected fewer than 2^31 - 1");
  TORCH_CHECK_VALUE(offsets.numel() >= 1, "segments.offsets are empty, expected V + 1 of them");
  check_index_list("segments.point", point, at::kInt, point.numel());
  TORCH_CHECK_VALUE(point.numel() <= features.size(0), "segments.point has ", point.numel(),
                    " entries, expected at most one for each of ", features.size(0), " points");
  check_index_list("segments.offsets", offsets, at::kLong, offsets.numel());
  check_index_list("segments.voxel_of_point", voxel_of_point, at::kInt, features.size(0));
  return {offsets.numel() - 1, point.numel(), features.size(0), features.size(1)};
}

// grad [V, C], voxel_of_point [N] int32
inline SegmentSizes checked_gradient(const at::Tensor& grad, const at::Tensor& voxel_of_point) {
  TORCH_CHECK_VALUE(grad.dim() == 2, "grad has shape ", grad.sizes(), ", expected [V, C]");
  check_index_list("segments.voxel_of_point", voxel_of_point, at::kInt, voxel_of_point.numel());
  return {grad.size(0), 0, voxel_of_point.numel(), grad.size(1)};
}

inline void check_winner(const at::Tensor& winner, const at::Tensor& grad) {
  TORCH_CHECK_TYPE(winner.scalar_type() == at::kInt && winner.is_contiguous(), "winner is ", winner.scalar_type(),
                   ", expected contiguous ", at::kInt);
  TORCH_CHECK_VALUE(winner.sizes() == grad.sizes(), "winner has shape ", winner.sizes(), ", expected ", grad.sizes(),
                    " like grad");
}

}  // namespace bevkd

// Launches of the rotated-overlap kernels.
#pragma once

#include <cstdint>

#include "../common/cuda_launch.h"

namespace bevkd::cuda {

// boxes [rows, 5], [columns, 5] (x, y, w, h, radians) -> out [rows, columns]; over_first: divide by the first area
template <typename T>
void box_iou_rotated(const T* first, int64_t rows, const T* second, int64_t columns, bool over_first, T* out,
                     cudaStream_t stream);

// boxes [count, 5] twice -> out [count], row i against row i
template <typename T>
void box_iou_rotated_aligned(const T* first, const T* second, int64_t count, bool over_first, T* out,
                             cudaStream_t stream);

}  // namespace bevkd::cuda

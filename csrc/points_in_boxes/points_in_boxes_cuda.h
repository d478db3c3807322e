// Launches of the points-in-boxes kernels: points [samples, count, 3], boxes [samples, box_count, 7] (x, y, bottom z,
// dx, dy, dz, yaw).
#pragma once

#include <cstdint>

#include "../common/cuda_launch.h"

namespace bevkd::cuda {

// -> inside [samples, box_count, count], or [samples, count, box_count] when `point_major`
template <typename T>
void points_in_boxes(const T* points, const T* boxes, int64_t samples, int64_t count, int64_t box_count,
                     bool point_major, bool* inside, cudaStream_t stream);

// -> first [samples, count]: the first box that holds a point, -1 for none
template <typename T>
void points_in_boxes_part(const T* points, const T* boxes, int64_t samples, int64_t count, int64_t box_count,
                          int32_t* first, cudaStream_t stream);

}  // namespace bevkd::cuda

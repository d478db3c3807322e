// Launch of the keypoint kernel: boxes [count, width], valid [count] -> points [count, 9, 2].
#pragma once

#include <cstdint>

#include "../common/cuda_launch.h"
#include "keypoints.h"

namespace bevkd::cuda {

template <typename T>
void box_keypoints(const T* boxes, const bool* valid, int64_t count, int64_t width, const MapRange& map, T* points,
                   cudaStream_t stream);

}  // namespace bevkd::cuda

// Launch of the box mask: boxes [samples, count, width], valid [samples, count].
#pragma once

#include <cstdint>

#include "../common/cuda_launch.h"
#include "bev_box.h"

namespace bevkd::cuda {

struct BoxMaskSizes {
  int64_t samples, count, width;
  MapFrame map;
  double min_overlap;
  int64_t min_radius;
};

// -> index [samples, rows, columns], counts [samples, count], gaussian [samples, rows, columns] unless null
template <typename T>
void rotated_box_mask(const T* boxes, const bool* valid, const BoxMaskSizes& sizes, int32_t* index, int32_t* counts,
                      float* gaussian, cudaStream_t stream);

}  // namespace bevkd::cuda

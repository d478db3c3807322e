// Launches of keypoint sampling: points [samples, count, 2].
#pragma once

#include <cstdint>

#include "../common/cuda_launch.h"

namespace bevkd::cuda {

enum class MapType { kFloat, kDouble, kHalf, kBFloat16 };

struct MapView {
  const void* data;
  MapType type;
  int64_t channels;
  int64_t stride[4];  // sample, channel, row, column
};

struct PointSizes {
  int64_t samples, count, rows, columns;
};

// -> out [samples, count, channels] of one or two maps (the second with 0 channels for none); Acc float or double
template <typename Acc>
void sample_keypoints(const MapView (&maps)[2], const Acc* points, const PointSizes& sizes, Acc* const (&outs)[2],
                      cudaStream_t stream);

// grad [samples, count, channels] -> out, zero before, with the given strides
template <typename T, typename Acc>
void sample_keypoints_backward(const Acc* grad, const Acc* points, const PointSizes& sizes, int64_t channels,
                               const int64_t (&stride)[4], T* out, cudaStream_t stream);

}  // namespace bevkd::cuda

// Launchers of segment scatter. T is float, double, __half or __nv_bfloat16; rows are contiguous.
#pragma once

#include "../common/cuda_scalar.h"
#include "segment_sizes.h"

namespace bevkd::cuda {

struct SegmentList {
  const int32_t* point;           // [P]
  const int64_t* offsets;         // [V + 1]
  const int32_t* voxel_of_point;  // [N]
  SegmentSizes n;
};

// Chunks of a segment beyond its first one are reduced on their own, to rows of `partial` [spare_chunks(n), C].
BEVKD_HD inline int64_t spare_chunks(const SegmentSizes& n) { return n.listed / kChunkPoints; }

// features [N, C] -> out [V, C]
template <typename T>
void segment_sum(const SegmentList& segments, const T* features, bool mean, sum_t<T>* partial, T* out,
                 cudaStream_t stream);
// features [N, C] -> out, winner [V, C]
template <typename T>
void segment_max(const SegmentList& segments, const T* features, sum_t<T>* partial, int32_t* partial_winner, T* out,
                 int32_t* winner, cudaStream_t stream);
// grad [V, C] -> out [N, C]
template <typename T>
void segment_sum_backward(const T* grad, const int32_t* voxel_of_point, const SegmentSizes& n, T* out,
                          cudaStream_t stream);
// grad, winner [V, C] -> out [N, C]
template <typename T>
void segment_max_backward(const T* grad, const int32_t* winner, const int32_t* voxel_of_point, const SegmentSizes& n,
                          T* out, cudaStream_t stream);

}  // namespace bevkd::cuda

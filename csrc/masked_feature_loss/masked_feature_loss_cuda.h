// Launches of the masked feature loss over maps [samples, channels, rows, columns] in any strides.
#pragma once

#include <cstdint>

#include "../common/cuda_scalar.h"

namespace bevkd::cuda {

struct MapStrides {
  int64_t sample, channel, row, column;
};

// One call. `wide`: four neighbours (along channels when interleaved, else along columns) are aligned in every map.
template <typename T>
struct LossMaps {
  int64_t samples, channels, rows, columns;
  bool interleaved, wide;
  int power;
  const sum_t<T>* cell_weight;     // [samples, rows, columns]
  const sum_t<T>* channel_weight;  // [samples, channels] or null for ones
  const T* student;
  const T* teacher;
  T* slope;  // null when nobody asks
  MapStrides student_at, teacher_at, slope_at;
};

// How many partial sums a call makes.
template <typename T>
int64_t loss_parts(const LossMaps<T>& maps);

// -> parts [loss_parts], loss [1]
template <typename T>
void masked_feature_loss(const LossMaps<T>& maps, sum_t<T>* parts, sum_t<T>* loss, cudaStream_t stream);

// grad [1], slope -> out, both in the strides maps.slope_at; the other maps are not looked at
template <typename T>
void masked_feature_loss_backward(const LossMaps<T>& maps, const sum_t<T>* grad, const T* slope, T* out,
                                  cudaStream_t stream);

}  // namespace bevkd::cuda

// The operator's tensors, checked and contiguous, and the part of them that belongs to one frame.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "frame_matching.h"

namespace bevkd::waymo {

inline at::Tensor rows_of(const at::Tensor& tensor, const char* name, at::ScalarType type, int64_t rows) {
  TORCH_CHECK_TYPE(tensor.scalar_type() == type, name, " are ", tensor.scalar_type(), ", expected ", type);
  TORCH_CHECK_VALUE(tensor.dim() == 1 && tensor.size(0) == rows, name, " have shape ", tensor.sizes(), ", expected [",
                    rows, "]");
  return tensor.contiguous();
}

inline at::Tensor boxes_of(const at::Tensor& boxes, const char* name) {
  TORCH_CHECK_TYPE(boxes.scalar_type() == at::kDouble, name, " are ", boxes.scalar_type(), ", expected float64");
  TORCH_CHECK_VALUE(boxes.dim() == 2 && boxes.size(1) == 7, name, " have shape ", boxes.sizes(), ", expected [N, 7]");
  return boxes.contiguous();
}

inline at::Tensor types_of(const at::Tensor& tensor, const char* name, int64_t rows, size_t thresholds) {
  const at::Tensor types = rows_of(tensor, name, at::kByte, rows);
  const uint8_t* begin = types.const_data_ptr<uint8_t>();
  TORCH_CHECK_VALUE(std::all_of(begin, begin + rows, [&](uint8_t type) { return type < thresholds; }), name,
                    " must be below ", thresholds);
  return types;
}

inline at::Tensor offsets_of(const at::Tensor& tensor, const char* name, int64_t entries, int64_t rows) {
  const at::Tensor offsets = rows_of(tensor, name, at::kLong, entries);
  const int64_t* at = offsets.const_data_ptr<int64_t>();
  TORCH_CHECK_VALUE(entries > 0 && at[0] == 0 && at[entries - 1] == rows && std::is_sorted(at, at + entries), name,
                    " must rise from 0 to ", rows);
  return offsets;
}

struct PredictionColumns {
  at::Tensor boxes, types, scores, excused, groups, offsets;

  Predictions frame(int64_t number) const {
    const int64_t* at = offsets.const_data_ptr<int64_t>() + number;
    return {at[1] - at[0],
            boxes.const_data_ptr<double>() + 7 * at[0],
            types.const_data_ptr<uint8_t>() + at[0],
            scores.const_data_ptr<float>() + at[0],
            excused.const_data_ptr<bool>() + at[0],
            groups.const_data_ptr<int64_t>() + at[0]};
  }
};

struct TruthColumns {
  at::Tensor boxes, types, difficulties, groups, counted, offsets;

  Truths frame(int64_t number) const {
    const int64_t* at = offsets.const_data_ptr<int64_t>() + number;
    return {at[1] - at[0],
            boxes.const_data_ptr<double>() + 7 * at[0],
            types.const_data_ptr<uint8_t>() + at[0],
            difficulties.const_data_ptr<uint8_t>() + at[0],
            groups.const_data_ptr<int64_t>() + at[0],
            counted.const_data_ptr<int64_t>() + at[0]};
  }
};

}  // namespace bevkd::waymo

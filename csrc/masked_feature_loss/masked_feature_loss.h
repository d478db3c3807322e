// What the CPU and the CUDA side of masked_feature_loss check and allocate alike.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <optional>

#include "../common/huge_pages.h"

namespace bevkd {

inline at::ScalarType loss_type(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

// Channels side by side for each cell (channels-last memory), or cells side by side for each channel.
inline bool is_interleaved(const at::Tensor& map) { return map.size(1) > 1 && map.stride(1) == 1; }

// Weights of cells and of channels, contiguous and in the type of the sums.
struct LossWeights {
  at::Tensor cell, channel;  // [B, Y, X]; [B, C] or undefined for ones

  LossWeights(const at::Tensor& map, const at::Tensor& weight, const std::optional<at::Tensor>& channel_weight,
              int64_t power) {
    TORCH_CHECK_VALUE(map.dim() == 4, "the map has shape ", map.sizes(), ", expected [B, C, Y, X]");
    TORCH_CHECK_VALUE(power == 1 || power == 2, "power is ", power, ", expected 1 or 2");
    const at::ScalarType type = loss_type(map.scalar_type());
    TORCH_CHECK_VALUE(weight.dim() == 3 && weight.size(0) == map.size(0) && weight.size(1) == map.size(2) &&
                          weight.size(2) == map.size(3),
                      "weight has shape ", weight.sizes(), ", expected [B, Y, X] of the map ", map.sizes());
    TORCH_CHECK_TYPE(weight.scalar_type() == type, "weight is ", weight.scalar_type(), ", expected ", type);
    cell = weight.contiguous();
    if (!channel_weight.has_value()) return;
    TORCH_CHECK_VALUE(channel_weight->sizes() == map.sizes().slice(0, 2), "channel_weight has shape ",
                      channel_weight->sizes(), ", expected [B, C] of the map ", map.sizes());
    TORCH_CHECK_TYPE(channel_weight->scalar_type() == type, "channel_weight is ", channel_weight->scalar_type(),
                     ", expected ", type);
    channel = channel_weight->contiguous();
  }
};

inline at::MemoryFormat format_of(const at::Tensor& map) {
  return is_interleaved(map) ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

inline at::Tensor empty_like_map(const at::Tensor& map, at::MemoryFormat format) {
  if (map.device().is_cpu()) return empty_in_huge_pages(map.sizes(), map.options(), format);
  return at::empty(map.sizes(), map.options(), format);
}

// The slope as the forward pass made it; a copy of one that somebody cut or turned.
inline at::Tensor dense(const at::Tensor& slope) { return slope.contiguous(format_of(slope)); }

inline void check_grad(const at::Tensor& grad, const at::Tensor& slope) {
  TORCH_CHECK_VALUE(grad.numel() == 1 && grad.scalar_type() == loss_type(slope.scalar_type()), "grad is ",
                    grad.scalar_type(), " ", grad.sizes(), ", expected one ", loss_type(slope.scalar_type()));
}

// Both maps in one memory order, with stride 1 along channels or along x; what is in another order is copied.
struct LossCall {
  bool interleaved;
  at::Tensor student, teacher;
  LossWeights weights;
  at::Tensor slope;

  LossCall(const at::Tensor& student_in, const at::Tensor& teacher_in, const at::Tensor& weight,
           const std::optional<at::Tensor>& channel_weight, int64_t power, bool with_slope)
      : student(student_in), teacher(teacher_in), weights(student_in, weight, channel_weight, power) {
    TORCH_CHECK_VALUE(teacher.sizes() == student.sizes(), "teacher has shape ", teacher.sizes(), ", expected ",
                      student.sizes(), " like the student");
    TORCH_CHECK_TYPE(teacher.scalar_type() == student.scalar_type(), "teacher is ", teacher.scalar_type(),
                     ", expected ", student.scalar_type(), " like the student");
    interleaved = is_interleaved(student);
    const auto format = format_of(student);
    const auto step = [&](const at::Tensor& map) { return map.stride(interleaved ? 1 : 3); };
    if (step(student) != 1) student = student.contiguous(format);
    if (step(teacher) != 1) teacher = teacher.contiguous(format);
    slope = with_slope ? empty_like_map(student, format) : at::empty({0}, student.options());
  }
};

}  // namespace bevkd

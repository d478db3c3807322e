// What the CPU and the CUDA side of sample_keypoints check and allocate alike.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <optional>

#include "../common/huge_pages.h"

namespace bevkd {

// The type that maps of `type` are weighted and summed in.
inline at::ScalarType sum_type(at::ScalarType type) { return type == at::kDouble ? at::kDouble : at::kFloat; }

inline void check_points(const at::Tensor& points, int64_t samples, at::ScalarType type) {
  TORCH_CHECK_VALUE(points.dim() == 3 && points.size(0) == samples && points.size(2) == 2, "points have shape ",
                    points.sizes(), ", expected [", samples, ", P, 2]");
  TORCH_CHECK_TYPE(points.scalar_type() == type, "points are ", points.scalar_type(), ", expected ", type);
}

struct SampleCall {
  at::Tensor student, teacher, points;  // points contiguous; teacher undefined when there is none
  at::Tensor mine, theirs;              // [B, P, C], [B, P, D] or [0]

  SampleCall(const at::Tensor& student_in, const std::optional<at::Tensor>& teacher_in, const at::Tensor& points_in)
      : student(student_in), teacher(teacher_in.value_or(at::Tensor())), points(points_in.contiguous()) {
    TORCH_CHECK_VALUE(student.dim() == 4, "student has shape ", student.sizes(), ", expected [B, C, Y, X]");
    const at::ScalarType type = sum_type(student.scalar_type());
    check_points(points, student.size(0), type);
    const auto options = student.options().dtype(type);
    mine = at::empty({points.size(0), points.size(1), student.size(1)}, options);
    theirs = at::empty({0}, options);
    if (!teacher.defined()) return;
    TORCH_CHECK_VALUE(teacher.dim() == 4 && teacher.size(0) == student.size(0) && teacher.size(2) == student.size(2) &&
                          teacher.size(3) == student.size(3),
                      "teacher has shape ", teacher.sizes(), ", expected [B, D, Y, X] of student ", student.sizes());
    TORCH_CHECK_TYPE(sum_type(teacher.scalar_type()) == type, "teacher is ", teacher.scalar_type(), " and student ",
                     student.scalar_type(), ", expected both float64 or neither");
    theirs = at::empty({points.size(0), points.size(1), teacher.size(1)}, options);
  }
};

// The zero gradient of a map, in the memory format of the map.
inline at::Tensor zero_gradient(const at::Tensor& grad, const at::Tensor& points, at::IntArrayRef shape,
                                at::ScalarType dtype, bool channels_last) {
  TORCH_CHECK_VALUE(shape.size() == 4, "shape is ", shape, ", expected (B, C, Y, X)");
  check_points(points, shape[0], sum_type(dtype));
  TORCH_CHECK_VALUE(grad.dim() == 3 && grad.size(0) == shape[0] && grad.size(1) == points.size(1) &&
                        grad.size(2) == shape[1],
                    "grad has shape ", grad.sizes(), ", expected [B, P, C] of points ", points.sizes(), " and map ", shape);
  TORCH_CHECK_TYPE(grad.scalar_type() == sum_type(dtype), "grad is ", grad.scalar_type(), ", expected ",
                   sum_type(dtype));
  const auto format = channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  const auto options = grad.options().dtype(dtype);
  const bool on_cpu = grad.device().is_cpu();
  return (on_cpu ? empty_in_huge_pages(shape, options, format) : at::empty(shape, options, format)).zero_();
}

}  // namespace bevkd

// Intersection over union of rotated boxes, all pairs or aligned pairs.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "../common/box_checks.h"
#include "rotated_box.h"

namespace bevkd {
namespace {

constexpr int64_t kPairs = 65536;  // per task: some 0.2 ms, less does not pay for waking a thread

template <typename T>
std::vector<RotatedBox> read_boxes(const at::Tensor& boxes) {
  std::vector<RotatedBox> out(boxes.size(0));
  const T* rows = boxes.const_data_ptr<T>();
  for (size_t i = 0; i < out.size(); ++i) out[i] = read_box(rows + 5 * i);
  return out;
}

at::Tensor box_iou_rotated(const at::Tensor& boxes1, const at::Tensor& boxes2, bool aligned, bool over_first) {
  check_pairs(boxes1, boxes2, aligned);
  const at::Tensor first = boxes1.contiguous(), second = boxes2.contiguous();
  const int64_t rows = first.size(0), columns = second.size(0);
  at::Tensor ious = aligned ? at::empty({rows}, first.options()) : at::empty({rows, columns}, first.options());
  AT_DISPATCH_FLOATING_TYPES(first.scalar_type(), "box_iou_rotated", [&] {
    const std::vector<RotatedBox> a = read_boxes<scalar_t>(first), b = read_boxes<scalar_t>(second);
    scalar_t* out = ious.mutable_data_ptr<scalar_t>();
    const int64_t per_row = aligned ? 1 : columns;
    at::parallel_for(0, ious.numel(), kPairs, [&](int64_t begin, int64_t end) {
      for (int64_t pair = begin; pair < end;) {
        const int64_t i = pair / per_row, row = i * per_row, stop = std::min(end, row + per_row);
        for (; pair < stop; ++pair) {
          out[pair] = static_cast<scalar_t>(overlap_ratio(a[i], b[aligned ? i : pair - row], over_first));
        }
      }
    });
  });
  return ious;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) { m.impl("box_iou_rotated", bevkd::box_iou_rotated); }

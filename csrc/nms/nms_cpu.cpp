// Greedy non-maximum suppression of boxes that come in descending score order.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "../box_iou_rotated/rotated_box.h"

namespace bevkd {
namespace {

// A box goes when `overlaps(kept, box)` holds for a kept box before it.
template <typename Overlaps>
at::Tensor suppress(int64_t boxes, const at::TensorOptions& options, const Overlaps& overlaps) {
  std::vector<int64_t> kept;
  for (int64_t j = 0; j < boxes; ++j) {
    if (std::none_of(kept.begin(), kept.end(), [&](int64_t i) { return overlaps(i, j); })) kept.push_back(j);
  }
  at::Tensor out = at::empty({static_cast<int64_t>(kept.size())}, options.dtype(at::kLong));
  std::copy(kept.begin(), kept.end(), out.mutable_data_ptr<int64_t>());
  return out;
}

at::Tensor nms_rotated(const at::Tensor& boxes_in, const std::optional<at::Tensor>& labels_in, double threshold) {
  TORCH_CHECK_VALUE(boxes_in.dim() == 2 && boxes_in.size(1) == 5, "boxes have shape ", boxes_in.sizes(), ", expected [N, 5]");
  const int64_t count = boxes_in.size(0);
  std::vector<RotatedBox> boxes(count);
  const at::Tensor rows = boxes_in.contiguous();
  AT_DISPATCH_FLOATING_TYPES(rows.scalar_type(), "nms_rotated", [&] {
    for (int64_t i = 0; i < count; ++i) boxes[i] = read_box(rows.const_data_ptr<scalar_t>() + 5 * i);
  });
  at::Tensor labels;
  if (labels_in.has_value()) {
    TORCH_CHECK_VALUE(labels_in->dim() == 1 && labels_in->size(0) == count && labels_in->scalar_type() == at::kLong,
                      "labels are ", labels_in->scalar_type(), " ", labels_in->sizes(), ", expected int64 [", count, "]");
    labels = labels_in->contiguous();
  }
  const int64_t* label = labels.defined() ? labels.const_data_ptr<int64_t>() : nullptr;
  return suppress(count, boxes_in.options(), [&](int64_t i, int64_t j) {
    return (!label || label[i] == label[j]) && overlap_ratio(boxes[i], boxes[j], false) > threshold;
  });
}

at::Tensor nms(const at::Tensor& boxes_in, double threshold, double offset) {
  TORCH_CHECK_VALUE(boxes_in.dim() == 2 && boxes_in.size(1) == 4, "boxes have shape ", boxes_in.sizes(), ", expected [N, 4]");
  const at::Tensor boxes = boxes_in.contiguous();
  at::Tensor kept;
  AT_DISPATCH_FLOATING_TYPES(boxes.scalar_type(), "nms", [&] {
    const scalar_t* box = boxes.const_data_ptr<scalar_t>();
    const scalar_t extra = static_cast<scalar_t>(offset);
    const auto area = [&](const scalar_t* b) { return (b[2] - b[0] + extra) * (b[3] - b[1] + extra); };
    kept = suppress(boxes.size(0), boxes.options(), [&](int64_t i, int64_t j) {
      const scalar_t *a = box + 4 * i, *b = box + 4 * j;
      const scalar_t w = std::min(a[2], b[2]) - std::max(a[0], b[0]) + extra;
      const scalar_t h = std::min(a[3], b[3]) - std::max(a[1], b[1]) + extra;
      const scalar_t shared = std::max(w, scalar_t(0)) * std::max(h, scalar_t(0));
      return shared / (area(a) + area(b) - shared) > static_cast<scalar_t>(threshold);
    });
  });
  return kept;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) {
  m.impl("nms_rotated", bevkd::nms_rotated);
  m.impl("nms", bevkd::nms);
}

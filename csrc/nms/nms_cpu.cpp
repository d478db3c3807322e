// Greedy non-maximum suppression of boxes that come in descending score order. One thread: each box waits for those
// before it, and visiting neighbours only leaves too little to share out.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "../box_iou_rotated/rotated_box.h"
#include "../common/box_checks.h"
#include "kept_index.h"
#include "plain_box.h"

namespace bevkd {
namespace {

// [N] bool: a box goes when `overlaps(kept, box)` holds for a kept box before it.
template <typename Overlaps>
at::Tensor suppress(const std::vector<Circle>& circles, const at::TensorOptions& options, const Overlaps& overlaps) {
  const int64_t count = static_cast<int64_t>(circles.size());
  at::Tensor keep = at::empty({count}, options.dtype(at::kBool));
  bool* out = keep.mutable_data_ptr<bool>();
  KeptIndex index(circles);
  for (int64_t j = 0; j < count; ++j) {
    out[j] = !index.any_near(j, [&](int64_t i) { return overlaps(i, j); });
    if (out[j]) index.insert(j);
  }
  return keep;
}

at::Tensor nms_rotated(const at::Tensor& boxes_in, const std::optional<at::Tensor>& labels_in, double threshold) {
  check_nms(boxes_in, 5, labels_in, threshold);
  const at::Tensor rows = boxes_in.contiguous();
  const at::Tensor labels = labels_in.has_value() ? labels_in->contiguous() : at::Tensor();
  const int64_t* label = labels.defined() ? labels.const_data_ptr<int64_t>() : nullptr;
  std::vector<RotatedBox> boxes(rows.size(0));
  std::vector<Circle> circles(rows.size(0));
  AT_DISPATCH_FLOATING_TYPES(rows.scalar_type(), "nms_rotated", [&] {
    const scalar_t* data = rows.const_data_ptr<scalar_t>();
    for (size_t i = 0; i < boxes.size(); ++i) {
      boxes[i] = read_box(data + 5 * i);
      circles[i] = {boxes[i].x, boxes[i].y, boxes[i].radius};
    }
  });
  return suppress(circles, rows.options(), [&](int64_t i, int64_t j) {
    return (!label || label[i] == label[j]) && overlap_ratio(boxes[i], boxes[j], false) > threshold;
  });
}

template <typename T>
Circle circle_around(const PlainBox<T>& box, double extra) {
  const double w = double(box.x2) - box.x1 + extra, h = double(box.y2) - box.y1 + extra;
  const bool valid = w > 0 && h > 0 && std::isfinite(w) && std::isfinite(h);
  return {0.5 * (double(box.x1) + box.x2), 0.5 * (double(box.y1) + box.y2), valid ? 0.5 * std::max(w, h) : NAN};
}

at::Tensor nms(const at::Tensor& boxes_in, double threshold, double offset) {
  check_nms(boxes_in, 4, std::nullopt, threshold);
  const at::Tensor rows = boxes_in.contiguous();
  return AT_DISPATCH_FLOATING_TYPES(rows.scalar_type(), "nms", [&] {
    const scalar_t* data = rows.const_data_ptr<scalar_t>();
    const scalar_t extra = static_cast<scalar_t>(offset), limit = static_cast<scalar_t>(threshold);
    std::vector<Circle> circles(rows.size(0));
    for (size_t i = 0; i < circles.size(); ++i) circles[i] = circle_around(read_plain_box(data + 4 * i), offset);
    return suppress(circles, rows.options(), [&](int64_t i, int64_t j) {
      return overlaps(read_plain_box(data + 4 * i), read_plain_box(data + 4 * j), extra, limit);
    });
  });
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) {
  m.impl("nms_rotated", bevkd::nms_rotated);
  m.impl("nms", bevkd::nms);
}

// Which points lie in which upright boxes: all pairs in two layouts, or the first box of each point.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/util/llvmMathExtras.h>
#include <torch/library.h>

#include <algorithm>
#include <array>

#include "../common/box_checks.h"
#include "box_grid.h"

namespace bevkd {
namespace {

constexpr int64_t kPoints = 32768;  // per task: some 0.2 ms, less does not pay for waking a thread

// Calls found(sample, point, box) for the boxes that hold a point, in ascending order; where it returns false, the
// point's other boxes of the same group of 64 are passed over. Threads share out the points of a sample; each of them
// makes the grids of all boxes, which costs less than waiting for each other between groups.
template <typename T, typename Found>
void visit(const at::Tensor& points_in, const at::Tensor& boxes_in, const Found& found) {
  const at::Tensor points = points_in.contiguous(), rows = boxes_in.contiguous();
  const int64_t count = points.size(1), box_count = rows.size(1);
  for (int64_t sample = 0; sample < points.size(0); ++sample) {
    const T* point = points.const_data_ptr<T>() + sample * count * 3;
    const T* row = rows.const_data_ptr<T>() + sample * box_count * 7;
    at::parallel_for(0, count, kPoints, [&](int64_t begin, int64_t end) {
      std::array<UprightBox<T>, BoxGrid<T>::kBoxes> boxes;
      for (int64_t first = 0; first < box_count; first += BoxGrid<T>::kBoxes) {
        const int group = static_cast<int>(std::min<int64_t>(box_count - first, BoxGrid<T>::kBoxes));
        for (int k = 0; k < group; ++k) boxes[k] = read_upright_box(row + 7 * (first + k));
        const BoxGrid<T> grid(boxes.data(), group);
        for (int64_t i = begin; i < end; ++i) {
          const T* p = point + 3 * i;
          for (uint64_t bits = grid.candidates(p[0], p[1]); bits; bits &= bits - 1) {
            const int k = static_cast<int>(c10::llvm::countTrailingZeros(bits));
            if (boxes[k].contains(p) && !found(sample, i, first + k)) break;
          }
        }
      }
    });
  }
}

// [B, T, M], or [B, M, T] when the boxes of a point lie side by side.
at::Tensor all_pairs(const at::Tensor& points, const at::Tensor& boxes, bool point_major) {
  check_points_in_boxes(points, boxes);
  const int64_t samples = points.size(0), count = points.size(1), box_count = boxes.size(1);
  const int64_t point_stride = point_major ? box_count : 1, box_stride = point_major ? 1 : count;
  const auto options = points.options().dtype(at::kBool);
  at::Tensor inside = point_major ? at::zeros({samples, count, box_count}, options)
                                  : at::zeros({samples, box_count, count}, options);
  bool* out = inside.mutable_data_ptr<bool>();
  AT_DISPATCH_FLOATING_TYPES(points.scalar_type(), "points_in_boxes", [&] {
    visit<scalar_t>(points, boxes, [&](int64_t sample, int64_t point, int64_t box) {
      out[sample * count * box_count + point * point_stride + box * box_stride] = true;
      return true;
    });
  });
  return inside;
}

at::Tensor points_in_boxes(const at::Tensor& points, const at::Tensor& boxes) {
  return all_pairs(points, boxes, false);
}

at::Tensor points_in_boxes_all(const at::Tensor& points, const at::Tensor& boxes) {
  return all_pairs(points, boxes, true);
}

at::Tensor points_in_boxes_part(const at::Tensor& points, const at::Tensor& boxes) {
  check_points_in_boxes(points, boxes);
  const int64_t count = points.size(1);
  at::Tensor first = at::full({points.size(0), count}, -1, points.options().dtype(at::kInt));
  int32_t* out = first.mutable_data_ptr<int32_t>();
  AT_DISPATCH_FLOATING_TYPES(points.scalar_type(), "points_in_boxes_part", [&] {
    visit<scalar_t>(points, boxes, [&](int64_t sample, int64_t point, int64_t box) {
      int32_t& mine = out[sample * count + point];
      if (mine < 0) mine = static_cast<int32_t>(box);  // a box of an earlier group stays
      return false;
    });
  });
  return first;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) {
  m.impl("points_in_boxes", bevkd::points_in_boxes);
  m.impl("points_in_boxes_all", bevkd::points_in_boxes_all);
  m.impl("points_in_boxes_part", bevkd::points_in_boxes_part);
}

// Which points lie in which rotated boxes.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <cmath>

#include "../common/host_device.h"

namespace bevkd {
namespace {

// Box (x, y, bottom z, dx, dy, dz, yaw counter-clockwise). Top and bottom belong to it, its sides do not.
template <typename T>
struct UprightBox {
  T x, y, bottom, half_x, half_y, half_z, cos, sin;

  BEVKD_HD explicit UprightBox(const T* row)
      : x(row[0]), y(row[1]), bottom(row[2]), half_x(row[3] / 2), half_y(row[4] / 2), half_z(row[5] / 2),
        cos(std::cos(row[6])), sin(std::sin(row[6])) {}

  BEVKD_HD bool contains(const T* point) const {
    if (!(std::fabs(point[2] - (bottom + half_z)) <= half_z)) return false;
    const T dx = point[0] - x, dy = point[1] - y;
    return std::fabs(dx * cos + dy * sin) < half_x && std::fabs(dy * cos - dx * sin) < half_y;
  }
};

at::Tensor points_in_boxes(const at::Tensor& points_in, const at::Tensor& boxes_in) {
  TORCH_CHECK_VALUE(points_in.dim() == 2 && points_in.size(1) == 3, "points have shape ", points_in.sizes(), ", expected [M, 3]");
  TORCH_CHECK_VALUE(boxes_in.dim() == 2 && boxes_in.size(1) == 7, "boxes have shape ", boxes_in.sizes(), ", expected [T, 7]");
  TORCH_CHECK_TYPE(points_in.scalar_type() == boxes_in.scalar_type(), "points are ", points_in.scalar_type(),
                   " and boxes ", boxes_in.scalar_type(), ", expected the same dtype");
  const at::Tensor points = points_in.contiguous(), boxes = boxes_in.contiguous();
  const int64_t count = points.size(0);
  at::Tensor inside = at::empty({boxes.size(0), count}, points.options().dtype(at::kInt));
  int32_t* out = inside.mutable_data_ptr<int32_t>();
  AT_DISPATCH_FLOATING_TYPES(points.scalar_type(), "points_in_boxes", [&] {
    const scalar_t* point = points.const_data_ptr<scalar_t>();
    const scalar_t* row = boxes.const_data_ptr<scalar_t>();
    at::parallel_for(0, boxes.size(0), 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const UprightBox<scalar_t> box(row + 7 * t);
        for (int64_t i = 0; i < count; ++i) out[t * count + i] = box.contains(point + 3 * i);
      }
    });
  });
  return inside;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) { m.impl("points_in_boxes", bevkd::points_in_boxes); }

// Nine points of every box on the CPU.
#include <ATen/Dispatch.h>
#include <torch/library.h>

#include "box_keypoints.h"

namespace bevkd {
namespace {

at::Tensor box_keypoints(const at::Tensor& boxes, const at::Tensor& valid, at::ArrayRef<double> low,
                         at::ArrayRef<double> high) {
  const KeypointCall call(boxes, valid, low, high);
  const int64_t width = call.boxes.size(2);
  AT_DISPATCH_FLOATING_TYPES(call.boxes.scalar_type(), "box_keypoints", [&] {
    const scalar_t* box = call.boxes.const_data_ptr<scalar_t>();
    const bool* real = call.valid.const_data_ptr<bool>();
    scalar_t* out = call.points.mutable_data_ptr<scalar_t>();
    for (int64_t m = 0; m < call.valid.numel(); ++m) {
      write_keypoints(box + m * width, real[m], call.map, out + m * 2 * kKeypoints);
    }
  });
  return call.points;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) { m.impl("box_keypoints", bevkd::box_keypoints); }

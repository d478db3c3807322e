// The torch side of the keypoint kernel. No host synchronisation.
#include <ATen/Dispatch.h>

#include "../common/cuda_glue.h"
#include "box_keypoints.h"
#include "box_keypoints_cuda.h"

namespace bevkd {
namespace {

at::Tensor box_keypoints_cuda(const at::Tensor& boxes, const at::Tensor& valid, at::ArrayRef<double> low,
                              at::ArrayRef<double> high) {
  cuda::check_one_device({{"boxes", boxes}, {"valid", valid}});
  const cuda::OnDeviceOf device(boxes);
  const KeypointCall call(boxes, valid, low, high);
  AT_DISPATCH_FLOATING_TYPES(call.boxes.scalar_type(), "box_keypoints", [&] {
    cuda::box_keypoints(call.boxes.const_data_ptr<scalar_t>(), call.valid.const_data_ptr<bool>(), call.valid.numel(),
                        call.boxes.size(2), call.map, call.points.mutable_data_ptr<scalar_t>(), device.stream());
  });
  return call.points;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, BEVKD_CUDA_KEY, m) { m.impl("box_keypoints", bevkd::box_keypoints_cuda); }

// The torch side of the box mask kernel. No host synchronisation.
#include <ATen/Dispatch.h>

#include <tuple>

#include "../common/cuda_glue.h"
#include "rotated_box_mask.h"
#include "rotated_box_mask_cuda.h"

namespace bevkd {
namespace {

std::tuple<at::Tensor, at::Tensor, at::Tensor> rotated_box_mask_cuda(const at::Tensor& boxes, const at::Tensor& valid,
                                                                     at::ArrayRef<double> low, double cell,
                                                                     at::IntArrayRef shape, bool with_gaussian,
                                                                     double min_overlap, int64_t min_radius) {
  cuda::check_one_device({{"boxes", boxes}, {"valid", valid}});
  const cuda::OnDeviceOf device(boxes);
  const BoxMaskCall call(boxes, valid, low, cell, shape, with_gaussian, min_overlap, min_radius);
  const cuda::BoxMaskSizes sizes{call.samples, call.count, call.width, call.map, min_overlap, min_radius};
  AT_DISPATCH_FLOATING_TYPES(call.boxes.scalar_type(), "rotated_box_mask", [&] {
    cuda::rotated_box_mask(call.boxes.const_data_ptr<scalar_t>(), call.valid.const_data_ptr<bool>(), sizes,
                           call.index.mutable_data_ptr<int32_t>(), call.counts.mutable_data_ptr<int32_t>(),
                           with_gaussian ? call.gaussian.mutable_data_ptr<float>() : nullptr, device.stream());
  });
  return {call.index, call.counts, call.gaussian};
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, BEVKD_CUDA_KEY, m) { m.impl("rotated_box_mask", bevkd::rotated_box_mask_cuda); }

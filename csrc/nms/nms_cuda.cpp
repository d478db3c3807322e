// The torch side of the suppression kernels. No host synchronisation: which boxes are kept stays a mask on the device.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <optional>

#include "../common/box_checks.h"
#include "../common/cuda_glue.h"
#include "nms_cuda.h"

namespace bevkd {
namespace {

// Calls run(scratch, keep) and returns keep [count].
template <typename Run>
at::Tensor with_scratch(const at::Tensor& boxes, const Run& run) {
  const int64_t count = boxes.size(0), words = cuda::nms_words(count);
  const auto longs = boxes.options().dtype(at::kLong);
  at::Tensor overlaps = at::empty({cuda::nms_tiles_at_once(count) * cuda::kNmsTile * words}, longs);
  at::Tensor suppressed = at::zeros({words}, longs);
  at::Tensor keep = at::empty({count}, boxes.options().dtype(at::kBool));
  const auto bits = [](at::Tensor& tensor) { return reinterpret_cast<uint64_t*>(tensor.mutable_data_ptr<int64_t>()); };
  run(cuda::NmsScratch{bits(overlaps), bits(suppressed)}, keep.mutable_data_ptr<bool>());
  return keep;
}

at::Tensor nms_rotated_cuda(const at::Tensor& boxes_in, const std::optional<at::Tensor>& labels_in, double threshold) {
  check_nms(boxes_in, 5, labels_in, threshold);
  if (labels_in.has_value()) cuda::check_one_device({{"boxes", boxes_in}, {"labels", *labels_in}});
  const cuda::OnDeviceOf device(boxes_in);
  const at::Tensor boxes = boxes_in.contiguous();
  const at::Tensor labels = labels_in.has_value() ? labels_in->contiguous() : at::Tensor();
  return AT_DISPATCH_FLOATING_TYPES(boxes.scalar_type(), "nms_rotated", [&] {
    return with_scratch(boxes, [&](const cuda::NmsScratch& scratch, bool* keep) {
      cuda::nms_rotated(boxes.const_data_ptr<scalar_t>(), labels.defined() ? labels.const_data_ptr<int64_t>() : nullptr,
                        boxes.size(0), threshold, scratch, keep, device.stream());
    });
  });
}

at::Tensor nms_cuda(const at::Tensor& boxes_in, double threshold, double offset) {
  check_nms(boxes_in, 4, std::nullopt, threshold);
  const cuda::OnDeviceOf device(boxes_in);
  const at::Tensor boxes = boxes_in.contiguous();
  return AT_DISPATCH_FLOATING_TYPES(boxes.scalar_type(), "nms", [&] {
    return with_scratch(boxes, [&](const cuda::NmsScratch& scratch, bool* keep) {
      cuda::nms(boxes.const_data_ptr<scalar_t>(), boxes.size(0), static_cast<scalar_t>(threshold),
                static_cast<scalar_t>(offset), scratch, keep, device.stream());
    });
  });
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, BEVKD_CUDA_KEY, m) {
  m.impl("nms_rotated", bevkd::nms_rotated_cuda);
  m.impl("nms", bevkd::nms_cuda);
}

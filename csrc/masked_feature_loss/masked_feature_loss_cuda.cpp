// The torch side of the masked feature loss kernels. No host synchronisation.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>

#include <initializer_list>
#include <tuple>

#include "../common/cuda_glue.h"
#include "masked_feature_loss.h"
#include "masked_feature_loss_cuda.h"

namespace bevkd {
namespace {

using cuda::KernelScalar;

cuda::MapStrides strides_of(const at::Tensor& map) {
  return {map.stride(0), map.stride(1), map.stride(2), map.stride(3)};
}

// Whether groups of four features start at whole multiples of their size in every map.
bool is_wide(bool interleaved, std::initializer_list<at::Tensor> maps) {
  for (const at::Tensor& map : maps) {
    const int along = interleaved ? 1 : 3;
    const auto address = reinterpret_cast<uintptr_t>(map.const_data_ptr());
    if (map.size(along) % 4 != 0 || address % (4 * map.element_size()) != 0) return false;
    for (int d = 0; d < 4; ++d) {
      if (d != along && map.stride(d) % 4 != 0) return false;
    }
  }
  return true;
}

template <typename scalar_t>
cuda::LossMaps<typename KernelScalar<scalar_t>::type> maps_of(const at::Tensor& like, bool interleaved,
                                                              const LossWeights& weights, int64_t power) {
  using acc_t = at::opmath_type<scalar_t>;
  TORCH_CHECK_VALUE(like.size(2) * like.size(3) < INT32_MAX, "the map has ", like.size(2), " x ", like.size(3),
                    " cells, expected fewer than 2^31");
  cuda::LossMaps<typename KernelScalar<scalar_t>::type> maps{};
  maps.samples = like.size(0);
  maps.channels = like.size(1);
  maps.rows = like.size(2);
  maps.columns = like.size(3);
  maps.interleaved = interleaved;
  maps.power = static_cast<int>(power);
  maps.cell_weight = weights.cell.const_data_ptr<acc_t>();
  maps.channel_weight = weights.channel.defined() ? weights.channel.const_data_ptr<acc_t>() : nullptr;
  return maps;
}

std::tuple<at::Tensor, at::Tensor> masked_feature_loss_cuda(const at::Tensor& student, const at::Tensor& teacher,
                                                            const at::Tensor& weight,
                                                            const std::optional<at::Tensor>& channel_weight,
                                                            int64_t power, bool with_slope) {
  cuda::check_one_device({{"student", student}, {"teacher", teacher}, {"weight", weight},
                          {"channel_weight", channel_weight.value_or(student)}});
  const cuda::OnDeviceOf device(student);
  const LossCall call(student, teacher, weight, channel_weight, power, with_slope);
  const auto options = student.options().dtype(loss_type(student.scalar_type()));
  at::Tensor loss = at::empty({}, options);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, student.scalar_type(), "masked_feature_loss", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    auto maps = maps_of<scalar_t>(call.student, call.interleaved, call.weights, power);
    maps.student = cuda::read<scalar_t>(call.student);
    maps.teacher = cuda::read<scalar_t>(call.teacher);
    maps.student_at = strides_of(call.student);
    maps.teacher_at = strides_of(call.teacher);
    maps.wide = is_wide(call.interleaved, {call.student, call.teacher});
    if (with_slope) {
      maps.slope = cuda::write<scalar_t>(call.slope);
      maps.slope_at = strides_of(call.slope);
      maps.wide = maps.wide && is_wide(call.interleaved, {call.slope});
    }
    at::Tensor parts = at::empty({cuda::loss_parts(maps)}, options);
    cuda::masked_feature_loss(maps, parts.mutable_data_ptr<acc_t>(), loss.mutable_data_ptr<acc_t>(), device.stream());
  });
  return {loss, call.slope};
}

at::Tensor masked_feature_loss_backward_cuda(const at::Tensor& grad, const at::Tensor& slope_in,
                                             const at::Tensor& weight, const std::optional<at::Tensor>& channel_weight,
                                             int64_t power) {
  cuda::check_one_device({{"slope", slope_in}, {"grad", grad}, {"weight", weight},
                          {"channel_weight", channel_weight.value_or(slope_in)}});
  const cuda::OnDeviceOf device(slope_in);
  const LossWeights weights(slope_in, weight, channel_weight, power);
  const at::Tensor slope = dense(slope_in);
  check_grad(grad, slope);
  at::Tensor out = empty_like_map(slope, format_of(slope));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, slope.scalar_type(), "masked_feature_loss_backward", [&] {
    auto maps = maps_of<scalar_t>(slope, is_interleaved(slope), weights, power);
    maps.slope_at = strides_of(slope);
    maps.wide = is_wide(maps.interleaved, {slope, out});
    cuda::masked_feature_loss_backward(maps, grad.const_data_ptr<at::opmath_type<scalar_t>>(),
                                       cuda::read<scalar_t>(slope), cuda::write<scalar_t>(out), device.stream());
  });
  return out;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, BEVKD_CUDA_KEY, m) {
  m.impl("masked_feature_loss", bevkd::masked_feature_loss_cuda);
  m.impl("masked_feature_loss_backward", bevkd::masked_feature_loss_backward_cuda);
}

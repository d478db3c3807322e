// Lift-splat pooling on the CPU: out[cell] = sum over its points of depth[point] * feat[pixel of the point].
// The product of depth and feature is never stored. Every sum runs in frustum order inside one thread, so results
// do not depend on the number of threads.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

namespace bevkd {
namespace {

constexpr int64_t kCellGrain = 256;
constexpr int64_t kPixelGrain = 64;

struct Sizes {
  int64_t samples, cameras, depths, image, channels, cells, points, pixels;
};

Sizes checked_sizes(const at::Tensor& depth, const at::Tensor& feat, const at::Tensor& cell, at::IntArrayRef shape) {
  TORCH_CHECK_VALUE(depth.dim() == 5, "depth has shape ", depth.sizes(), ", expected [B, N, D, H, W]");
  TORCH_CHECK_VALUE(feat.dim() == 5, "feat has shape ", feat.sizes(), ", expected [B, N, H, W, C]");
  TORCH_CHECK_TYPE(depth.scalar_type() == feat.scalar_type(), "depth is ", depth.scalar_type(), " and feat ",
                   feat.scalar_type(), ", expected the same dtype");
  TORCH_CHECK_VALUE(cell.sizes() == depth.sizes(), "the plan was built for depth ", cell.sizes(), ", found ", depth.sizes());
  TORCH_CHECK_VALUE(feat.size(0) == depth.size(0) && feat.size(1) == depth.size(1) && feat.size(2) == depth.size(3) &&
                        feat.size(3) == depth.size(4),
                    "feat has shape ", feat.sizes(), ", expected [B, N, H, W, C] of depth ", depth.sizes());
  TORCH_CHECK_VALUE(shape.size() == 2 && shape[0] >= 1 && shape[1] >= 1, "shape is ", shape, ", expected (Y, X)");
  const int64_t image = depth.size(3) * depth.size(4);
  return {depth.size(0), depth.size(1), depth.size(2), image, feat.size(4), depth.size(0) * shape[0] * shape[1],
          depth.numel(), depth.size(0) * depth.size(1) * image};
}

void check_index_tensor(const at::Tensor& tensor, const char* name, int64_t numel) {
  TORCH_CHECK_TYPE(tensor.scalar_type() == at::kInt && tensor.is_contiguous(), "plan.", name, " is ",
                   tensor.scalar_type(), ", expected contiguous int32");
  TORCH_CHECK_VALUE(tensor.numel() == numel, "plan.", name, " has ", tensor.numel(), " entries, expected ", numel);
}

// A plan is plain tensors in the user's hands, so each index is looked at before it is used.
inline void check_bounds(int64_t index, int64_t size) {
  TORCH_CHECK_INDEX(index >= 0 && index < size, "the plan points at ", index, ", expected 0 to ", size - 1);
}

template <typename scalar_t, typename acc_t>
inline void add_scaled(acc_t* sum, acc_t weight, const scalar_t* row, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) sum[c] += weight * static_cast<acc_t>(row[c]);
}

// Eight running sums, folded in a fixed order: lets the compiler use vectors without reordering anything itself.
template <typename scalar_t, typename acc_t>
inline acc_t dot(const scalar_t* a, const scalar_t* b, int64_t channels) {
  acc_t lane[8] = {};
  int64_t c = 0;
  for (; c + 8 <= channels; c += 8) {
    for (int j = 0; j < 8; ++j) lane[j] += static_cast<acc_t>(a[c + j]) * static_cast<acc_t>(b[c + j]);
  }
  for (; c < channels; ++c) lane[0] += static_cast<acc_t>(a[c]) * static_cast<acc_t>(b[c]);
  return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

template <typename scalar_t>
void pool(const scalar_t* depth, const scalar_t* feat, const int32_t* point, const int32_t* pixel,
          const int32_t* offsets, int64_t listed, const Sizes& n, scalar_t* out) {
  using acc_t = at::opmath_type<scalar_t>;
  at::parallel_for(0, n.cells, kCellGrain, [&](int64_t begin, int64_t end) {
    std::vector<acc_t> sum(n.channels);
    for (int64_t cell = begin; cell < end; ++cell) {
      std::fill(sum.begin(), sum.end(), acc_t(0));
      const int64_t first = offsets[cell], last = offsets[cell + 1];
      TORCH_CHECK_INDEX(0 <= first && first <= last && last <= listed, "plan.offsets is not a list of intervals");
      for (int64_t i = first; i < last; ++i) {
        check_bounds(point[i], n.points);
        check_bounds(pixel[i], n.pixels);
        add_scaled(sum.data(), static_cast<acc_t>(depth[point[i]]), feat + pixel[i] * n.channels, n.channels);
      }
      for (int64_t c = 0; c < n.channels; ++c) out[cell * n.channels + c] = static_cast<scalar_t>(sum[c]);
    }
  });
}

template <typename scalar_t>
void pool_backward(const scalar_t* grad, const scalar_t* depth, const scalar_t* feat, const int32_t* cell,
                   const Sizes& n, scalar_t* grad_depth, scalar_t* grad_feat) {
  using acc_t = at::opmath_type<scalar_t>;
  at::parallel_for(0, n.pixels, kPixelGrain, [&](int64_t begin, int64_t end) {
    std::vector<acc_t> sum(n.channels);
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      std::fill(sum.begin(), sum.end(), acc_t(0));
      const scalar_t* row = feat + pixel * n.channels;
      int64_t p = pixel / n.image * n.depths * n.image + pixel % n.image;
      for (int64_t d = 0; d < n.depths; ++d, p += n.image) {
        grad_depth[p] = scalar_t(0);
        if (cell[p] < 0) continue;
        check_bounds(cell[p], n.cells);
        const scalar_t* g = grad + cell[p] * n.channels;
        grad_depth[p] = static_cast<scalar_t>(dot<scalar_t, acc_t>(g, row, n.channels));
        add_scaled(sum.data(), static_cast<acc_t>(depth[p]), g, n.channels);
      }
      for (int64_t c = 0; c < n.channels; ++c) grad_feat[pixel * n.channels + c] = static_cast<scalar_t>(sum[c]);
    }
  });
}

at::Tensor bev_pool(const at::Tensor& depth_in, const at::Tensor& feat_in, const at::Tensor& cell,
                    const at::Tensor& point, const at::Tensor& pixel, const at::Tensor& offsets, at::IntArrayRef shape) {
  const Sizes n = checked_sizes(depth_in, feat_in, cell, shape);
  check_index_tensor(point, "point", point.numel());
  check_index_tensor(pixel, "pixel", point.numel());
  check_index_tensor(offsets, "offsets", n.cells + 1);
  const at::Tensor depth = depth_in.contiguous(), feat = feat_in.contiguous();
  at::Tensor out = at::empty({n.samples, shape[0], shape[1], n.channels}, feat.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, depth.scalar_type(), "bev_pool", [&] {
    pool<scalar_t>(depth.const_data_ptr<scalar_t>(), feat.const_data_ptr<scalar_t>(), point.const_data_ptr<int32_t>(),
                   pixel.const_data_ptr<int32_t>(), offsets.const_data_ptr<int32_t>(), point.numel(), n,
                   out.mutable_data_ptr<scalar_t>());
  });
  return out;
}

std::tuple<at::Tensor, at::Tensor> bev_pool_backward(const at::Tensor& grad_in, const at::Tensor& depth_in,
                                                     const at::Tensor& feat_in, const at::Tensor& cell,
                                                     const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                     at::IntArrayRef shape) {
  const Sizes n = checked_sizes(depth_in, feat_in, cell, shape);
  check_index_tensor(cell, "cell", n.points);
  TORCH_CHECK_VALUE(grad_in.dim() == 4 && grad_in.numel() == n.cells * n.channels && grad_in.size(3) == n.channels &&
                        grad_in.scalar_type() == depth_in.scalar_type(),
                    "grad is ", grad_in.scalar_type(), " ", grad_in.sizes(), ", expected [B, Y, X, C] like the output");
  const at::Tensor grad = grad_in.contiguous(), depth = depth_in.contiguous(), feat = feat_in.contiguous();
  at::Tensor grad_depth = at::empty(depth.sizes(), depth.options());
  at::Tensor grad_feat = at::empty(feat.sizes(), feat.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, depth.scalar_type(), "bev_pool_backward", [&] {
    pool_backward<scalar_t>(grad.const_data_ptr<scalar_t>(), depth.const_data_ptr<scalar_t>(),
                            feat.const_data_ptr<scalar_t>(), cell.const_data_ptr<int32_t>(), n,
                            grad_depth.mutable_data_ptr<scalar_t>(), grad_feat.mutable_data_ptr<scalar_t>());
  });
  return {grad_depth, grad_feat};
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) {
  m.impl("bev_pool", bevkd::bev_pool);
  m.impl("bev_pool_backward", bevkd::bev_pool_backward);
}

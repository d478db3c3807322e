// Lift-splat pooling on the CPU: out[cell] = sum over its points of depth[point] * feat[pixel of the point].
// The product of depth and feature is never stored: a cell's row stays in registers while its points go by. Every sum
// runs in list order inside one thread, so results do not depend on the number of threads.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

#include "../common/share.h"
#include "pool_checks.h"
#include "pool_rows.h"

namespace bevkd::pool {
namespace {

constexpr int64_t kTileCells = 128;  // one job: the lists of so many cells are checked, then walked from the cache
constexpr int64_t kAhead = 8;        // points between asking for a feature row and using it

// Largest entry as unsigned, so that a negative one is large too; 0 of none.
BEVKD_INLINE uint32_t largest(const int32_t* index, int64_t count) {
  uint32_t most = 0;
  for (int64_t i = 0; i < count; ++i) most = std::max(most, static_cast<uint32_t>(index[i]));
  return most;
}

// Pools the cells [begin, end). A plan is plain tensors in the user's hands, so its numbers are looked at before they
// are used; run() names the field that holds a wrong one, or nullptr.
template <typename T>
struct PoolCells {
  const T *depth, *feat;
  const int32_t *point, *pixel, *offsets;
  int64_t listed, points, pixels, channels;
  T* out;
  int64_t begin = 0, end = 0;

  template <int kBytes>
  BEVKD_INLINE const char* run() const {
    const int64_t first = offsets[begin], last = offsets[end];
    bool ordered = first >= 0 && last <= listed;
    for (int64_t cell = begin; cell < end; ++cell) ordered &= offsets[cell] <= offsets[cell + 1];
    if (!ordered) return "offsets";
    if (last > first && largest(point + first, last - first) >= points) return "point";
    if (last > first && largest(pixel + first, last - first) >= pixels) return "pixel";
    for (int64_t channel = 0; channel < channels;) {
      const Block block = block_at<T>(channel, channels);
      with_units(block.units<T>(), [&]<int kUnits>() __attribute__((always_inline)) {
        sum_cells<kUnits, kBytes>(block);
      });
      channel += block.channels;
    }
    return nullptr;
  }

  template <int kUnits, int kBytes>
  BEVKD_INLINE void sum_cells(Block block) const {
    const int64_t last = block.last<T>(), stride = channels;
    const int32_t *const points_of = point, *const pixels_of = pixel, *const offset = offsets;
    const T *const rows = feat + block.first, *const weight = depth;
    T* to = out + begin * stride + block.first;
    int64_t i = offset[begin];
    for (int64_t cell = begin; cell < end; ++cell, to += stride) {
      Row<T, kUnits, kBytes> sum;
      sum.clear();
      for (const int64_t next = offset[cell + 1]; i < next; ++i) {
        const int64_t soon = i + kAhead < offset[end] ? i + kAhead : i;
        prefetch_row(rows + pixels_of[soon] * stride, kUnits * kUnitBytes);
        __builtin_prefetch(weight + points_of[soon]);
        sum.add_scaled(rows + pixels_of[i] * stride, last, weight[points_of[i]]);
      }
      sum.write(to, last);
    }
  }
};

template <typename T>
void pool(const at::Tensor& depth, const at::Tensor& feat, const at::Tensor& point, const at::Tensor& pixel,
          const at::Tensor& offsets, const Sizes& n, at::Tensor& out) {
  const PoolCells<T> all{depth.const_data_ptr<T>(),
                         feat.const_data_ptr<T>(),
                         point.const_data_ptr<int32_t>(),
                         pixel.const_data_ptr<int32_t>(),
                         offsets.const_data_ptr<int32_t>(),
                         point.numel(),
                         n.points(),
                         n.pixels(),
                         feat.size(4),
                         out.mutable_data_ptr<T>()};
  share((n.cells() + kTileCells - 1) / kTileCells, [&](int64_t tile) {
    PoolCells<T> job = all;
    job.begin = tile * kTileCells;
    job.end = std::min(job.begin + kTileCells, n.cells());
    const char* const wrong = simd::run(job);
    TORCH_CHECK_INDEX(wrong == nullptr, "plan.", wrong, " points at what is not there: the plan is of another geometry "
                      "or damaged");
  });
}

at::Tensor bev_pool(const at::Tensor& depth_in, const at::Tensor& feat_in, const at::Tensor& cell,
                    const at::Tensor& point, const at::Tensor& pixel, const at::Tensor& offsets, at::IntArrayRef shape) {
  const Sizes n = checked_sizes(depth_in, feat_in, cell, shape);
  check_index_tensor(point, "point", point.numel());
  check_index_tensor(pixel, "pixel", point.numel());
  check_index_tensor(offsets, "offsets", n.cells() + 1);
  const auto dtype = depth_in.scalar_type(), sum_dtype = dtype == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor depth = depth_in.to(sum_dtype).contiguous();
  at::Tensor out;
  AT_DISPATCH_FLOATING_TYPES(sum_dtype, "bev_pool", [&] {
    const at::Tensor feat = padded_rows<scalar_t>(feat_in);
    out = at::empty({n.samples, shape[0], shape[1], feat.size(4)}, feat.options());
    if (out.numel() > 0) pool<scalar_t>(depth, feat, point, pixel, offsets, n, out);
  });
  return out.narrow(3, 0, n.channels).to(dtype).contiguous();
}

}  // namespace
}  // namespace bevkd::pool

TORCH_LIBRARY_IMPL(bevkd, CPU, m) { m.impl("bev_pool", bevkd::pool::bev_pool); }

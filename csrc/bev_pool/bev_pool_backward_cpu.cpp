// Gradients of lift-splat pooling on the CPU. A pixel's ray runs through cells; each row of the output's gradient gives
//   grad_depth[point] = grad[cell] . feat[pixel]     and adds depth * grad[cell] to grad_feat[pixel].
// Neighbours on a ray often share their cell: such a run is one visit with the summed depth. Eight pixels side by side
// are prepared together, because depth bins of one pixel lie far apart in memory and those of neighbours do not.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "../common/share.h"
#include "pool_checks.h"
#include "pool_rows.h"

namespace bevkd::pool {
namespace {

constexpr int kLanes = 8;      // pixels prepared together
constexpr int64_t kRows = 16;  // one job: kLanes pixels of so many image rows
constexpr int64_t kAhead = 4;  // visits between asking for a gradient row and using it

// The running sums of a dot product, 64 bytes wide, folded to four by halves.
template <typename T, int kBytes>
BEVKD_INLINE void fold_to_four(const simd::vec<T, kBytes>* sum, T* four) {
  constexpr int count = kUnitBytes / static_cast<int>(sizeof(T));
  T lane[count];
  for (int i = 0; i < kUnitBytes / kBytes; ++i) simd::store<T, kBytes>(lane + i * (kBytes / sizeof(T)), sum[i]);
  for (int half = count / 2; half >= 4; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  for (int i = 0; i < 4; ++i) four[i] = lane[i];
}
#ifdef __x86_64__
template <>
BEVKD_INLINE void fold_to_four<float, 64>(const simd::vec<float, 64>* sum, float* four) {
  const auto eight = __builtin_shufflevector(*sum, *sum, 0, 1, 2, 3, 4, 5, 6, 7) +
                     __builtin_shufflevector(*sum, *sum, 8, 9, 10, 11, 12, 13, 14, 15);
  simd::store<float, 16>(four, __builtin_shufflevector(eight, eight, 0, 1, 2, 3) +
                                   __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
}
#endif

// Room for one group of pixels. Visit 0 of a pixel stands for its points outside the map and weighs nothing.
template <typename T>
struct Visits {
  explicit Visits(int64_t depths)
      : stride(depths + 1 + kAhead), cell(kLanes * stride), slot(kLanes * depths), weight(kLanes * stride),
        dot(kLanes * stride), four(4 * stride) {}
  int64_t stride;
  std::vector<int32_t> cell, slot;  // cell of a visit; visit of a point
  std::vector<T> weight, dot;       // summed depth of a visit; feature times gradient of its cell
  std::vector<T> four;              // the same, not quite summed, of one pixel
  int32_t count[kLanes];
};

template <typename T>
struct PixelGradients {
  const T *grad, *depth, *feat;
  const int32_t* cell;
  Sizes n;
  int64_t channels;  // of padded rows
  T *grad_depth, *grad_feat;
  Visits<T>* visits = nullptr;
  int64_t piece = 0;

  // False when the plan names a cell that is not there.
  template <int kBytes>
  BEVKD_INLINE bool run() const {
    // The rows of a piece come one after another: their points share cells, whose gradients stay in the cache.
    const int64_t pieces = (n.height + kRows - 1) / kRows, across = (n.width + kLanes - 1) / kLanes;
    const int64_t image = piece / (pieces * across), column = piece / pieces % across * kLanes;
    const int64_t top = piece % pieces * kRows;
    const int lanes = static_cast<int>(std::min<int64_t>(kLanes, n.width - column));
    for (int64_t row = top; row < std::min(top + kRows, n.height); ++row) {
      const int64_t at = row * n.width + column, first = image * n.depths * n.image() + at;
      if (!(lanes == kLanes ? visit<kLanes>(first, lanes) : visit<0>(first, lanes))) return false;
      for (int lane = 0; lane < lanes; ++lane) pixel<kBytes>(image * n.image() + at + lane, lane);
      lanes == kLanes ? write_depth<kLanes>(first, lanes) : write_depth<0>(first, lanes);
    }
    return true;
  }

  // Lists the visits of the pixels from point `first` on; kStatic is their number when the compiler may know it.
  // Everything is copied to locals before the loop: the compiler cannot know that its stores leave *this alone.
  template <int kStatic>
  BEVKD_INLINE bool visit(int64_t first, int lanes) const {
    int32_t before[kLanes], count[kLanes];
    T sum[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) before[lane] = -1, count[lane] = 0, sum[lane] = 0;
    int32_t beyond = 0;
    const int64_t depths = n.depths, step = n.image(), cells = n.cells(), stride = visits->stride;
    const int32_t* c = cell + first;
    const T* w = depth + first;
    int32_t *slot = visits->slot.data(), *const to_cell = visits->cell.data();
    T* const to_weight = visits->weight.data();
    for (int64_t d = 0; d < depths; ++d, c += step, w += step, slot += kLanes) {
#pragma GCC unroll 8
      for (int lane = 0; lane < (kStatic ? kStatic : lanes); ++lane) {
        const bool inside = c[lane] >= 0, again = c[lane] == before[lane];
        beyond |= c[lane] >= cells;
        sum[lane] = (again ? sum[lane] : T(0)) + w[lane];
        count[lane] += inside & !again;
        before[lane] = c[lane];
        slot[lane] = inside ? count[lane] : 0;
        to_cell[lane * stride + slot[lane]] = c[lane];
        to_weight[lane * stride + slot[lane]] = sum[lane];
      }
    }
    for (int lane = 0; lane < lanes; ++lane) {
      visits->count[lane] = count[lane];
      std::fill_n(to_cell + lane * stride + count[lane] + 1, kAhead, 0);
    }
    return beyond == 0;
  }

  // Every point gets the dot product of its visit.
  template <int kStatic>
  BEVKD_INLINE void write_depth(int64_t first, int lanes) const {
    const int64_t depths = n.depths, step = n.image(), stride = visits->stride;
    const int32_t* slot = visits->slot.data();
    const T* const dot = visits->dot.data();
    T* to = grad_depth + first;
    for (int64_t d = 0; d < depths; ++d, to += step, slot += kLanes) {
#pragma GCC unroll 8
      for (int lane = 0; lane < (kStatic ? kStatic : lanes); ++lane) to[lane] = dot[lane * stride + slot[lane]];
    }
  }

  template <int kBytes>
  BEVKD_INLINE void pixel(int64_t pixel, int lane) const {
    const int32_t count = visits->count[lane];
    T *const dot = visits->dot.data() + lane * visits->stride, *const four = visits->four.data();
    std::fill_n(dot, count + 1, T(0));
    for (int64_t channel = 0; channel < channels;) {
      const Block block = block_at<T>(channel, channels);
      with_units(block.units<T>(), [&]<int kUnits>() __attribute__((always_inline)) {
        channels_of<kUnits, kBytes>(pixel, lane, block);
      });
      for (int32_t i = 1; i <= count; ++i) {
        dot[i] += (four[4 * i] + four[4 * i + 2]) + (four[4 * i + 1] + four[4 * i + 3]);
      }
      channel += block.channels;
    }
  }

  template <int kUnits, int kBytes>
  BEVKD_INLINE void channels_of(int64_t pixel, int lane, Block block) const {
    using R = Row<T, kUnits, kBytes>;
    const int64_t last = block.last<T>(), stride = channels;
    const int32_t count = visits->count[lane], *const cells = visits->cell.data() + lane * visits->stride;
    const T *const weight = visits->weight.data() + lane * visits->stride, *const rows = grad + block.first;
    T* const four = visits->four.data();
    R row, sum;
    row.read_once(feat + pixel * channels + block.first, last);
    sum.clear();
    for (int32_t i = 1; i <= count; ++i) {
      prefetch_row(rows + cells[i + kAhead] * stride, kUnits * kUnitBytes);
      const T* const g = rows + cells[i] * stride;
      const T w = weight[i];
      typename R::V dot[R::parts];
#pragma GCC unroll 32
      for (int j = 0; j < R::count; ++j) {
        typename R::V x;
        simd::load<T, kBytes>(x, g + R::offset(j, last));
        sum.v[j] += x * w;
        dot[j % R::parts] = j < R::parts ? x * row.v[j] : dot[j % R::parts] + x * row.v[j];
      }
      fold_to_four<T, kBytes>(dot, four + int64_t(4) * i);
    }
    sum.write(grad_feat + pixel * channels + block.first, last);
  }
};

template <typename T>
void pool_backward(const at::Tensor& grad, const at::Tensor& depth, const at::Tensor& feat, const at::Tensor& cell,
                   const Sizes& n, at::Tensor& grad_depth, at::Tensor& grad_feat) {
  const int64_t strips = n.images() * ((n.width + kLanes - 1) / kLanes);
  const PixelGradients<T> all{grad.const_data_ptr<T>(),
                              depth.const_data_ptr<T>(),
                              feat.const_data_ptr<T>(),
                              cell.const_data_ptr<int32_t>(),
                              n,
                              feat.size(4),
                              grad_depth.mutable_data_ptr<T>(),
                              grad_feat.mutable_data_ptr<T>()};
  share(strips * ((n.height + kRows - 1) / kRows), [&] { return Visits<T>(n.depths); },
        [&](Visits<T>& visits, int64_t piece) {
    PixelGradients<T> job = all;
    job.visits = &visits;
    job.piece = piece;
    TORCH_CHECK_INDEX(simd::run(job), "plan.cell points at what is not there: the plan is of another geometry or "
                      "damaged");
  });
}

std::tuple<at::Tensor, at::Tensor> bev_pool_backward(const at::Tensor& grad_in, const at::Tensor& depth_in,
                                                     const at::Tensor& feat_in, const at::Tensor& cell,
                                                     const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                     at::IntArrayRef shape) {
  const Sizes n = checked_sizes(depth_in, feat_in, cell, shape);
  check_index_tensor(cell, "cell", n.points());
  check_grad(grad_in, depth_in, n, shape);
  const auto dtype = depth_in.scalar_type(), sum_dtype = dtype == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor depth = depth_in.to(sum_dtype).contiguous();
  at::Tensor grad_depth = at::empty(depth.sizes(), depth.options()), grad_feat;
  AT_DISPATCH_FLOATING_TYPES(sum_dtype, "bev_pool_backward", [&] {
    const at::Tensor feat = padded_rows<scalar_t>(feat_in), grad = padded_rows<scalar_t>(grad_in);
    grad_feat = at::empty(feat.sizes(), feat.options());
    pool_backward<scalar_t>(grad, depth, feat, cell, n, grad_depth, grad_feat);
  });
  return {grad_depth.to(dtype), grad_feat.narrow(4, 0, n.channels).to(dtype).contiguous()};
}

}  // namespace
}  // namespace bevkd::pool

TORCH_LIBRARY_IMPL(bevkd, CPU, m) { m.impl("bev_pool_backward", bevkd::pool::bev_pool_backward); }

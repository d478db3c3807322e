// Weighted sum of |student - teacher|^power on the CPU in one pass that also keeps the slope for the gradient.
//
// Work is cut into tasks by the shape alone and the sums of the tasks are added in order, so neither result depends on
// the number of threads. Cells of weight 0 are left out: their features are not looked at, their slope is not written.
#ifdef __GNUC__  // Without it GCC keeps the choice by weight a branch, and the rows scalar. No result changes.
#pragma GCC optimize("no-trapping-math")
#endif
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/ops/scalar_tensor.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

#include "masked_feature_loss.h"

namespace bevkd {
namespace {

constexpr int64_t kCellsPerTask = 64;
constexpr int64_t kRowsPerTask = 32;
constexpr int64_t kGrain = 32768;  // features that are worth a thread
constexpr int kLanes = 16;  // running sums of a row, which the compiler keeps in vectors

// One row of features: the channels of a cell, or cells of a row of the map; `weight` runs along it, `scale` does not.
template <int kPower, bool kSlope, typename scalar_t, typename acc_t>
acc_t add_row(const scalar_t* student, const scalar_t* teacher, const acc_t* weight, acc_t scale, int64_t count,
              scalar_t* slope) {
  acc_t lane[kLanes] = {};
  const auto add = [&](int64_t i, int j) {
    const acc_t gap = static_cast<acc_t>(student[i]) - static_cast<acc_t>(teacher[i]), factor = scale * weight[i];
    const acc_t term = factor * (kPower == 2 ? gap * gap : std::fabs(gap));
    lane[j] += factor != 0 ? term : 0;
    if (kSlope) slope[i] = static_cast<scalar_t>(kPower == 2 ? gap : gap > 0 ? acc_t(1) : gap < 0 ? acc_t(-1) : gap);
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) add(i + j, j);
  }
  for (int j = 0; i + j < count; ++j) add(i + j, j);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int j = 0; j < width; ++j) lane[j] += lane[j + width];
  }
  return lane[0];
}

template <typename scalar_t, typename acc_t>
void scale_row(const scalar_t* slope, const acc_t* weight, acc_t scale, acc_t grad, int64_t count, scalar_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    const acc_t factor = scale * weight[i];
    const acc_t value = grad * factor * static_cast<acc_t>(slope[i]);
    out[i] = static_cast<scalar_t>(factor != 0 ? value : 0);
  }
}

// A run of features with stride 1: all channels of a cell, or one channel of the cells x, x + 1, ... of a line.
struct FeatureRow {
  int64_t task, sample, channel, y, x, count;
};

// The rows of all maps of one call, cut into tasks.
template <typename acc_t>
class Rows {
 public:
  Rows(bool interleaved, at::IntArrayRef shape, const LossWeights& weights)
      : interleaved_(interleaved), samples_(shape[0]), channels_(shape[1]), rows_(shape[2]), columns_(shape[3]),
        blocks_((rows_ + kRowsPerTask - 1) / kRowsPerTask), cell_weight_(weights.cell.const_data_ptr<acc_t>()),
        channel_weight_(weights.channel.defined() ? weights.channel.const_data_ptr<acc_t>() : nullptr),
        ones_(channel_weight_ ? 0 : channels_, acc_t(1)) {
    if (!interleaved_) find_spans();
  }

  int64_t tasks() const {
    const int64_t cells = samples_ * rows_ * columns_;
    return interleaved_ ? (cells + kCellsPerTask - 1) / kCellsPerTask : samples_ * channels_ * blocks_;
  }

  // Calls visit(row, weights along the row, weight of the whole row); the rows of a task in order, in one thread.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    const int64_t per_task = std::max<int64_t>(interleaved_ ? kCellsPerTask * channels_ : kRowsPerTask * columns_, 1);
    at::parallel_for(0, tasks(), std::max<int64_t>(kGrain / per_task, 1), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) interleaved_ ? visit_cells(task, visit) : visit_lines(task, visit);
    });
  }

 private:
  template <typename Visit>
  void visit_cells(int64_t task, const Visit& visit) const {
    const int64_t last = std::min((task + 1) * kCellsPerTask, samples_ * rows_ * columns_);
    for (int64_t cell = task * kCellsPerTask; cell < last; ++cell) {
      const int64_t line = cell / columns_, sample = line / rows_;
      const acc_t* along = channel_weight_ ? channel_weight_ + sample * channels_ : ones_.data();
      visit(FeatureRow{task, sample, 0, line % rows_, cell % columns_, channels_}, along, cell_weight_[cell]);
    }
  }

  template <typename Visit>
  void visit_lines(int64_t task, const Visit& visit) const {
    const int64_t plane = task / blocks_, sample = plane / channels_, first = task % blocks_ * kRowsPerTask;
    for (int64_t y = first; y < std::min(first + kRowsPerTask, rows_); ++y) {
      const int64_t line = sample * rows_ + y, x = spans_[line].first;
      visit(FeatureRow{task, sample, plane % channels_, y, x, spans_[line].second - x},
            cell_weight_ + line * columns_ + x, channel_weight_ ? channel_weight_[plane] : acc_t(1));
    }
  }

  // Per line of the map: the columns [first, last), in whole lanes, outside of which every weight is 0.
  void find_spans() {
    const acc_t* weight = cell_weight_;
    for (int64_t line = 0; line < samples_ * rows_; ++line, weight += columns_) {
      int64_t first = 0, last = columns_;
      while (first < last && weight[first] == 0) ++first;
      while (last > first && weight[last - 1] == 0) --last;
      if (first < last) {
        first = first / kLanes * kLanes;
        last = std::min((last + kLanes - 1) / kLanes * kLanes, columns_);
      }
      spans_.emplace_back(first, last);
    }
  }

  bool interleaved_;
  int64_t samples_, channels_, rows_, columns_, blocks_;
  const acc_t* cell_weight_;
  const acc_t* channel_weight_;
  std::vector<acc_t> ones_;
  std::vector<std::pair<int64_t, int64_t>> spans_;
};

inline int64_t offset_of(const FeatureRow& row, const at::Tensor& map) {
  return row.sample * map.stride(0) + row.channel * map.stride(1) + row.y * map.stride(2) + row.x * map.stride(3);
}

template <int kPower, bool kSlope, typename scalar_t>
double sum_of(const LossCall& call) {
  using acc_t = at::opmath_type<scalar_t>;
  const scalar_t* student = call.student.const_data_ptr<scalar_t>();
  const scalar_t* teacher = call.teacher.const_data_ptr<scalar_t>();
  scalar_t* slope = kSlope ? call.slope.mutable_data_ptr<scalar_t>() : nullptr;
  const Rows<acc_t> rows(call.interleaved, call.student.sizes(), call.weights);
  std::vector<double> sums(rows.tasks(), 0.0);
  rows.for_each([&](const FeatureRow& row, const acc_t* weight, acc_t scale) {
    if (scale == 0) return;
    sums[row.task] += add_row<kPower, kSlope, scalar_t, acc_t>(
        student + offset_of(row, call.student), teacher + offset_of(row, call.teacher), weight, scale, row.count,
        kSlope ? slope + offset_of(row, call.slope) : nullptr);
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum;
}

std::tuple<at::Tensor, at::Tensor> masked_feature_loss(const at::Tensor& student, const at::Tensor& teacher,
                                                       const at::Tensor& weight,
                                                       const std::optional<at::Tensor>& channel_weight, int64_t power,
                                                       bool with_slope) {
  const LossCall call(student, teacher, weight, channel_weight, power, with_slope);
  double sum = 0;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, student.scalar_type(), "masked_feature_loss", [&] {
    if (with_slope) {
      sum = power == 2 ? sum_of<2, true, scalar_t>(call) : sum_of<1, true, scalar_t>(call);
    } else {
      sum = power == 2 ? sum_of<2, false, scalar_t>(call) : sum_of<1, false, scalar_t>(call);
    }
  });
  return {at::scalar_tensor(sum, student.options().dtype(loss_type(student.scalar_type()))), call.slope};
}

template <typename scalar_t, typename acc_t>
void scale_rows(const at::Tensor& slope, const LossWeights& weights, acc_t grad, const at::Tensor& out) {
  const bool interleaved = is_interleaved(out);
  const scalar_t* from = slope.const_data_ptr<scalar_t>();
  scalar_t* to = out.mutable_data_ptr<scalar_t>();
  const Rows<acc_t> rows(interleaved, out.sizes(), weights);
  rows.for_each([&](const FeatureRow& row, const acc_t* weight, acc_t scale) {
    const int64_t start = offset_of(row, out);
    if (!interleaved) {
      std::fill_n(to + start - row.x, row.x, scalar_t(0));
      std::fill_n(to + start + row.count, out.size(3) - row.x - row.count, scalar_t(0));
    }
    if (scale == 0) {
      std::fill_n(to + start, row.count, scalar_t(0));
    } else {
      scale_row<scalar_t, acc_t>(from + start, weight, scale, grad, row.count, to + start);
    }
  });
}

at::Tensor masked_feature_loss_backward(const at::Tensor& grad, const at::Tensor& slope_in, const at::Tensor& weight,
                                        const std::optional<at::Tensor>& channel_weight, int64_t power) {
  const LossWeights weights(slope_in, weight, channel_weight, power);
  const at::Tensor slope = dense(slope_in);
  check_grad(grad, slope);
  at::Tensor out = empty_like_map(slope, format_of(slope));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, slope.scalar_type(), "masked_feature_loss_backward", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    scale_rows<scalar_t, acc_t>(slope, weights, *grad.const_data_ptr<acc_t>() * acc_t(power), out);
  });
  return out;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) {
  m.impl("masked_feature_loss", bevkd::masked_feature_loss);
  m.impl("masked_feature_loss_backward", bevkd::masked_feature_loss_backward);
}

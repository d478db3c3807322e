// Bilinear samples of two maps at the same points, and the gradient of the first, on the CPU. A point is sampled, and a
// cell of the gradient summed in the order of the points, by one thread, so results do not depend on their number.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

#include "bilinear.h"
#include "sample_keypoints.h"

namespace bevkd {
namespace {

constexpr int64_t kGrain = 8192;  // samples that are worth a thread

inline int64_t grain_for(int64_t channels) { return std::max<int64_t>(kGrain / std::max<int64_t>(channels, 1), 1); }

// out[c] = sum over taps of weight[k] * map[offset[k] + c * stride], k ascending. The two constants let the compiler
// unroll the taps and, where channels lie side by side, use vectors.
template <int kTaps, bool kSideBySide, typename scalar_t, typename acc_t>
void blend_taps(const scalar_t* map, const int64_t* offset, const acc_t* weight, int64_t channels, int64_t stride,
                acc_t* out) {
  const int64_t step = kSideBySide ? 1 : stride;
  for (int64_t c = 0; c < channels; ++c) {
    acc_t sum = 0;
    for (int k = 0; k < kTaps; ++k) sum += weight[k] * static_cast<acc_t>(map[offset[k] + c * step]);
    out[c] = sum;
  }
}

template <bool kSideBySide, typename scalar_t, typename acc_t>
void blend(int taps, const scalar_t* map, const int64_t* offset, const acc_t* weight, int64_t channels, int64_t stride,
           acc_t* out) {
  switch (taps) {  // a point near a corner of the map has one tap, near an edge two
    case 4: return blend_taps<4, kSideBySide>(map, offset, weight, channels, stride, out);
    case 2: return blend_taps<2, kSideBySide>(map, offset, weight, channels, stride, out);
    case 1: return blend_taps<1, kSideBySide>(map, offset, weight, channels, stride, out);
    default: std::fill_n(out, channels, acc_t(0));
  }
}

template <typename scalar_t, typename acc_t>
void sample_typed(const at::Tensor& map, int64_t sample, const Bilinear<acc_t>& point, acc_t* out) {
  const int64_t channels = map.size(1), rows = map.size(2), columns = map.size(3);
  if (!point.finite) return void(std::fill_n(out, channels, std::numeric_limits<acc_t>::quiet_NaN()));
  int64_t offset[4];
  acc_t weight[4];
  int taps = 0;
  for (int k = 0; k < 4; ++k) {
    if (!point.on_map(k, rows, columns)) continue;
    offset[taps] = sample * map.stride(0) + point.tap_row(k) * map.stride(2) + point.tap_column(k) * map.stride(3);
    weight[taps++] = point.tap_weight(k);
  }
  const scalar_t* data = map.const_data_ptr<scalar_t>();
  if (map.stride(1) == 1) {
    blend<true>(taps, data, offset, weight, channels, 1, out);
  } else {
    blend<false>(taps, data, offset, weight, channels, map.stride(1), out);
  }
}

// One point of one map.
template <typename acc_t>
void sample_point(const at::Tensor& map, int64_t sample, const Bilinear<acc_t>& point, acc_t* out) {
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, map.scalar_type(), "sample_keypoints", [&] {
    if constexpr (std::is_same_v<at::opmath_type<scalar_t>, acc_t>) {
      sample_typed<scalar_t, acc_t>(map, sample, point, out);
    }
  });
}

std::tuple<at::Tensor, at::Tensor> sample_keypoints(const at::Tensor& student, const std::optional<at::Tensor>& teacher,
                                                    const at::Tensor& points) {
  const SampleCall call(student, teacher, points);
  const int64_t per_sample = call.points.size(1);
  AT_DISPATCH_FLOATING_TYPES(call.points.scalar_type(), "sample_keypoints", [&] {
    const scalar_t* xy = call.points.const_data_ptr<scalar_t>();
    scalar_t* mine = call.mine.mutable_data_ptr<scalar_t>();
    scalar_t* theirs = call.theirs.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, call.points.size(0) * per_sample, grain_for(student.size(1)), [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const Bilinear<scalar_t> point(xy[2 * p], xy[2 * p + 1], student.size(2), student.size(3));
        sample_point<scalar_t>(student, p / per_sample, point, mine + p * student.size(1));
        if (call.teacher.defined()) {
          sample_point<scalar_t>(call.teacher, p / per_sample, point, theirs + p * call.teacher.size(1));
        }
      }
    });
  });
  return {call.mine, call.theirs};
}

template <typename acc_t>
struct Tap {
  int64_t cell, point;  // flat (b, y, x), flat (b, p)
  acc_t weight;
};

// Every tap that lies on the map, by cell, then by point. A point touches a cell once, so the order is complete.
template <typename acc_t>
std::vector<Tap<acc_t>> sorted_taps(const at::Tensor& points, int64_t rows, int64_t columns) {
  const acc_t* xy = points.const_data_ptr<acc_t>();
  const int64_t count = points.size(0) * points.size(1);
  std::vector<Tap<acc_t>> taps;
  taps.reserve(4 * count);
  for (int64_t p = 0; p < count; ++p) {
    const Bilinear<acc_t> point(xy[2 * p], xy[2 * p + 1], rows, columns);
    const int64_t first = p / points.size(1) * rows;
    for (int k = 0; k < 4; ++k) {
      if (point.on_map(k, rows, columns)) {
        taps.push_back({(first + point.tap_row(k)) * columns + point.tap_column(k), p, point.tap_weight(k)});
      }
    }
  }
  std::sort(taps.begin(), taps.end(), [](const Tap<acc_t>& a, const Tap<acc_t>& b) {
    return a.cell != b.cell ? a.cell < b.cell : a.point < b.point;
  });
  return taps;
}

template <typename scalar_t>
void add_samples(const at::Tensor& grad, const at::Tensor& points, const at::Tensor& out) {
  using acc_t = at::opmath_type<scalar_t>;
  const int64_t channels = out.size(1), rows = out.size(2), columns = out.size(3);
  const std::vector<Tap<acc_t>> taps = sorted_taps<acc_t>(points, rows, columns);
  std::vector<int64_t> starts;  // of the taps of one cell
  for (size_t i = 0; i < taps.size(); ++i) {
    if (i == 0 || taps[i].cell != taps[i - 1].cell) starts.push_back(i);
  }
  starts.push_back(taps.size());
  const acc_t* from = grad.const_data_ptr<acc_t>();
  scalar_t* to = out.mutable_data_ptr<scalar_t>();
  at::parallel_for(0, static_cast<int64_t>(starts.size()) - 1, grain_for(channels), [&](int64_t begin, int64_t end) {
    std::vector<acc_t> sum(channels);
    for (int64_t run = begin; run < end; ++run) {
      std::fill(sum.begin(), sum.end(), acc_t(0));
      for (int64_t i = starts[run]; i < starts[run + 1]; ++i) {
        const acc_t* row = from + taps[i].point * channels;
        for (int64_t c = 0; c < channels; ++c) sum[c] += taps[i].weight * row[c];
      }
      const int64_t cell = taps[starts[run]].cell, row = cell / columns;
      scalar_t* target = to + row / rows * out.stride(0) + row % rows * out.stride(2) + cell % columns * out.stride(3);
      for (int64_t c = 0; c < channels; ++c) target[c * out.stride(1)] = static_cast<scalar_t>(sum[c]);
    }
  });
}

at::Tensor sample_keypoints_backward(const at::Tensor& grad, const at::Tensor& points, at::IntArrayRef shape,
                                     at::ScalarType dtype, bool channels_last) {
  at::Tensor out = zero_gradient(grad, points, shape, dtype, channels_last);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "sample_keypoints_backward",
                                  [&] { add_samples<scalar_t>(grad.contiguous(), points.contiguous(), out); });
  return out;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) {
  m.impl("sample_keypoints", bevkd::sample_keypoints);
  m.impl("sample_keypoints_backward", bevkd::sample_keypoints_backward);
}

// Sum, mean and maximum of the points of each voxel on the CPU. A voxel is reduced by one thread, in the order that
// chunk_tree.h fixes, so results do not depend on the number of threads and are those of the CUDA kernels.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "../common/huge_pages.h"
#include "../common/simd.h"
#include "segment_checks.h"

#define BEVKD_ROWS rows_any
#define BEVKD_VECTOR_BYTES 16
#include "rows.h"
#undef BEVKD_ROWS
#undef BEVKD_VECTOR_BYTES

// AVX-512 took another 5% off and no more: memory is the limit.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define BEVKD_AVX2
#pragma GCC push_options
#pragma GCC target("avx2")
#define BEVKD_ROWS rows_avx2
#define BEVKD_VECTOR_BYTES 32
#include "rows.h"
#undef BEVKD_ROWS
#undef BEVKD_VECTOR_BYTES
#pragma GCC pop_options
#endif

namespace bevkd {
namespace {

constexpr int64_t kGrain = 2048;  // points and voxels

// Calls a function of rows.h in the widest version that this processor has.
#ifdef BEVKD_AVX2
#define BEVKD_WIDEST(function, ...) \
  (simd::widest() >= 32 ? rows_avx2::function(__VA_ARGS__) : rows_any::function(__VA_ARGS__))
#else
#define BEVKD_WIDEST(function, ...) rows_any::function(__VA_ARGS__)
#endif

void check_range(const char* name, const int32_t* index, int64_t count, int64_t low, int64_t end) {
  bool fits = true;
  for (int64_t i = 0; i < count; ++i) fits &= index[i] >= low && index[i] < end;
  TORCH_CHECK_INDEX(fits, name, " points outside ", low, " to ", end - 1);
}

// Segments are plain tensors in the user's hands, so every index is looked at before any is used.
struct Segments {
  SegmentSizes n;
  const int64_t* offsets;
  const int32_t* voxel;

  Segments(const at::Tensor& features, const at::Tensor& point, const at::Tensor& offsets_in,
           const at::Tensor& voxel_of_point)
      : n(checked_segments(features, point, offsets_in, voxel_of_point)),
        offsets(offsets_in.const_data_ptr<int64_t>()),
        voxel(voxel_of_point.const_data_ptr<int32_t>()) {
    bool fits = offsets[0] == 0 && offsets[n.voxels] == n.listed;
    for (int64_t v = 0; v < n.voxels; ++v) fits &= offsets[v] <= offsets[v + 1];
    TORCH_CHECK_INDEX(fits, "segments.offsets do not ascend from 0 to ", n.listed);
    check_range("segments.point", point.const_data_ptr<int32_t>(), n.listed, 0, n.points);
    check_range("segments.voxel_of_point", voxel, n.points, -1, n.voxels);
  }

  // Shares the voxels out, with about as many points to each thread: work(first voxel, last voxel, their points in
  // input order, their number, counters of the points of each voxel, to be filled). Every voxel has one thread.
  template <typename Work>
  void for_ranges(const Work& work) const {
    std::vector<int32_t> seen(n.voxels, 0);
    at::parallel_for(0, n.voxels + n.listed, kGrain, [&](int64_t begin, int64_t end) {
      const int64_t first = voxel_at(begin), last = voxel_at(end);
      const auto own = std::make_unique_for_overwrite<int32_t[]>(n.points + 1);
      int64_t count = 0;
      for (int64_t i = 0; i < n.points; ++i) {
        own[count] = static_cast<int32_t>(i);
        count += voxel[i] >= first && voxel[i] < last;
      }
      work(first, last, own.get(), count, seen.data());
      for (int64_t v = first; v < last; ++v) {
        TORCH_CHECK_INDEX(seen[v] == offsets[v + 1] - offsets[v], "voxel ", v, " has ", offsets[v + 1] - offsets[v],
                          " points by segments.offsets and ", seen[v], " by segments.voxel_of_point");
      }
    });
  }

 private:
  // The first voxel that begins at `place` or later, where voxel v begins at offsets[v] + v.
  int64_t voxel_at(int64_t place) const {
    int64_t low = 0, high = n.voxels;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (offsets[middle] + middle < place) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

template <typename scalar_t>
void sum_segments(const scalar_t* features, const Segments& segments, bool mean, at::opmath_type<scalar_t>* sums,
                  scalar_t* out) {
  using acc_t = at::opmath_type<scalar_t>;
  using Row = std::vector<acc_t>;
  const int64_t channels = segments.n.channels;
  const auto add = [](const Row& a, Row b) {
    for (size_t c = 0; c < b.size(); ++c) b[c] = a[c] + b[c];
    return b;
  };
  segments.for_ranges([&](int64_t first, int64_t last, const int32_t* own, int64_t count, int32_t* seen) {
    std::unordered_map<int64_t, ChunkTree<Row>> trees;  // of voxels with more than one chunk
    const auto end_chunk = [&](int64_t v) { trees[v].push(Row(sums + v * channels, sums + (v + 1) * channels), add); };
    BEVKD_WIDEST(walk_sum<scalar_t>, {features, segments.voxel, own, count, channels, seen}, sums, end_chunk);
    for (auto& [v, tree] : trees) {
      end_chunk(v);
      std::ranges::copy(tree.total(add), sums + v * channels);
    }
    const bool done = !mean && std::is_same_v<acc_t, scalar_t>;  // where sums are the output
    for (int64_t v = first; v < last; ++v) {
      if (done && seen[v] > 0) continue;
      const acc_t divisor = mean && seen[v] > 0 ? static_cast<acc_t>(seen[v]) : acc_t(1);
      for (int64_t i = v * channels; i < (v + 1) * channels; ++i) {
        out[i] = static_cast<scalar_t>(seen[v] > 0 ? sums[i] / divisor : acc_t(0));
      }
    }
  });
}

template <typename scalar_t>
void max_segments(const scalar_t* features, const Segments& segments, scalar_t* out, int32_t* winner) {
  const int64_t channels = segments.n.channels;
  segments.for_ranges([&](int64_t first, int64_t last, const int32_t* own, int64_t count, int32_t* seen) {
    BEVKD_WIDEST(walk_max<scalar_t>, {features, segments.voxel, own, count, channels, seen}, out, winner);
    for (int64_t v = first; v < last; ++v) {
      if (seen[v] > 0) continue;
      std::fill_n(out + v * channels, channels, scalar_t(0));
      std::fill_n(winner + v * channels, channels, -1);
    }
  });
}

at::Tensor segment_sum(const at::Tensor& features_in, const at::Tensor& point, const at::Tensor& offsets,
                       const at::Tensor& voxel_of_point, bool mean) {
  const Segments segments(features_in, point, offsets, voxel_of_point);
  const at::Tensor features = features_in.contiguous();
  at::Tensor out = at::empty({segments.n.voxels, segments.n.channels}, features.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, features.scalar_type(), "segment_sum", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    const auto acc_type = c10::CppTypeToScalarType<acc_t>::value;
    const at::Tensor sums = out.scalar_type() == acc_type ? out : at::empty(out.sizes(), out.options().dtype(acc_type));
    sum_segments(features.const_data_ptr<scalar_t>(), segments, mean, sums.mutable_data_ptr<acc_t>(),
                 out.mutable_data_ptr<scalar_t>());
  });
  return out;
}

std::tuple<at::Tensor, at::Tensor> segment_max(const at::Tensor& features_in, const at::Tensor& point,
                                               const at::Tensor& offsets, const at::Tensor& voxel_of_point) {
  const Segments segments(features_in, point, offsets, voxel_of_point);
  const at::Tensor features = features_in.contiguous();
  at::Tensor out = at::empty({segments.n.voxels, segments.n.channels}, features.options());
  at::Tensor winner = at::empty(out.sizes(), out.options().dtype(at::kInt));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, features.scalar_type(), "segment_max", [&] {
    max_segments(features.const_data_ptr<scalar_t>(), segments, out.mutable_data_ptr<scalar_t>(),
                 winner.mutable_data_ptr<int32_t>());
  });
  return {out, winner};
}

// Calls walk(first point, last point, voxel of each point, gradient of the features) on threads.
template <typename scalar_t, typename Walk>
at::Tensor point_gradients(const at::Tensor& grad, const at::Tensor& voxel_of_point, const Walk& walk) {
  const SegmentSizes n = checked_gradient(grad, voxel_of_point);
  const int32_t* voxel = voxel_of_point.const_data_ptr<int32_t>();
  check_range("segments.voxel_of_point", voxel, n.points, -1, n.voxels);
  at::Tensor out = empty_in_huge_pages({n.points, n.channels}, grad.options(), at::MemoryFormat::Contiguous);
  scalar_t* to = out.mutable_data_ptr<scalar_t>();
  at::parallel_for(0, n.points, kGrain, [&](int64_t begin, int64_t end) { walk(begin, end, voxel, n.channels, to); });
  return out;
}

at::Tensor segment_sum_backward(const at::Tensor& grad_in, const at::Tensor&, const at::Tensor&,
                                const at::Tensor& voxel_of_point) {
  const at::Tensor grad = grad_in.contiguous();
  at::Tensor out;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), "segment_sum_backward", [&] {
    const scalar_t* from = grad.const_data_ptr<scalar_t>();
    const auto walk = [&](int64_t begin, int64_t end, const int32_t* voxel, int64_t channels, scalar_t* to) {
      for (int64_t i = begin; i < end; ++i) {
        if (voxel[i] < 0) {
          std::fill_n(to + i * channels, channels, scalar_t(0));
        } else {
          std::copy_n(from + voxel[i] * channels, channels, to + i * channels);
        }
      }
    };
    out = point_gradients<scalar_t>(grad, voxel_of_point, walk);
  });
  return out;
}

at::Tensor segment_max_backward(const at::Tensor& grad_in, const at::Tensor& winner, const at::Tensor& voxel_of_point) {
  check_winner(winner, grad_in);
  const at::Tensor grad = grad_in.contiguous();
  at::Tensor out;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), "segment_max_backward", [&] {
    const scalar_t* from = grad.const_data_ptr<scalar_t>();
    const int32_t* number = winner.const_data_ptr<int32_t>();
    const auto walk = [&](int64_t begin, int64_t end, const int32_t* voxel, int64_t channels, scalar_t* to) {
      BEVKD_WIDEST(walk_max_backward<scalar_t>, from, number, voxel, channels, begin, end, to);
    };
    out = point_gradients<scalar_t>(grad, voxel_of_point, walk);
  });
  return out;
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) {
  m.impl("segment_sum", bevkd::segment_sum);
  m.impl("segment_sum_backward", bevkd::segment_sum_backward);
  m.impl("segment_max", bevkd::segment_max);
  m.impl("segment_max_backward", bevkd::segment_max_backward);
}

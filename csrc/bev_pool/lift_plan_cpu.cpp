// Which frustum point falls into which BEV cell, as a map and as lists sorted by cell.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scalar_tensor.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <tuple>
#include <vector>

#include "../common/simd.h"
#include "lift_plan_checks.h"

namespace bevkd::pool {
namespace {

constexpr int64_t kBlock = 1024;      // points whose coordinates are sorted into columns at a time
constexpr int64_t kCellGrain = 8192;  // cells worth a thread

// Coordinates of one axis, every third from `xyz` on, and their cells. Returns whether one of them is not finite.
template <bool kTruncate, typename T>
BEVKD_INLINE bool assign_axis(const T* xyz, int64_t count, const Axis<T> axis, int32_t* cell) {
  alignas(64) T value[kBlock];
  for (int64_t i = 0; i < count; ++i) value[i] = xyz[3 * i];
  for (int64_t i = 0; i < count; ++i) cell[i] = cell_of(value[i], axis, kTruncate);
  int32_t odd = 0;
  for (int64_t i = 0; i < count; ++i) odd |= !is_finite(value[i]);
  return odd;
}

// Cells of one block of points; the cells of its sample start at `base`. run() returns the points that are not finite.
template <bool kTruncate, typename T>
struct AssignBlock {
  const T* xyz;
  int64_t count;
  const Volume<T>& volume;
  int32_t base;
  int32_t* cell;

  template <int kBytes>
  BEVKD_INLINE int64_t run() const {
    alignas(64) int32_t column[kBlock], row[kBlock], bin[kBlock];
    bool odd = assign_axis<kTruncate>(xyz, count, volume.x, column);
    odd |= assign_axis<kTruncate>(xyz + 1, count, volume.y, row);
    odd |= assign_axis<kTruncate>(xyz + 2, count, volume.z, bin);
    const int32_t columns = volume.x.count, first = base;  // a copy: writing cells could change `base`
    for (int64_t i = 0; i < count; ++i) {
      const int32_t inside = column[i] | row[i] | bin[i];  // negative when one of them is
      cell[i] = inside < 0 ? kOutside : first + row[i] * columns + column[i];
    }
    int64_t invalid = 0;
    for (int64_t i = 0; odd && i < 3 * count; i += 3) {
      invalid += !(is_finite(xyz[i]) && is_finite(xyz[i + 1]) && is_finite(xyz[i + 2]));
    }
    return invalid;
  }
};

template <typename T>
int64_t assign_cells(const at::Tensor& frustum, const Volume<T>& volume, int32_t* cell) {
  const int64_t per_sample = frustum.numel() / 3 / frustum.size(0), blocks = (per_sample + kBlock - 1) / kBlock;
  const int32_t map = volume.x.count * volume.y.count;
  const T* const xyz = frustum.const_data_ptr<T>();
  std::atomic<int64_t> invalid{0};
  at::parallel_for(0, blocks * frustum.size(0), 4, [&](int64_t begin, int64_t end) {
    int64_t not_finite = 0;
    for (int64_t block = begin; block < end; ++block) {
      const int64_t sample = block / blocks, at = block % blocks * kBlock, first = sample * per_sample + at;
      const T* const from = xyz + 3 * first;
      const int64_t count = std::min(kBlock, per_sample - at);
      const int32_t base = static_cast<int32_t>(sample) * map;
      not_finite += volume.truncate ? simd::run(AssignBlock<true, T>{from, count, volume, base, cell + first})
                                    : simd::run(AssignBlock<false, T>{from, count, volume, base, cell + first});
    }
    invalid += not_finite;
  });
  return invalid;
}

std::tuple<at::Tensor, at::Tensor> lift_plan(const at::Tensor& frustum_in, at::ArrayRef<double> low,
                                             at::ArrayRef<double> high, double size, at::IntArrayRef map,
                                             bool truncate) {
  check_volume(frustum_in, low, high, size, map);
  const at::Tensor frustum = frustum_in.contiguous();
  at::Tensor cell = at::empty(frustum.sizes().slice(0, 5), frustum.options().dtype(at::kInt));
  int64_t invalid = 0;
  if (frustum.numel() > 0) {
    AT_DISPATCH_FLOATING_TYPES(frustum.scalar_type(), "lift_plan", [&] {
      invalid = assign_cells<scalar_t>(frustum, volume_of<scalar_t>(low, high, size, map, truncate),
                                       cell.mutable_data_ptr<int32_t>());
    });
  }
  return {cell, at::scalar_tensor(invalid, frustum.options().dtype(at::kLong))};
}

// A stable counting sort: the points of a cell stay in frustum order, whatever the number of threads. Samples own
// disjoint cells; the planes (camera, depth bin) of a sample are dealt to `parts` in order, each with its own counts.
class PointLists {
 public:
  PointLists(const at::Tensor& cell, int64_t cells)
      : cell_(cell.const_data_ptr<int32_t>()),
        samples_(cell.size(0)),
        planes_(cell.size(1) * cell.size(2)),
        depths_(cell.size(2)),
        image_(cell.size(3) * cell.size(4)),
        map_(samples_ ? cells / samples_ : 0),
        parts_(samples_ ? std::clamp<int64_t>(at::get_num_threads() / samples_, 1, std::max<int64_t>(planes_, 1)) : 0),
        slot_(cells * parts_) {}

  // Counts, then turns counts into the first slot of each cell in each part. Returns the number of points inside.
  int64_t place(int32_t* offsets) {
    at::parallel_for(0, samples_ * parts_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t job = begin; job < end; ++job) count(job);
    });
    const int64_t cells = samples_ * map_;
    offsets[0] = 0;
    at::parallel_for(0, cells, kCellGrain, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        int32_t before = 0;
        for (int64_t part = 0; part < parts_; ++part) before += std::exchange(slots(c / map_, part)[c % map_], before);
        offsets[c + 1] = before;
      }
    });
    for (int64_t c = 0; c < cells; ++c) offsets[c + 1] += offsets[c];
    return offsets[cells];
  }

  void list(const int32_t* offsets, int32_t* point, int32_t* pixel) {
    at::parallel_for(0, samples_ * parts_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t job = begin; job < end; ++job) {
        const int64_t sample = job / parts_;
        int32_t* const taken = slots(sample, job % parts_);
        for_planes(job, [&](int64_t plane) {
          const int32_t first = static_cast<int32_t>(plane * image_), first_pixel = plane / depths_ * image_;
          for (int32_t i = 0; i < image_; ++i) {
            const int32_t c = cell_[first + i];
            if (c < 0) continue;
            const int32_t slot = offsets[c] + taken[c - sample * map_]++;
            point[slot] = first + i;
            pixel[slot] = first_pixel + i;
          }
        });
      }
    });
  }

 private:
  int32_t* slots(int64_t sample, int64_t part) { return slot_.data() + (sample * parts_ + part) * map_; }

  template <typename Run>
  void for_planes(int64_t job, const Run& run) const {
    const int64_t sample = job / parts_, part = job % parts_;
    for (int64_t p = planes_ * part / parts_; p < planes_ * (part + 1) / parts_; ++p) run(sample * planes_ + p);
  }

  void count(int64_t job) {
    const int64_t sample = job / parts_, base = sample * map_;
    int32_t* const number = slots(sample, job % parts_);
    for_planes(job, [&](int64_t plane) {
      for (int64_t p = plane * image_; p < (plane + 1) * image_; ++p) {
        if (cell_[p] < 0) continue;
        TORCH_CHECK_INDEX(cell_[p] >= base && cell_[p] < base + map_, "cell holds ", cell_[p], " in sample ", sample,
                          ", expected ", base, " to ", base + map_ - 1);
        ++number[cell_[p] - base];
      }
    });
  }

  const int32_t* cell_;
  int64_t samples_, planes_, depths_, image_, map_, parts_;
  std::vector<int32_t> slot_;
};

std::tuple<at::Tensor, at::Tensor, at::Tensor> lift_points(const at::Tensor& cell_in, int64_t cells) {
  check_cell(cell_in, cells);
  const at::Tensor cell = cell_in.contiguous();
  at::Tensor offsets = at::empty({cells + 1}, cell.options());
  PointLists lists(cell, cells);
  at::Tensor point = at::empty({lists.place(offsets.mutable_data_ptr<int32_t>())}, cell.options());
  at::Tensor pixel = at::empty_like(point);
  lists.list(offsets.const_data_ptr<int32_t>(), point.mutable_data_ptr<int32_t>(), pixel.mutable_data_ptr<int32_t>());
  return {point, pixel, offsets};
}

}  // namespace
}  // namespace bevkd::pool

TORCH_LIBRARY_IMPL(bevkd, CPU, m) {
  m.impl("lift_plan", bevkd::pool::lift_plan);
  m.impl("lift_points", bevkd::pool::lift_points);
}

// Which BEV cell lies in which box, on the CPU: every box draws the cells around it, samples side by side.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>

#include "rotated_box_mask.h"

namespace bevkd {
namespace {

constexpr int64_t kCellGrain = 8192;  // cells that are worth a thread

struct Window {
  int32_t first_row, last_row, first_column, last_column;  // ends exclusive
};

// Rows or columns that can hold anything within `reach` of `centre`; a cell of margin covers the rounding.
inline void clip_span(double centre, double reach, double low, double cell, int32_t count, int32_t* first,
                      int32_t* last) {
  const auto clamped = [&](double value) { return static_cast<int32_t>(std::clamp(value, 0.0, double(count))); };
  *first = clamped(std::floor((centre - reach - low) / cell) - 1);
  *last = clamped(std::ceil((centre + reach - low) / cell) + 1);
}

Window window_of(const BevBox& box, const MapFrame& map) {
  const double wide = std::fabs(box.cos) * box.half_x + std::fabs(box.sin) * box.half_y;
  const double high = std::fabs(box.sin) * box.half_x + std::fabs(box.cos) * box.half_y;
  Window window;
  clip_span(box.x, wide, map.x, map.cell, map.columns, &window.first_column, &window.last_column);
  clip_span(box.y, high, map.y, map.cell, map.rows, &window.first_row, &window.last_row);
  return window;
}

// Boxes are drawn from the last to the first, so that a shared cell keeps the first one.
int32_t draw_box(const BevBox& box, int32_t number, const MapFrame& map, const float* centre_x, int32_t* index) {
  const Window window = window_of(box, map);
  int32_t inside = 0;
  for (int32_t row = window.first_row; row < window.last_row; ++row) {
    const float y = map.centre_y(row);
    int32_t* line = index + int64_t(row) * map.columns;
    for (int32_t column = window.first_column; column < window.last_column; ++column) {
      const bool in = box.contains(centre_x[column], y);
      line[column] = in ? number : line[column];
      inside += in;
    }
  }
  return inside;
}

void draw_peak(const BoxPeak& peak, const MapFrame& map, float* gaussian) {
  const int32_t last_row = std::min(peak.row + peak.radius, map.rows - 1);
  const int32_t last_column = std::min(peak.column + peak.radius, map.columns - 1);
  for (int32_t row = std::max(peak.row - peak.radius, 0); row <= last_row; ++row) {
    float* line = gaussian + int64_t(row) * map.columns;
    for (int32_t column = std::max(peak.column - peak.radius, 0); column <= last_column; ++column) {
      line[column] = std::max(line[column], peak.at(row, column));
    }
  }
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> rotated_box_mask(const at::Tensor& boxes, const at::Tensor& valid,
                                                                at::ArrayRef<double> low, double cell,
                                                                at::IntArrayRef shape, bool with_gaussian,
                                                                double min_overlap, int64_t min_radius) {
  const BoxMaskCall call(boxes, valid, low, cell, shape, with_gaussian, min_overlap, min_radius);
  const MapFrame map = call.map;
  const int64_t cells = int64_t(map.rows) * map.columns;
  std::vector<float> centre_x(map.columns);
  for (int32_t column = 0; column < map.columns; ++column) centre_x[column] = map.centre_x(column);
  AT_DISPATCH_FLOATING_TYPES(call.boxes.scalar_type(), "rotated_box_mask", [&] {
    const scalar_t* row = call.boxes.const_data_ptr<scalar_t>();
    const bool* real = call.valid.const_data_ptr<bool>();
    int32_t* index = call.index.mutable_data_ptr<int32_t>();
    int32_t* counts = call.counts.mutable_data_ptr<int32_t>();
    float* gaussian = with_gaussian ? call.gaussian.mutable_data_ptr<float>() : nullptr;
    at::parallel_for(0, call.samples, std::max<int64_t>(kCellGrain / cells, 1), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        std::fill_n(index + b * cells, cells, kOutside);
        if (with_gaussian) std::fill_n(gaussian + b * cells, cells, 0.0f);
        for (int64_t m = (b + 1) * call.count - 1; m >= b * call.count; --m) {
          counts[m] = 0;
          if (!real[m]) continue;
          const BevBox box = BevBox::read(row + m * call.width);
          if (box.usable) {
            const int32_t number = static_cast<int32_t>(m - b * call.count);
            counts[m] = draw_box(box, number, map, centre_x.data(), index + b * cells);
            if (!with_gaussian) continue;
            draw_peak(BoxPeak::of(row + m * call.width, map, min_overlap, min_radius), map, gaussian + b * cells);
          } else {
            counts[m] = kUnusable;
          }
        }
      }
    });
  });
  return {call.index, call.counts, call.gaussian};
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) { m.impl("rotated_box_mask", bevkd::rotated_box_mask); }

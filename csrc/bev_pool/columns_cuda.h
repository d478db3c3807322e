// What the forward and the backward kernel over image columns share: how they cut columns into what fits into shared
// memory, and the summed depth of each cell of a column in each image row. Device code but for ColumnTiling.
#pragma once

#include <algorithm>

#include "bev_pool_cuda.h"
#include "quads_cuda.h"

namespace bevkd::cuda {

constexpr int kColumnThreads = 128;
// Columns of a block, side by side: their depths lie side by side in memory, and a column alone would use 4 of the 32
// bytes that each read brings.
constexpr int kColumns = 2;
// Bytes of each of the up to three arrays that a block keeps, at most: with a list of cells they fit into the 99 KB that
// every GPU since Ampere has. Six cameras at stride 16 need a third of it.
constexpr int64_t kColumnBytes = 32 * 1024;

// A column with more cells than `cells` is worked through in several passes, so any number of them fits.
struct ColumnTiling {
  int rows;      // image rows, rounded up to 4
  int cells;     // of a column at a time, a multiple of 4
  int channels;  // at a time, a multiple of 4

  ColumnTiling(const Sizes& n, int64_t max_cells, int64_t bytes_of_sum)
      : rows(static_cast<int>(std::max<int64_t>(1, (n.height + 3) / 4) * 4)) {
    const int64_t most = std::max<int64_t>(4, kColumnBytes / (bytes_of_sum * kColumns * rows) / 4 * 4);
    cells = static_cast<int>(std::min(most, std::max<int64_t>(4, (max_cells + 3) / 4 * 4)));
    channels = static_cast<int>(std::min(most, std::max<int64_t>(4, (n.channels + 3) / 4 * 4)));
  }
  BEVKD_HD int cell_sums() const { return kColumns * cells * rows; }    // numbers in an array [column][cell][row]
  BEVKD_HD int features() const { return kColumns * rows * channels; }  // and in one [column][row][channel]
};

// The columns of a block.
struct ColumnGroup {
  int64_t image, w, column, first_pixel;  // column counts over all images, first_pixel is that of row 0
  int count;
  int most;  // cells of the one that has most

  __device__ ColumnGroup(const ColumnPlan& plan, const Sizes& n) {
    const int64_t groups = (n.width + kColumns - 1) / kColumns;
    w = blockIdx.x % groups * kColumns;
    image = blockIdx.x / groups;
    column = image * n.width + w;
    first_pixel = image * n.image() + w;
    count = static_cast<int>(min(int64_t(kColumns), n.width - w));
    most = 0;
    for (int g = 0; g < count; ++g) most = max(most, cells(plan, g));
  }
  __device__ int64_t first_row(const ColumnPlan& plan, int g) const { return plan.column_offsets[column + g]; }
  __device__ int cells(const ColumnPlan& plan, int g) const {
    const int64_t first = first_row(plan, g), last = plan.column_offsets[column + g + 1];
    require(0 <= first && first <= last && last <= plan.rows);
    return static_cast<int>(last - first);
  }
};

// weight[column][cell - low][row] += depth, for the cells [low, low + tile.cells) of each column. One thread walks the
// depth bins of a pixel in order: consecutive ones mostly fall into one cell and meet in a register.
template <typename T>
__device__ void add_depths(const T* depth, const ColumnPlan& plan, const Sizes& n, const ColumnGroup& group, int low,
                           const ColumnTiling& tile, sum_t<T>* weight) {
  constexpr int kBins = 16;  // in flight
  for (int t = threadIdx.x; t < group.count * n.height; t += kColumnThreads) {
    const int g = t % group.count, row = t / group.count, cells = group.cells(plan, g);
    sum_t<T>* const mine = weight + g * tile.cells * tile.rows + row;
    int64_t p = (group.image * n.depths * n.height + row) * n.width + group.w + g;
    int current = -1;
    sum_t<T> sum = 0;
    const auto finish = [&] {
      if (current >= low && current < low + tile.cells) mine[(current - low) * tile.rows] += sum;
    };
    for (int64_t first = 0; first < n.depths; first += kBins) {
      int cell[kBins];
      sum_t<T> value[kBins];
#pragma unroll
      for (int d = 0; d < kBins; ++d, p += n.image()) {
        if (first + d >= n.depths) break;
        cell[d] = plan.local[p];
        value[d] = widen(depth[p]);
      }
#pragma unroll
      for (int d = 0; d < kBins; ++d) {
        if (first + d >= n.depths) break;
        if (cell[d] != current) {
          finish();
          require(cell[d] < cells);
          current = cell[d];
          sum = 0;
        }
        sum += value[d];
      }
    }
    finish();
  }
}

// Channels [low, low + tile.channels) of the columns' pixels, as features[column][row][channel]; zero beyond the image.
template <typename T>
__device__ void read_features(const T* feat, const Sizes& n, const ColumnGroup& group, int64_t low,
                              const ColumnTiling& tile, RowForm form, sum_t<T>* features) {
  const int quads = tile.channels / 4;
  for (int t = threadIdx.x; t < kColumns * tile.rows * quads; t += kColumnThreads) {
    const int quad = t % quads, row = t / quads % tile.rows, g = t / quads / tile.rows;
    const int64_t channel = low + 4 * quad;
    Quad<sum_t<T>> value = {};
    if (g < group.count && row < n.height && channel < n.channels) {
      value = load_quad(feat + (group.first_pixel + row * n.width + g) * n.channels, channel, form);
    }
    *reinterpret_cast<Quad<sum_t<T>>*>(features + 4 * t) = value;
  }
}

}  // namespace bevkd::cuda

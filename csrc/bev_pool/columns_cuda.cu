// Pooling by image columns, in two deterministic stages. The pixels of one column at one depth fall into nearly the same
// cell, because the map has no height: where a kernel that gathers per cell reads 400,000 feature rows, columns
// leave 20,000 rows to be added, and no sum is longer than the columns that meet in a cell.
//
//   pool_column_rows   a block per few columns: depth summed per (cell, image row) in shared memory, times the column's
//                      features. The row of a cell that no other column touches is written to the output at once.
//   add_rows           adds the rows of every other cell in the order of the columns; cells without any become zero.
#include "columns_cuda.h"

namespace bevkd::cuda {
namespace {

constexpr int kThreads = 256;

// rows[cell][channel] += weight[cell][image row] * features[image row][channel], four cells by four channels a thread.
template <typename S>
__device__ void multiply(const S* weight, const S* features, const ColumnTiling& tile, S (&sum)[4][4]) {
  for (int row = 0; row < tile.rows; row += 4) {
    Quad<S> w[4];
    for (int i = 0; i < 4; ++i) w[i] = *reinterpret_cast<const Quad<S>*>(weight + i * tile.rows + row);
    for (int r = 0; r < 4; ++r) {
      const Quad<S> f = *reinterpret_cast<const Quad<S>*>(features + (row + r) * tile.channels);
      for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) sum[i][j] = fused(w[i].v[r], f.v[j], sum[i][j]);
      }
    }
  }
}

// Where finished rows go.
template <typename T>
struct RowTarget {
  T* out;              // [cells, C]
  sum_t<T>* partial;   // [R, C rounded up to 4]
  RowForm form, partial_form;

  __device__ void write(const ColumnPlan& plan, const Sizes& n, int64_t row, int64_t channel,
                        const Quad<sum_t<T>>& sum) const {
    const int64_t slot = plan.row_slot[row];
    require(slot < plan.rows);
    if (slot >= 0) {
      store_quad(partial + slot * partial_form.channels, channel, partial_form, sum);
    } else {
      const int64_t cell = plan.column_cell[row];
      require(cell >= 0 && cell < n.cells());
      store_quad(out + cell * n.channels, channel, form, sum);
    }
  }
};

template <typename T>
__global__ void __launch_bounds__(kColumnThreads)
    pool_column_rows(const T* depth, const T* feat, ColumnPlan plan, Sizes n, ColumnTiling tile, RowForm feat_form,
                     RowTarget<T> target) {
  using S = sum_t<T>;
  BEVKD_DYNAMIC_SHARED(S, weight);
  S* const features = weight + tile.cell_sums();
  const ColumnGroup group(plan, n);
  for (int low = 0; low < group.most; low += tile.cells) {
    __syncthreads();
    for (int t = threadIdx.x; t < tile.cell_sums(); t += kColumnThreads) weight[t] = 0;
    __syncthreads();
    add_depths(depth, plan, n, group, low, tile, weight);
    for (int64_t channel = 0; channel < n.channels; channel += tile.channels) {
      __syncthreads();
      read_features(feat, n, group, channel, tile, feat_form, features);
      __syncthreads();
      const int quads = tile.channels / 4, items = kColumns * (tile.cells / 4) * quads;
      for (int t = threadIdx.x; t < items; t += kColumnThreads) {
        const int quad = t % quads, four = t / quads % (tile.cells / 4) * 4, g = t / quads / (tile.cells / 4);
        const int cells = g < group.count ? group.cells(plan, g) : 0;
        if (low + four >= cells || channel + 4 * quad >= n.channels) continue;
        S sum[4][4] = {};
        multiply(weight + (g * tile.cells + four) * tile.rows, features + g * tile.rows * tile.channels + 4 * quad, tile,
                 sum);
        for (int i = 0; i < 4 && low + four + i < cells; ++i) {
          const Quad<S> row = {{sum[i][0], sum[i][1], sum[i][2], sum[i][3]}};
          target.write(plan, n, group.first_row(plan, g) + low + four + i, channel + 4 * quad, row);
        }
      }
    }
  }
}

template <typename T>
__global__ void add_rows(ColumnPlan plan, Sizes n, RowTarget<T> target) {
  const int64_t quads = target.partial_form.channels / 4, item = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t cell = item / quads, channel = item % quads * 4;
  if (cell >= n.cells()) return;
  const int64_t first = plan.cell_offsets[cell], last = plan.cell_offsets[cell + 1];
  require(0 <= first && first <= last && last <= plan.rows);
  if (last - first == 1) return;
  Quad<sum_t<T>> sum = {};
  for (int64_t slot = first; slot < last; ++slot) {
    const auto row = load_quad(target.partial + slot * target.partial_form.channels, channel, target.partial_form);
    for (int j = 0; j < 4; ++j) sum.v[j] += row.v[j];
  }
  store_quad(target.out + cell * n.channels, channel, target.form, sum);
}

}  // namespace

template <typename T>
void pool_columns(const T* depth, const T* feat, const ColumnPlan& plan, const Sizes& n, sum_t<T>* partial, T* out,
                  cudaStream_t stream) {
  if (n.channels == 0) return;
  const ColumnTiling tile(n, plan.max_cells, sizeof(sum_t<T>));
  const RowTarget<T> target = {out, partial, row_form<T>(n.channels, out),
                               row_form<sum_t<T>>((n.channels + 3) / 4 * 4, partial)};
  const unsigned groups = blocks_for(n.width, kColumns);
  const size_t bytes = sizeof(sum_t<T>) * (tile.cell_sums() + tile.features());
  BEVKD_LAUNCH(pool_column_rows<T>, blocks_for(n.images() * groups, 1), kColumnThreads, bytes, stream, depth, feat,
               plan, n, tile, row_form<T>(n.channels, feat), target);
  BEVKD_LAUNCH(add_rows<T>, blocks_for(n.cells() * (target.partial_form.channels / 4), kThreads), kThreads, 0, stream,
               plan, n, target);
}

#define BEVKD_POOL_COLUMNS_OF(T)                                                                             \
  template void pool_columns<T>(const T*, const T*, const ColumnPlan&, const Sizes&, sum_t<T>*, T*, cudaStream_t);
BEVKD_POOL_COLUMNS_OF(float)
BEVKD_POOL_COLUMNS_OF(double)
BEVKD_POOL_COLUMNS_OF(__half)
BEVKD_POOL_COLUMNS_OF(__nv_bfloat16)

}  // namespace bevkd::cuda

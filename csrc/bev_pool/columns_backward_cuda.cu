// Gradients of pooling by image columns, one kernel: everything is local to a column, so there is no sort, no atomic and
// no second plan. With w[cell][row] the summed depth of a cell in an image row and g[cell] the output's gradient,
//
//   grad_feat[row]     = sum over cells of w[cell][row] g[cell]
//   dot[cell][row]     = g[cell] . feat[row], which every point (d, row) of the cell receives as grad_depth
#include "columns_cuda.h"

namespace bevkd::cuda {
namespace {

// The cells of a column that a block works on: [low, high), and where their gradients are.
template <typename T>
struct CellGradients {
  const T* grad;
  const int32_t* cell;  // [tile.cells] of one column, in shared memory
  int count;
  RowForm form;

  __device__ Quad<sum_t<T>> load(int k, int64_t channel) const {
    if (k >= count || channel >= form.channels) return {};
    return load_quad(grad + cell[k] * form.channels, channel, form);
  }
};

// grad_feat (=, or += after the first pass) of four rows by four channels.
template <typename T>
__device__ void feature_gradient(const CellGradients<T>& cells, const sum_t<T>* weight, int row, int64_t channel,
                                 bool first_pass, const Sizes& n, const ColumnTiling& tile, sum_t<T>* to) {
  using S = sum_t<T>;
  S sum[4][4] = {};
  for (int k = 0; k < cells.count; ++k) {
    const Quad<S> w = *reinterpret_cast<const Quad<S>*>(weight + k * tile.rows + row), g = cells.load(k, channel);
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 4; ++j) sum[i][j] = fused(w.v[i], g.v[j], sum[i][j]);
    }
  }
  const RowForm form = row_form<S>(n.channels, to);
  for (int i = 0; i < 4 && row + i < n.height; ++i) {
    S* const at = to + (row + i) * n.width * n.channels;
    Quad<S> total = {{sum[i][0], sum[i][1], sum[i][2], sum[i][3]}};
    if (!first_pass) {
      const Quad<S> before = load_quad(at, channel, form);
      for (int j = 0; j < 4; ++j) total.v[j] += before.v[j];
    }
    store_quad(at, channel, form, total);
  }
}

// dot[cell][row] += the channels in shared memory, of four cells by four rows.
template <typename T>
__device__ void depth_dots(const CellGradients<T>& cells, const sum_t<T>* features, int k, int row, int64_t channel,
                           const ColumnTiling& tile, sum_t<T>* dot) {
  using S = sum_t<T>;
  S sum[4][4] = {};
  for (int c = 0; c < tile.channels && channel + c < cells.form.channels; c += 4) {
    Quad<S> f[4];
    for (int i = 0; i < 4; ++i) f[i] = *reinterpret_cast<const Quad<S>*>(features + (row + i) * tile.channels + c);
    for (int i = 0; i < 4; ++i) {
      const Quad<S> g = cells.load(k + i, channel + c);
      for (int r = 0; r < 4; ++r) {
        for (int j = 0; j < 4; ++j) sum[i][r] = fused(g.v[j], f[r].v[j], sum[i][r]);
      }
    }
  }
  for (int i = 0; i < 4; ++i) {
    for (int r = 0; r < 4; ++r) dot[(k + i) * tile.rows + row + r] += sum[i][r];
  }
}

// Every point of the cells [low, low + tile.cells) gets its dot; in the first pass points outside get zero.
template <typename T>
__device__ void depth_gradient(const ColumnPlan& plan, const Sizes& n, const ColumnGroup& group, int low,
                               const ColumnTiling& tile, const sum_t<T>* dot, T* grad_depth) {
  const int64_t in_plane = n.height * group.count;
  for (int64_t t = threadIdx.x; t < n.depths * in_plane; t += kColumnThreads) {
    const int g = static_cast<int>(t % group.count), row = static_cast<int>(t / group.count % n.height);
    const int64_t d = t / in_plane;
    const int64_t p = ((group.image * n.depths + d) * n.height + row) * n.width + group.w + g;
    const int cell = plan.local[p], place = cell - low;
    if (cell >= 0 && place >= 0 && place < tile.cells) {
      grad_depth[p] = narrow<T>(dot[(g * tile.cells + place) * tile.rows + row]);
    } else if (cell < 0 && low == 0) {
      grad_depth[p] = narrow<T>(0);
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kColumnThreads)
    pool_columns_gradient(const T* grad, const T* depth, const T* feat, ColumnPlan plan, Sizes n, ColumnTiling tile,
                          RowForm grad_form, RowForm feat_form, T* grad_depth, sum_t<T>* grad_feat) {
  using S = sum_t<T>;
  BEVKD_DYNAMIC_SHARED(S, weight);
  S *const dot = weight + tile.cell_sums(), *const features = dot + tile.cell_sums();
  auto* const cell = reinterpret_cast<int32_t*>(features + tile.features());  // [column][tile.cells]
  const ColumnGroup group(plan, n);
  int low = 0;
  do {
    __syncthreads();
    for (int t = threadIdx.x; t < 2 * tile.cell_sums(); t += kColumnThreads) weight[t] = 0;  // and dot
    for (int t = threadIdx.x; t < group.count * tile.cells; t += kColumnThreads) {
      const int g = t / tile.cells, k = low + t % tile.cells;
      if (k >= group.cells(plan, g)) continue;
      cell[t] = plan.column_cell[group.first_row(plan, g) + k];
      require(cell[t] >= 0 && cell[t] < n.cells());
    }
    __syncthreads();
    add_depths(depth, plan, n, group, low, tile, weight);
    for (int64_t channel = 0; channel < n.channels; channel += tile.channels) {
      __syncthreads();
      read_features(feat, n, group, channel, tile, feat_form, features);
      __syncthreads();
      const int fours = tile.rows / 4, quads = tile.channels / 4;
      for (int t = threadIdx.x; t < group.count * fours * (quads + tile.cells / 4); t += kColumnThreads) {
        const int g = t % group.count, row = t / group.count % fours * 4, item = t / group.count / fours;
        const int count = max(0, min(group.cells(plan, g) - low, tile.cells));
        const CellGradients<T> cells = {grad, cell + g * tile.cells, count, grad_form};
        if (item < quads) {
          const int64_t c = channel + 4 * item;
          if (c < n.channels) {
            feature_gradient(cells, weight + g * tile.cells * tile.rows, row, c, low == 0, n, tile,
                             grad_feat + (group.first_pixel + g) * n.channels);
          }
        } else if (4 * (item - quads) < count) {
          depth_dots(cells, features + g * tile.rows * tile.channels, 4 * (item - quads), row, channel, tile,
                     dot + g * tile.cells * tile.rows);
        }
      }
    }
    __syncthreads();
    depth_gradient(plan, n, group, low, tile, dot, grad_depth);
    low += tile.cells;
  } while (low < group.most);
}

}  // namespace

template <typename T>
void pool_columns_backward(const T* grad, const T* depth, const T* feat, const ColumnPlan& plan, const Sizes& n,
                           T* grad_depth, sum_t<T>* grad_feat, cudaStream_t stream) {
  const ColumnTiling tile(n, plan.max_cells, sizeof(sum_t<T>));
  const unsigned groups = blocks_for(n.width, kColumns);
  const size_t bytes = sizeof(sum_t<T>) * (2 * tile.cell_sums() + tile.features()) + sizeof(int32_t) * kColumns * tile.cells;
  BEVKD_LAUNCH(pool_columns_gradient<T>, blocks_for(n.images() * groups, 1), kColumnThreads, bytes, stream, grad, depth,
               feat, plan, n, tile, row_form<T>(n.channels, grad), row_form<T>(n.channels, feat), grad_depth, grad_feat);
}

#define BEVKD_POOL_COLUMNS_BACKWARD_OF(T)                                                                            \
  template void pool_columns_backward<T>(const T*, const T*, const T*, const ColumnPlan&, const Sizes&, T*, sum_t<T>*, \
                                         cudaStream_t);
BEVKD_POOL_COLUMNS_BACKWARD_OF(float)
BEVKD_POOL_COLUMNS_BACKWARD_OF(double)
BEVKD_POOL_COLUMNS_BACKWARD_OF(__half)
BEVKD_POOL_COLUMNS_BACKWARD_OF(__nv_bfloat16)

}  // namespace bevkd::cuda

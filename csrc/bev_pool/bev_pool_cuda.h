// Launchers of pooling on a GPU. T is float, double, __half or __nv_bfloat16; tensors are contiguous.
#pragma once

#include "../common/cuda_scalar.h"
#include "pool_sizes.h"

namespace bevkd::cuda {

using pool::Sizes;

// The plan as lists of points, and places in it that are pooled by one warp.
struct PointPlan {
  const int32_t *cell, *point, *pixel, *offsets;
  int64_t listed;
};
constexpr int kWindow = 64;

// The plan by image columns. Column (image, w) touches the cells column_cell[column_offsets[column] ...], each of which
// is a row: the sum of the column's points in that cell. Points name the row by its place in their column.
struct ColumnPlan {
  const int16_t* local;           // [B, N, D, H, W], -1 outside
  const int32_t* column_offsets;  // [B N W + 1]
  const int32_t* column_cell;     // [R]
  const int32_t* row_slot;        // [R] place among the rows sorted by cell, or -1 when its cell has no other row
  const int32_t* cell_offsets;    // [B Y X + 1] the places of a cell's rows
  int64_t rows;
  int64_t max_cells;  // of one column
};

// depth [B, N, D, H, W], feat [B, N, H, W, C] -> out [B, Y, X, C]; partial [listed / kWindow rounded up, 2, C]
template <typename T>
void pool_points(const T* depth, const T* feat, const PointPlan& plan, const Sizes& n, sum_t<T>* partial, T* out,
                 cudaStream_t stream);
// grad [B, Y, X, C] -> grad_depth, grad_feat
template <typename T>
void pool_pixels_backward(const T* grad, const T* depth, const T* feat, const int32_t* cell, const Sizes& n,
                          T* grad_depth, T* grad_feat, cudaStream_t stream);

// partial [R, C rounded up to 4]
template <typename T>
void pool_columns(const T* depth, const T* feat, const ColumnPlan& plan, const Sizes& n, sum_t<T>* partial, T* out,
                  cudaStream_t stream);
template <typename T>
void pool_columns_backward(const T* grad, const T* depth, const T* feat, const ColumnPlan& plan, const Sizes& n,
                           T* grad_depth, sum_t<T>* grad_feat, cudaStream_t stream);

}  // namespace bevkd::cuda

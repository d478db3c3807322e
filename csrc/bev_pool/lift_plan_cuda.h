// Launchers that build a lift plan on a GPU; tensors are contiguous.
#pragma once

#include "../common/cuda_launch.h"
#include "lift_volume.h"
#include "pool_sizes.h"

namespace bevkd::cuda {

using pool::Sizes;
using pool::Volume;

// frustum [B, per_sample, 3] -> cell [B, per_sample]; invalid += the points that are not finite
template <typename T>
void lift_cells(const T* frustum, int64_t points, int64_t per_sample, const Volume<T>& volume, int32_t* cell,
                unsigned long long* invalid, cudaStream_t stream);

// cell [B, N, D, H, W] -> local [B, N, D, H, W], count [B N W] cells of each column
void number_column_cells(const int32_t* cell, const Sizes& n, int16_t* local, int32_t* count, cudaStream_t stream);

// column_offsets [B N W + 1] -> column_cell [R]; count [B Y X] (zeros) receives the rows of each cell, arrival [R] the
// order in which they happened to be counted
void list_column_cells(const int32_t* cell, const int16_t* local, const int32_t* column_offsets, const Sizes& n,
                       int64_t rows, int32_t* column_cell, int32_t* count, int32_t* arrival, cudaStream_t stream);

// cell_offsets [B Y X + 1] -> row_slot [R]; room [R]
void sort_rows(const int32_t* column_cell, const int32_t* cell_offsets, const int32_t* arrival, int64_t rows,
               int32_t* room, int32_t* row_slot, cudaStream_t stream);

}  // namespace bevkd::cuda

// Building a lift plan on the GPU. Nothing here depends on the order in which threads come by: cells of a column are
// numbered by their place in the map, rows of a cell by their number.
#include "lift_plan_cuda.h"

#include "../common/cuda_block.h"
#include "../common/cuda_scalar.h"

namespace bevkd::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWordsEach = 16;
constexpr int kWords = kThreads * kWordsEach;  // of 32 cells each: 131,072 cells of the map at a time

__device__ int64_t global_thread() { return int64_t(blockIdx.x) * kThreads + threadIdx.x; }

template <typename T>
__global__ void assign_cells(const T* frustum, int64_t points, int64_t per_sample, Volume<T> volume, int32_t* cell,
                             unsigned long long* invalid) {
  const int64_t p = global_thread();
  bool finite = true;
  if (p < points) {
    const T xyz[3] = {frustum[3 * p], frustum[3 * p + 1], frustum[3 * p + 2]};
    const int32_t local = volume.cell(xyz);
    const int64_t first = p / per_sample * (int64_t(volume.x.count) * volume.y.count);
    cell[p] = local < 0 ? kOutside : static_cast<int32_t>(first + local);
    finite = is_finite(xyz[0]) && is_finite(xyz[1]) && is_finite(xyz[2]);
  }
  const unsigned odd = __ballot_sync(kFullWarp, !finite);
  if (odd != 0 && threadIdx.x % kWarp == 0) atomicAdd(invalid, static_cast<unsigned long long>(__popc(odd)));
}

// A block per column marks the cells it touches in a bit map, as much of the map at a time as shared memory holds; a
// cell's number is the count of marks before its own.
__global__ void number_cells(const int32_t* cell, Sizes n, int16_t* local, int32_t* count) {
  BEVKD_SHARED unsigned mark[kWords], before[kWords];
  const int64_t image = blockIdx.x / n.width, w = blockIdx.x % n.width, base = image / n.cameras * n.map;
  const int in_column = static_cast<int>(n.depths * n.height);
  int numbered = 0;
  // The cells of the window [first, first + 32 kWords), as (point, bit of the window).
  const auto each = [&](int64_t first, const auto& run) {
    for (int i = threadIdx.x; i < in_column; i += kThreads) {
      const int64_t p = (image * in_column + i) * n.width + w;
      const int64_t bit = cell[p] - base - first;
      if (cell[p] >= 0 && bit >= 0 && bit < 32 * kWords && first + bit < n.map) run(p, static_cast<int>(bit));
    }
  };
  for (int i = threadIdx.x; i < in_column; i += kThreads) local[(image * in_column + i) * n.width + w] = -1;
  for (int64_t first = 0; first < n.map; first += 32 * kWords) {
    for (int i = threadIdx.x; i < kWords; i += kThreads) mark[i] = 0;
    __syncthreads();
    each(first, [&](int64_t, int bit) {
      if ((mark[bit / 32] >> bit % 32 & 1) == 0) atomicOr(&mark[bit / 32], 1u << bit % 32);
    });
    __syncthreads();
    int mine = 0, total;
    for (int i = 0; i < kWordsEach; ++i) mine += __popc(mark[threadIdx.x * kWordsEach + i]);
    int running = block_exclusive_sum<kThreads>(mine, &total);
    for (int i = 0; i < kWordsEach; ++i) {
      before[threadIdx.x * kWordsEach + i] = running;
      running += __popc(mark[threadIdx.x * kWordsEach + i]);
    }
    __syncthreads();
    each(first, [&](int64_t p, int bit) {
      const unsigned lower = mark[bit / 32] & ((1u << bit % 32) - 1);
      local[p] = static_cast<int16_t>(numbered + before[bit / 32] + __popc(lower));
    });
    numbered += total;
    __syncthreads();
  }
  if (threadIdx.x == 0) count[blockIdx.x] = numbered;
}

// All points of a row write the same number.
__global__ void write_cells(const int32_t* cell, const int16_t* local, const int32_t* column_offsets, Sizes n,
                            int32_t* column_cell) {
  const int64_t p = global_thread();
  if (p >= n.points() || local[p] < 0) return;
  const int64_t column = p / (n.depths * n.image()) * n.width + p % n.width;
  column_cell[column_offsets[column] + local[p]] = cell[p];
}

__global__ void count_rows(const int32_t* column_cell, int64_t rows, int32_t* count, int32_t* arrival) {
  const int64_t row = global_thread();
  if (row < rows) arrival[row] = atomicAdd(&count[column_cell[row]], 1);
}

__global__ void place_rows(const int32_t* column_cell, const int32_t* cell_offsets, const int32_t* arrival, int64_t rows,
                           int32_t* room) {
  const int64_t row = global_thread();
  if (row < rows) room[cell_offsets[column_cell[row]] + arrival[row]] = static_cast<int32_t>(row);
}

// A cell has few rows: the place of a row is the number of smaller ones, whatever their order of arrival.
__global__ void rank_rows(const int32_t* column_cell, const int32_t* cell_offsets, const int32_t* room, int64_t rows,
                          int32_t* row_slot) {
  const int64_t row = global_thread();
  if (row >= rows) return;
  const int32_t first = cell_offsets[column_cell[row]], last = cell_offsets[column_cell[row] + 1];
  int32_t place = first;
  for (int32_t i = first; i < last; ++i) place += room[i] < row;
  row_slot[row] = last - first == 1 ? -1 : place;
}

}  // namespace

template <typename T>
void lift_cells(const T* frustum, int64_t points, int64_t per_sample, const Volume<T>& volume, int32_t* cell,
                unsigned long long* invalid, cudaStream_t stream) {
  BEVKD_LAUNCH(assign_cells<T>, blocks_for(points, kThreads), kThreads, 0, stream, frustum, points, per_sample, volume,
               cell, invalid);
}
template void lift_cells<float>(const float*, int64_t, int64_t, const Volume<float>&, int32_t*, unsigned long long*,
                                cudaStream_t);
template void lift_cells<double>(const double*, int64_t, int64_t, const Volume<double>&, int32_t*, unsigned long long*,
                                 cudaStream_t);

void number_column_cells(const int32_t* cell, const Sizes& n, int16_t* local, int32_t* count, cudaStream_t stream) {
  BEVKD_LAUNCH(number_cells, blocks_for(n.images() * n.width, 1), kThreads, 0, stream, cell, n, local, count);
}

void list_column_cells(const int32_t* cell, const int16_t* local, const int32_t* column_offsets, const Sizes& n,
                       int64_t rows, int32_t* column_cell, int32_t* count, int32_t* arrival, cudaStream_t stream) {
  BEVKD_LAUNCH(write_cells, blocks_for(n.points(), kThreads), kThreads, 0, stream, cell, local, column_offsets, n,
               column_cell);
  BEVKD_LAUNCH(count_rows, blocks_for(rows, kThreads), kThreads, 0, stream, column_cell, rows, count, arrival);
}

void sort_rows(const int32_t* column_cell, const int32_t* cell_offsets, const int32_t* arrival, int64_t rows,
               int32_t* room, int32_t* row_slot, cudaStream_t stream) {
  const unsigned blocks = blocks_for(rows, kThreads);
  BEVKD_LAUNCH(place_rows, blocks, kThreads, 0, stream, column_cell, cell_offsets, arrival, rows, room);
  BEVKD_LAUNCH(rank_rows, blocks, kThreads, 0, stream, column_cell, cell_offsets, room, rows, row_slot);
}

}  // namespace bevkd::cuda

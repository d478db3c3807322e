// Greedy suppression in two steps, both on the device: all overlaps of some rows as bits, then one block that walks the
// rows in score order. Rows that are suppressed before their turn are not compared at all.
#include <algorithm>

#include "../box_iou_rotated/rotated_box.h"
#include "nms_cuda.h"
#include "plain_box.h"

namespace bevkd::cuda {
namespace {

constexpr int kWalkers = 512;
#ifdef BEVKD_EMULATED_CUDA
constexpr int64_t kWordsAtOnce = int64_t(1) << 12;  // tests of some hundred boxes then take several steps
#else
constexpr int64_t kWordsAtOnce = int64_t(1) << 23;
#endif
constexpr int64_t kMaxTilesAtOnce = 65535;  // of a grid's y

// How boxes are read and compared.
template <typename T>
struct RotatedBoxes {
  struct Box {
    RotatedBox box;
    int64_t label;
  };
  const T* rows;
  const int64_t* labels;
  double threshold;

  __device__ Box read(int64_t i) const { return {read_box(rows + 5 * i), labels ? labels[i] : 0}; }
  __device__ bool hides(const Box& a, const Box& b) const {
    return a.label == b.label && overlap_ratio(a.box, b.box, false) > threshold;
  }
};

template <typename T>
struct PlainBoxes {
  using Box = PlainBox<T>;
  const T* rows;
  T extra, threshold;

  __device__ Box read(int64_t i) const { return read_plain_box(rows + 4 * i); }
  __device__ bool hides(const Box& a, const Box& b) const { return overlaps(a, b, extra, threshold); }
};

__device__ inline uint64_t bit(int at) { return uint64_t(1) << at; }
__device__ inline int lowest(uint64_t bits) { return __popcll((bits & (~bits + 1)) - 1); }

__device__ inline int boxes_in(int64_t tile, int64_t count) {
  const int64_t left = count - tile * kNmsTile;
  return left < kNmsTile ? static_cast<int>(left) : kNmsTile;
}

// One block compares a tile of rows with a tile of later columns: a word of bits for each row.
template <typename Boxes>
__global__ void find_overlaps(Boxes boxes, int64_t count, int64_t first_tile, const uint64_t* suppressed,
                              uint64_t* overlaps) {
  const int64_t row_tile = first_tile + blockIdx.y, column_tile = first_tile + blockIdx.x;
  if (column_tile < row_tile) return;
  BEVKD_SHARED typename Boxes::Box columns[kNmsTile];
  const int thread = threadIdx.x, across = boxes_in(column_tile, count);
  if (thread < across) columns[thread] = boxes.read(column_tile * kNmsTile + thread);
  __syncthreads();
  if (thread >= boxes_in(row_tile, count) || (suppressed[row_tile] & bit(thread))) return;
  const auto mine = boxes.read(row_tile * kNmsTile + thread);
  uint64_t word = 0;
  for (int k = column_tile == row_tile ? thread + 1 : 0; k < across; ++k) {
    if (boxes.hides(mine, columns[k])) word |= bit(k);
  }
  const int64_t words = gridDim.x + first_tile;
  overlaps[(int64_t(blockIdx.y) * kNmsTile + thread) * words + column_tile] = word;
}

// A single block: who is kept in each tile in turn, and whom those suppress in later tiles.
__global__ void walk(const uint64_t* overlaps, int64_t count, int64_t words, int64_t first_tile, int64_t tiles,
                     uint64_t* suppressed, bool* keep) {
  BEVKD_SHARED uint64_t within[kNmsTile];
  BEVKD_SHARED uint64_t kept;
  const int thread = threadIdx.x;
  for (int64_t tile = first_tile; tile < first_tile + tiles; ++tile, overlaps += kNmsTile * words) {
    const int size = boxes_in(tile, count);
    if (thread < size) within[thread] = overlaps[thread * words + tile];
    __syncthreads();
    if (thread == 0) {
      uint64_t open = (size < kNmsTile ? bit(size) - 1 : ~uint64_t(0)) & ~suppressed[tile];
      kept = 0;
      while (open) {
        const int best = lowest(open);
        kept |= bit(best);
        open &= ~(bit(best) | within[best]);
      }
    }
    __syncthreads();
    if (thread < size) keep[tile * kNmsTile + thread] = (kept & bit(thread)) != 0;
    for (int64_t word = tile + 1 + thread; word < words; word += kWalkers) {
      uint64_t gone = suppressed[word];
      for (uint64_t left = kept; left; left &= left - 1) gone |= overlaps[lowest(left) * words + word];
      suppressed[word] = gone;
    }
    __syncthreads();
  }
}

template <typename Boxes>
void suppress(const Boxes& boxes, int64_t count, const NmsScratch& scratch, bool* keep, cudaStream_t stream) {
  const int64_t words = nms_words(count), at_once = nms_tiles_at_once(count);
  for (int64_t first = 0; first < words; first += at_once) {
    const int64_t tiles = std::min(at_once, words - first);
    const dim3 grid(blocks_for(words - first, 1), static_cast<unsigned>(tiles));
    BEVKD_LAUNCH(find_overlaps<Boxes>, grid, kNmsTile, 0, stream, boxes, count, first, scratch.suppressed,
                 scratch.overlaps);
    BEVKD_LAUNCH(walk, 1, kWalkers, 0, stream, scratch.overlaps, count, words, first, tiles, scratch.suppressed, keep);
  }
}

}  // namespace

int64_t nms_tiles_at_once(int64_t count) {
  const int64_t words = nms_words(count);
  const int64_t fit = kWordsAtOnce / std::max<int64_t>(words * kNmsTile, 1);
  return std::max<int64_t>(std::min({fit, words, kMaxTilesAtOnce}), 1);
}

template <typename T>
void nms_rotated(const T* boxes, const int64_t* labels, int64_t count, double threshold, const NmsScratch& scratch,
                 bool* keep, cudaStream_t stream) {
  suppress(RotatedBoxes<T>{boxes, labels, threshold}, count, scratch, keep, stream);
}

template <typename T>
void nms(const T* boxes, int64_t count, T threshold, T extra, const NmsScratch& scratch, bool* keep,
         cudaStream_t stream) {
  suppress(PlainBoxes<T>{boxes, extra, threshold}, count, scratch, keep, stream);
}

#define BEVKD_INSTANTIATE(T)                                                                                       \
  template void nms_rotated<T>(const T*, const int64_t*, int64_t, double, const NmsScratch&, bool*, cudaStream_t); \
  template void nms<T>(const T*, int64_t, T, T, const NmsScratch&, bool*, cudaStream_t);
BEVKD_INSTANTIATE(float)
BEVKD_INSTANTIATE(double)

}  // namespace bevkd::cuda

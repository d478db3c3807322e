// Launches of the suppression kernels.
#pragma once

#include <cstdint>

#include "../common/cuda_launch.h"

namespace bevkd::cuda {

constexpr int kNmsTile = 64;  // boxes whose overlaps with one box make a word

inline int64_t nms_words(int64_t count) { return (count + kNmsTile - 1) / kNmsTile; }

// Tiles of rows whose overlaps with all boxes are held at once: about 64 MiB of them.
int64_t nms_tiles_at_once(int64_t count);

struct NmsScratch {
  uint64_t* overlaps;   // [nms_tiles_at_once * kNmsTile, nms_words], any content
  uint64_t* suppressed;  // [nms_words], zeros
};

// boxes [count, 5] (x, y, w, h, radians) and labels [count] or null, best score first -> keep [count]
template <typename T>
void nms_rotated(const T* boxes, const int64_t* labels, int64_t count, double threshold, const NmsScratch& scratch,
                 bool* keep, cudaStream_t stream);

// boxes [count, 4] (x1, y1, x2, y2), best score first -> keep [count]; extra is added to widths and heights
template <typename T>
void nms(const T* boxes, int64_t count, T threshold, T extra, const NmsScratch& scratch, bool* keep,
         cudaStream_t stream);

}  // namespace bevkd::cuda

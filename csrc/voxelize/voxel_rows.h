// What the points of one voxel become: a padded list or a mean.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace bevkd {

// The first `count` rows of width Width (0: known at run time), then zeros up to max_points rows.
template <int Width>
struct PaddedRows {
  const float* points;
  int64_t width, max_points;

  int64_t row_size() const { return max_points * width; }
  void operator()(const uint32_t* member, int64_t count, float* row) const {
    const int64_t w = Width ? Width : width;
    std::memset(row, 0, max_points * w * sizeof(float));  // all of it: a length that varies costs more than it saves
    for (int64_t k = 0; k < count; ++k) std::memcpy(row + k * w, points + member[k] * w, w * sizeof(float));
  }
};

// Sums in float64 in input order, divided and rounded once.
template <int Width>
struct MeanRows {
  const float* points;
  int64_t width, max_points;

  int64_t row_size() const { return width; }
  void operator()(const uint32_t* member, int64_t count, float* row) const {
    constexpr int kStep = Width ? Width : 1;
    const int64_t w = Width ? Width : width;
    for (int64_t f = 0; f < w; f += kStep) {
      double sum[kStep] = {};
      for (int64_t k = 0; k < count; ++k) {
        for (int i = 0; i < kStep; ++i) sum[i] += points[member[k] * w + f + i];
      }
      for (int i = 0; i < kStep; ++i) row[f + i] = static_cast<float>(sum[i] / static_cast<double>(count));
    }
  }
};

}  // namespace bevkd

// Numbers cells in the order in which they are first met.
#pragma once

#include <cstdint>
#include <vector>

namespace bevkd {

// A dense table where the grid is small, open addressing where it is large: memory follows the number of points and
// never the extent of the range (a 4000 x 4000 x 200 grid would take 12.8 GB as a dense table).
class VoxelTable {
 public:
  VoxelTable(int64_t cells, int64_t points) : dense_(cells <= kDenseCells) {
    if (dense_) {
      number_.assign(cells, -1);
      return;
    }
    uint64_t capacity = 16;
    while (capacity < static_cast<uint64_t>(points) * 2) capacity *= 2;
    mask_ = capacity - 1;
    key_.assign(capacity, -1);
    number_.assign(capacity, -1);
  }

  // The number of a cell, new or known.
  int32_t find_or_add(int64_t cell) {
    const uint64_t slot = dense_ ? static_cast<uint64_t>(cell) : probe(cell);
    if (number_[slot] < 0) number_[slot] = count_++;
    return number_[slot];
  }

  int32_t count() const { return count_; }

 private:
  static constexpr int64_t kDenseCells = int64_t(1) << 21;  // 8 MB

  uint64_t probe(int64_t cell) {
    uint64_t slot = (static_cast<uint64_t>(cell) * 0x9E3779B97F4A7C15ull) >> 20;
    for (slot &= mask_; key_[slot] != cell; slot = (slot + 1) & mask_) {
      if (key_[slot] < 0) {
        key_[slot] = cell;
        break;
      }
    }
    return slot;
  }

  bool dense_;
  uint64_t mask_ = 0;
  int32_t count_ = 0;
  std::vector<int64_t> key_;
  std::vector<int32_t> number_;
};

}  // namespace bevkd

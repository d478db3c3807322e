// Numbers the cells of one bucket in the order in which they are met.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace bevkd {

// A grid of few cells: a bucket is a run of cells, and its table has an entry for each.
template <typename Key>
class DenseCells {
 public:
  static constexpr int64_t kMostCells = int64_t(1) << 21;

  DenseCells(int64_t cells, int bucket_bits) : shift_(0) {
    while ((cells - 1) >> (shift_ + bucket_bits)) ++shift_;
  }
  uint32_t bucket(Key cell) const { return static_cast<uint32_t>(cell >> shift_); }

  class Table {
   public:
    void reset(const DenseCells& cells, int64_t) {
      mask_ = (Key(1) << cells.shift_) - 1;
      number_.assign(size_t(1) << cells.shift_, kFree);
    }
    // The number of a cell; one that has none gets `next`. No branch on that: it would be a toss of a coin.
    uint32_t find_or_add(Key cell, uint32_t& next) {
      uint32_t& number = number_[cell & mask_];
      const bool is_new = number == kFree;
      number = is_new ? next : number;
      next += is_new;
      return number;
    }

   private:
    static constexpr uint32_t kFree = ~0u;
    Key mask_ = 0;
    std::vector<uint32_t> number_;
  };

 private:
  int shift_;
};

// Any grid: a bucket holds the cells of one hash range and its table is open addressing by the bits that follow.
// Memory follows the number of points, never the extent of the range.
template <typename Key>
class HashedCells {
 public:
  HashedCells(int64_t, int bucket_bits) : bits_(bucket_bits) {}
  // In two shifts, because shifting by all bits is undefined.
  uint32_t bucket(Key cell) const { return static_cast<uint32_t>(hash(cell) >> 1 >> (kBits - 1 - bits_)); }

  class Table {
   public:
    void reset(const HashedCells& cells, int64_t points) {
      int bits = 4;
      while ((int64_t(1) << bits) < 2 * points) ++bits;
      skip_ = cells.bits_;
      shift_ = kBits - bits;
      mask_ = (uint64_t(1) << bits) - 1;
      slots_.assign(size_t(1) << bits, {kFree, 0});
    }
    uint32_t find_or_add(Key cell, uint32_t& next) {
      uint64_t at = static_cast<Key>(hash(cell) << skip_) >> shift_;
      while ((slots_[at].cell != cell) & (slots_[at].cell != kFree)) at = (at + 1) & mask_;
      Slot& slot = slots_[at];
      const uint32_t is_new = slot.cell == kFree;
      slot.cell = cell;
      slot.number |= next & -is_new;  // a free slot has number 0; written as `?:` this becomes a branch
      next += is_new;
      return slot.number;
    }

   private:
    struct Slot {
      Key cell;
      uint32_t number;
    };
    static constexpr Key kFree = ~Key(0);
    int skip_ = 0, shift_ = 0;
    uint64_t mask_ = 0;
    std::vector<Slot> slots_;
  };

 private:
  static constexpr int kBits = 8 * sizeof(Key);
  static Key hash(Key cell) { return cell * static_cast<Key>(0x9E3779B97F4A7C15ull >> (64 - kBits) | 1); }
  int bits_;
};

}  // namespace bevkd

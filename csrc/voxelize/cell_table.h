// Numbers the cells of one bucket in the order in which they are met.
//
// A policy gives each cell a code, another number of the same size and different for each cell, whose leading bits name
// the bucket, and a table of codes for one bucket at a time. No branch asks whether a cell is new: with two points in
// a voxel that would be the toss of a coin.
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
  static constexpr Key kNone = ~Key(0);  // the code of no cell

  DenseCells(int64_t cells, int bucket_bits) : shift_(0) {
    while ((cells - 1) >> (shift_ + bucket_bits)) ++shift_;
  }
  static Key code(Key cell) { return cell; }
  uint32_t bucket(Key code) const { return static_cast<uint32_t>(code >> shift_); }

  class Table {
   public:
    void reset(const DenseCells& cells, int64_t) {
      mask_ = (Key(1) << cells.shift_) - 1;
      number_.assign(size_t(1) << cells.shift_, kFree);
    }
    // The number of a cell; one that has none gets `next`.
    uint32_t find_or_add(Key code, uint32_t& next) {
      uint32_t& number = number_[code & mask_];
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

// Any grid: a bucket holds the cells of one hash range, and its table is open addressing by the bits that follow.
// Memory follows the number of points, never the extent of the range.
template <typename Key>
class HashedCells {
 public:
  static constexpr int kBits = 8 * sizeof(Key);
  static constexpr Key kFactor = Key(0x9E3779B97F4A7C15ull >> (64 - kBits)) | 1;  // odd, so that codes differ
  static constexpr Key kNone = ~Key(0) * kFactor;

  HashedCells(int64_t, int bucket_bits) : bucket_bits_(bucket_bits) {}
  static Key code(Key cell) { return cell * kFactor; }
  // In two shifts, because shifting by all bits is undefined.
  uint32_t bucket(Key code) const { return static_cast<uint32_t>(code >> 1 >> (kBits - 1 - bucket_bits_)); }

  class Table {
   public:
    void reset(const HashedCells& cells, int64_t points) {
      int bits = 4;
      while ((int64_t(1) << bits) < 2 * points) ++bits;
      shift_ = std::max(0, kBits - cells.bucket_bits_ - bits);
      mask_ = (uint64_t(1) << bits) - 1;
      slots_.assign(size_t(1) << bits, {kNone, 0});
    }
    uint32_t find_or_add(Key code, uint32_t& next) {
      uint64_t at = code >> shift_ & mask_;
      // Neither of the two; written with `&`, compilers ask one after the other.
      while (std::min<Key>(slots_[at].code ^ code, slots_[at].code ^ kNone) != 0) at = (at + 1) & mask_;
      Slot& slot = slots_[at];
      const uint32_t is_new = slot.code == kNone;
      slot.code = code;
      slot.number |= next & -is_new;  // a free slot has number 0; written as `?:` this becomes a branch
      next += is_new;
      return slot.number;
    }

   private:
    struct Slot {
      Key code;
      uint32_t number;
    };
    int shift_ = 0;
    uint64_t mask_ = 0;
    std::vector<Slot> slots_;
  };

 private:
  int bucket_bits_;
};

}  // namespace bevkd

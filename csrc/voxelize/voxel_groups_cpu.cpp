#include "voxel_groups.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>

#include "../common/share.h"
#include "cell_table.h"
#include "voxel_cells.h"

namespace bevkd {
namespace {

constexpr int kMostBucketBits = 9;
constexpr int64_t kBucketPoints = 512;  // aimed at
constexpr int64_t kMostChunks = 64;
constexpr int64_t kChunkPoints = 8192;  // at least

template <typename Key>
struct Entry {
  Key code;  // of its cell; later the number of its voxel within the bucket
  uint32_t point;
};

// Takes arrays one after another from a piece of memory.
class Carver {
 public:
  explicit Carver(void* memory) : at_(static_cast<char*>(memory)) {}
  template <typename T>
  T* take(int64_t count) {
    at_ += -reinterpret_cast<uintptr_t>(at_) % 64;
    char* const begin = at_;
    at_ += count * sizeof(T);
    return reinterpret_cast<T*>(begin);
  }

 private:
  char* at_;
};

// One call in four passes, each a set of independent jobs: cells of the points, points to buckets, voxels of a bucket;
// then the voxels are counted. Chunks are runs of points, the same on any number of threads.
template <typename Key, template <typename> class Cells>
class Grouping {
 public:
  Grouping(const float* points, int64_t width, int64_t count, const VoxelGrid& grid, void* scratch)
      : points_(points), width_(width), count_(count), grid_(grid), bucket_bits_(bits_for(count)),
        cells_(grid.cells(), bucket_bits_), chunk_points_(chunk_size(count)),
        chunks_((count + chunk_points_ - 1) / chunk_points_), starts_((chunks_ + 1) * buckets()) {
    Carver carver(scratch);
    codes_ = carver.take<Key>(count);
    entries_ = carver.take<Entry<Key>>(count);
    members_ = carver.take<VoxelGroups::Members>(count);
    member_ = carver.take<uint32_t>(count);
    is_first_ = carver.take<uint8_t>(count);
  }

  VoxelGroups run() {
    share(chunks_, [] { return CellBlock(); }, [&](CellBlock& block, int64_t chunk) { find_cells(block, chunk); });
    sum_starts();
    share(chunks_, [&](int64_t chunk) { distribute(chunk); });
    share(buckets(), [] { return Workplace(); }, [&](Workplace& place, int64_t bucket) { number(place, bucket); });
    return finish();
  }

 private:
  struct Workplace {
    typename Cells<Key>::Table table;
    std::vector<uint32_t> first, end;  // of each voxel of the bucket: its first point, where its members end
  };

  static int bits_for(int64_t count) {
    int bits = 0;
    while (bits < kMostBucketBits && count >> bits > kBucketPoints) ++bits;
    return bits;
  }
  static int64_t chunk_size(int64_t count) {
    const int64_t size = std::max(kChunkPoints, (count + kMostChunks - 1) / kMostChunks);
    return (size + CellBlock::kSize - 1) / CellBlock::kSize * CellBlock::kSize;
  }
  int64_t buckets() const { return int64_t(1) << bucket_bits_; }
  int64_t chunk_end(int64_t chunk) const { return std::min(count_, (chunk + 1) * chunk_points_); }

  void find_cells(CellBlock& block, int64_t chunk) {
    const Key nx = grid_.axis[0].count, ny = grid_.axis[1].count;
    uint32_t* const tally = &starts_[chunk * buckets()];
    const int64_t end = chunk_end(chunk);
    int64_t invalid = 0;
    for (int64_t begin = chunk * chunk_points_; begin < end; begin += CellBlock::kSize) {
      const int64_t size = std::min(CellBlock::kSize, end - begin);
      invalid += cells_of_block(points_ + begin * width_, width_, size, grid_, block);
      Key* const codes = codes_ + begin;
      for (int64_t i = 0; i < size; ++i) {
        const Key cell = (Key(block.z[i]) * ny + Key(block.y[i])) * nx + Key(block.x[i]);
        codes[i] = block.x[i] < 0 ? kNone : cells_.code(cell);
      }
      for (int64_t i = 0; i < size; ++i) {
        if (codes[i] != kNone) ++tally[cells_.bucket(codes[i])];
      }
    }
    std::memset(is_first_ + chunk * chunk_points_, 0, end - chunk * chunk_points_);
    invalid_.fetch_add(invalid, std::memory_order_relaxed);
  }

  // Tallies become the place where a chunk's first entry of a bucket goes: by bucket, then by chunk.
  void sum_starts() {
    uint32_t sum = 0;
    for (int64_t bucket = 0; bucket < buckets(); ++bucket) {
      for (int64_t chunk = 0; chunk <= chunks_; ++chunk) {
        uint32_t& start = starts_[chunk * buckets() + bucket];
        const uint32_t tally = start;
        start = sum;
        sum += tally;
      }
    }
  }

  void distribute(int64_t chunk) {
    uint32_t* const next = &starts_[chunk * buckets()];
    for (int64_t i = chunk * chunk_points_, end = chunk_end(chunk); i < end; ++i) {
      const Key code = codes_[i];
      if (code != kNone) entries_[next[cells_.bucket(code)]++] = {code, static_cast<uint32_t>(i)};
    }
  }

  void number(Workplace& place, int64_t bucket) {
    const uint32_t* const ends = &starts_[chunks_ * buckets()];  // nothing goes to the row past the last chunk
    const uint32_t begin = bucket ? ends[bucket - 1] : 0, end = ends[bucket];
    if (begin == end) return;
    place.table.reset(cells_, end - begin);
    place.first.resize(end - begin);
    place.end.assign(end - begin, 0);
    uint32_t voxels = 0;
    for (Entry<Key>*entry = entries_ + begin, *last = entries_ + end; entry != last; ++entry) {
      place.first[voxels] = entry->point;  // overwritten by the next, unless this cell is new
      entry->code = place.table.find_or_add(entry->code, voxels);
      ++place.end[entry->code];
    }
    uint32_t sum = begin;
    for (uint32_t voxel = 0; voxel < voxels; ++voxel) {
      const uint32_t count = place.end[voxel];
      members_[place.first[voxel]] = {sum, count};
      is_first_[place.first[voxel]] = 1;
      place.end[voxel] = sum;
      sum += count;
    }
    for (const Entry<Key>*entry = entries_ + begin, *last = entries_ + end; entry != last; ++entry) {
      member_[place.end[entry->code]++] = entry->point;
    }
  }

  VoxelGroups finish() const {
    VoxelGroups groups;
    groups.points = count_;
    groups.invalid = invalid_;
    groups.is_first = is_first_;
    groups.members = members_;
    groups.member = member_;
    groups.voxels_before.push_back(0);
    for (int64_t begin = 0; begin < count_; begin += VoxelGroups::kBlock) {
      const int64_t end = std::min(count_, begin + VoxelGroups::kBlock);
      int32_t voxels = 0;
      for (int64_t i = begin; i < end; ++i) voxels += is_first_[i];
      groups.voxels_before.push_back(groups.voxels() + voxels);
    }
    return groups;
  }

  static constexpr Key kNone = Cells<Key>::kNone;
  const float* const points_;
  const int64_t width_, count_;
  const VoxelGrid grid_;
  const int bucket_bits_;
  const Cells<Key> cells_;
  const int64_t chunk_points_, chunks_;
  std::vector<uint32_t> starts_;  // [chunks + 1, buckets]
  std::atomic<int64_t> invalid_{0};
  Key* codes_;
  Entry<Key>* entries_;
  VoxelGroups::Members* members_;
  uint32_t* member_;
  uint8_t* is_first_;
};

}  // namespace

int64_t VoxelGroups::first_points(int64_t block, int64_t most, uint32_t* first) const {
  const int64_t begin = block * kBlock, end = std::min(points, begin + kBlock);
  int64_t found = 0;
  for (int64_t i = begin; i < end; ++i) {  // no branch: half of them are first, at random
    first[found] = static_cast<uint32_t>(i);
    found += is_first[i];
  }
  return std::min(found, most);
}

VoxelGroups group_points(const float* points, int64_t width, int64_t count, const VoxelGrid& grid, void* scratch) {
  if (grid.cells() <= DenseCells<uint32_t>::kMostCells) {
    return Grouping<uint32_t, DenseCells>(points, width, count, grid, scratch).run();
  }
  if (grid.cells() < std::numeric_limits<uint32_t>::max()) {
    return Grouping<uint32_t, HashedCells>(points, width, count, grid, scratch).run();
  }
  return Grouping<uint64_t, HashedCells>(points, width, count, grid, scratch).run();
}

}  // namespace bevkd

// From points to voxels with sorted lists of points: five kernels and one fill, whatever the grid.
//
//   insert_points   cell of each point -> slot of a table that fits into L2; the smallest index (atomicMin) and the
//                   number of its points meet there. Slots are cells where the grid has few, else hashed (2 N slots).
//   scan_tiles      a point is the first of its cell or not: voxels and points before every tile of 1024 points;
//                   the tile that finishes last turns the sums of tiles into what lies before each.
//   number_voxels   first points in input order number the voxels and find where their lists begin: both are prefix
//                   sums over the points, so one scan gives the two.
//   list_points     every point to its list, in the order of arrival at the table.
//   sort_lists      by index: the order of arrival, which differs from run to run, leaves no trace.
//
// Memory, F columns: reads 4 F N, writes and reads about 60 N in scratch, of which 32 N is the fill of the table (or
// 8 bytes a cell). At N = 300,000 the scratch is 16 MB and stays in the L2 of an A100 or later.
#include <algorithm>
#include <climits>

#include "../common/cuda_block.h"
#include "../common/cuda_sort.h"
#include "voxelize_cuda.h"

namespace bevkd::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kItems = 4;  // points of a thread in the scan
constexpr int kTile = kThreads * kItems;
constexpr unsigned kNone = ~0u;
constexpr unsigned kNumbered = 1u << 31;  // marks an entry whose `first` is a voxel and no longer a point
constexpr unsigned long long kEmpty = ~0ull;
constexpr int kLanes = 8;          // lanes that sort a short list
constexpr int kShort = 32;         // longest list that they sort
constexpr unsigned kLongBlocks = 256;  // blocks for long lists

__device__ int64_t global_thread() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

__device__ unsigned slot_of(const VoxelGroups& groups, int64_t key) {
  if (groups.key == nullptr) return static_cast<unsigned>(key);
  const auto wanted = static_cast<unsigned long long>(key);
  const unsigned hash = static_cast<unsigned>(wanted * 0x9E3779B97F4A7C15ull >> 32);
  auto slot = static_cast<unsigned>(static_cast<unsigned long long>(hash) * groups.slots >> 32);
  for (;; slot = slot + 1 == groups.slots ? 0 : slot + 1) {
    unsigned long long found = groups.key[slot];  // an old value can only be kEmpty, and then the exchange decides
    if (found == kEmpty) found = atomicCAS(&groups.key[slot], kEmpty, wanted);
    if (found == kEmpty || found == wanted) return slot;
  }
}

__global__ void insert_points(VoxelGroups groups, const float* points, int64_t width, VoxelGrid grid) {
  const int64_t i = global_thread();
  const int64_t key = i < groups.points ? grid.key(points + i * width, width) : kOutside;
  const unsigned invalid = __ballot_sync(kFullWarp, key == kNotFinite);
  if (invalid != 0 && threadIdx.x % kWarp == 0) {
    atomicAdd(&groups.state->invalid, static_cast<unsigned long long>(__popc(invalid)));
  }
  if (i >= groups.points) return;
  if (key < 0) {
    groups.slot[i] = kNone;
    return;
  }
  const unsigned slot = slot_of(groups, key);
  CellEntry& entry = groups.entry[slot];
  const auto index = static_cast<unsigned>(i);
  if (entry.first > index) atomicMin(&entry.first, index);  // only ever falls, so an old value does no harm
  groups.rank[i] = atomicAdd(&entry.count, 1u) + 1;
  groups.slot[i] = slot;
}

// Voxels and points before each tile, in place, and the totals. One block.
__device__ void scan_sums(const VoxelGroups& groups, unsigned tiles) {
  unsigned long long before = 0;
  for (unsigned first = 0; first < tiles; first += kThreads) {
    const unsigned tile = first + threadIdx.x;
    unsigned long long sum = tile < tiles ? *const_cast<volatile unsigned long long*>(&groups.tile[tile]) : 0, total;
    const unsigned long long place = before + block_exclusive_sum<kThreads>(sum, &total);
    if (tile < tiles) groups.tile[tile] = place;
    before += total;
  }
  if (threadIdx.x != 0) return;
  const auto found = static_cast<int64_t>(before >> 32), points = static_cast<int64_t>(before & kNone);
  const int64_t voxels = min(found, groups.max_voxels);
  groups.state->voxels = voxels;
  groups.state->previous_voxels = groups.counts.voxels != nullptr ? *groups.counts.voxels : 0;
  if (groups.counts.voxels != nullptr) *groups.counts.voxels = voxels;
  *groups.counts.dropped = found - voxels;
  *groups.counts.invalid = static_cast<int64_t>(groups.state->invalid + 1);
  if (voxels == found) {
    groups.state->kept_points = points;
    groups.begin[voxels] = static_cast<int32_t>(points);
  }  // else number_voxels meets the first voxel that is dropped
}

__global__ void scan_tiles(VoxelGroups groups) {
  BEVKD_SHARED bool last;
  const int64_t first = int64_t(blockIdx.x) * kTile + threadIdx.x * kItems;
  unsigned long long sum = 0, total;
  for (int64_t i = first; i < first + kItems && i < groups.points; ++i) {
    const unsigned slot = groups.slot[i];
    const CellEntry entry = slot == kNone ? CellEntry{kNone, 0} : groups.entry[slot];
    const unsigned lead = entry.first == i ? entry.count + 1 : 0;
    groups.lead[i] = lead;
    if (lead != 0) sum += (1ull << 32) + lead;
  }
  block_exclusive_sum<kThreads>(sum, &total);
  if (threadIdx.x == 0) {
    groups.tile[blockIdx.x] = total;
    __threadfence();
    last = atomicAdd(&groups.state->finished_tiles, 1u) + 2 == gridDim.x;
    __threadfence();
  }
  __syncthreads();
  if (last) scan_sums(groups, gridDim.x);
}

__global__ void number_voxels(VoxelGroups groups) {
  const int64_t first = int64_t(blockIdx.x) * kTile + threadIdx.x * kItems;
  unsigned lead[kItems];
  unsigned long long sum = 0, total;
  for (int j = 0; j < kItems; ++j) {
    lead[j] = first + j < groups.points ? groups.lead[first + j] : 0;
    if (lead[j] != 0) sum += (1ull << 32) + lead[j];
  }
  unsigned long long before = groups.tile[blockIdx.x] + block_exclusive_sum<kThreads>(sum, &total);
  for (int j = 0; j < kItems; ++j) {
    if (lead[j] == 0) continue;
    const auto voxel = static_cast<int64_t>(before >> 32);
    const auto begin = static_cast<unsigned>(before);
    before += (1ull << 32) + lead[j];
    const bool kept = voxel < groups.max_voxels;
    groups.entry[groups.slot[first + j]] = {kept ? static_cast<unsigned>(voxel) | kNumbered : kNone, begin};
    if (voxel <= groups.max_voxels) groups.begin[voxel] = static_cast<int32_t>(begin);
    if (voxel == groups.max_voxels) groups.state->kept_points = begin;
    if (kept && lead[j] > kShort) {
      groups.long_segment[atomicAdd(&groups.state->long_segments, 1u) + 1] = static_cast<int32_t>(voxel);
    }
  }
}

__global__ void list_points(VoxelGroups groups, int32_t* voxel_of_point) {
  const int64_t i = global_thread();
  if (i >= groups.points) return;
  const unsigned slot = groups.slot[i];
  const CellEntry entry = slot == kNone ? CellEntry{kNone, 0} : groups.entry[slot];
  const bool kept = entry.first != kNone;
  if (kept) groups.point[entry.count + groups.rank[i]] = static_cast<int32_t>(i);
  if (voxel_of_point != nullptr) voxel_of_point[i] = kept ? static_cast<int32_t>(entry.first ^ kNumbered) : kOutside;
}

// Lists of at most kShort, eight lanes each: the place of an index is the number of smaller ones.
__device__ void sort_short(const VoxelGroups& groups, int64_t voxel) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const bool here = voxel < groups.state->voxels;
  int32_t* const list = here ? groups.point + groups.begin[voxel] : nullptr;
  int count = here ? groups.begin[voxel + 1] - groups.begin[voxel] : 0;
  if (count > kShort) count = 0;
  int longest = count;
  for (int step = kLanes; step < kWarp; step *= 2) longest = max(longest, __shfl_xor_sync(kFullWarp, longest, step));
  if (longest < 2) return;

  int32_t index[kShort / kLanes];
  int place[kShort / kLanes] = {};
#pragma unroll
  for (int j = 0; j < kShort / kLanes; ++j) index[j] = j * kLanes + lane < count ? list[j * kLanes + lane] : INT_MAX;
#pragma unroll
  for (int j = 0; j < kShort / kLanes; ++j) {
    if (j * kLanes >= longest) break;
    for (int other = 0; other < kLanes; ++other) {
      const int32_t value = __shfl_sync(kFullWarp, index[j], other, kLanes);
#pragma unroll
      for (int mine = 0; mine < kShort / kLanes; ++mine) place[mine] += value < index[mine];
    }
  }
  for (int j = 0; j < kShort / kLanes; ++j) {
    if (j * kLanes + lane < count) list[place[j]] = index[j];
  }
}

// The first `long_blocks` blocks take long lists, each later block 32 voxels.
__global__ void sort_lists(VoxelGroups groups, unsigned long_blocks) {
  if (blockIdx.x >= long_blocks) {
    sort_short(groups, (int64_t(blockIdx.x - long_blocks) * kThreads + threadIdx.x) / kLanes);
    return;
  }
  for (unsigned i = blockIdx.x; i < groups.state->long_segments + 1; i += long_blocks) {
    const int32_t voxel = groups.long_segment[i], begin = groups.begin[voxel];
    int32_t* const room = reinterpret_cast<int32_t*>(groups.lead) + begin;
    block_sort<kThreads>(groups.point + begin, room, groups.begin[voxel + 1] - begin);
  }
}

// Hands out pieces of the scratch, each on a 16-byte boundary.
struct Pieces {
  char* next;
  template <typename T>
  T* take(int64_t count) {
    T* const piece = reinterpret_cast<T*>(next);
    next += (static_cast<size_t>(count) * sizeof(T) + 15) / 16 * 16;
    return piece;
  }
};

}  // namespace

VoxelGroups lay_out_groups(void* scratch, int64_t points, int64_t cells, int64_t max_voxels, VoxelCounts counts) {
  VoxelGroups groups = {};
  const bool slots_are_cells = cells <= 4 * points;  // then they take less room
  Pieces pieces = {static_cast<char*>(scratch)};
  groups.counts = counts;
  groups.points = points;
  groups.slots = slots_are_cells ? cells : 2 * points;
  groups.max_voxels = max_voxels;
  groups.state = pieces.take<GroupingState>(1);
  if (!slots_are_cells) groups.key = pieces.take<unsigned long long>(groups.slots);
  groups.entry = pieces.take<CellEntry>(groups.slots);
  groups.cleared_bytes = pieces.next - static_cast<char*>(scratch);
  groups.tile = pieces.take<unsigned long long>(points / kTile + 1);
  groups.slot = pieces.take<unsigned>(points);
  groups.rank = pieces.take<unsigned>(points);
  groups.lead = pieces.take<unsigned>(points);
  groups.point = pieces.take<int32_t>(points);
  groups.begin = pieces.take<int32_t>(points + 1);
  groups.long_segment = pieces.take<int32_t>(points / kShort + 1);
  groups.bytes = pieces.next - static_cast<char*>(scratch);
  return groups;
}

void group_points(const VoxelGroups& groups, const float* points, int64_t width, const VoxelGrid& grid,
                  int32_t* voxel_of_point, cudaStream_t stream) {
  const unsigned point_blocks = blocks_for(groups.points, kThreads);
  const unsigned tiles = std::max(1u, blocks_for(groups.points, kTile));  // no points: one tile still writes the counts
  const unsigned long_blocks = std::min(kLongBlocks, static_cast<unsigned>(groups.points / (kShort + 1)));
  const unsigned short_blocks = blocks_for(std::min(groups.points, groups.max_voxels), kThreads / kLanes);
  check(cudaMemsetAsync(groups.state, 0xff, groups.cleared_bytes, stream), "voxel table fill");
  BEVKD_LAUNCH(insert_points, point_blocks, kThreads, 0, stream, groups, points, width, grid);
  BEVKD_LAUNCH(scan_tiles, tiles, kThreads, 0, stream, groups);
  BEVKD_LAUNCH(number_voxels, tiles, kThreads, 0, stream, groups);
  BEVKD_LAUNCH(list_points, point_blocks, kThreads, 0, stream, groups, voxel_of_point);
  BEVKD_LAUNCH(sort_lists, long_blocks + short_blocks, kThreads, 0, stream, groups, long_blocks);
}

}  // namespace bevkd::cuda

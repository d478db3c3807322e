// The order in which a segment is summed, the same on every device and number of threads: chunks of 64 points, each
// from its first point to its last, then a binary tree over the chunks (neighbours first, an odd one out moves up).
#pragma once

#include <cstdint>

#include "../common/host_device.h"

namespace bevkd {

constexpr int64_t kChunkPoints = 64;
constexpr int kTreeLevels = 26;  // 64 * 2^26 points

// Walks the tree while chunks come one by one. `Partial` is the sum of some neighbouring chunks, `add(a, b)` puts two
// together, a on the left. Bit l of `pushed` says whether level l holds a sum of 2^l chunks that waits for its right
// neighbour.
template <typename Partial>
struct ChunkTree {
  Partial level[kTreeLevels];
  uint32_t pushed = 0;

  template <typename Add>
  BEVKD_HD void push(Partial chunk, const Add& add) {
    int l = 0;
    for (; (pushed >> l) & 1; ++l) chunk = add(level[l], chunk);
    level[l] = chunk;
    ++pushed;
  }

  // The sum of all chunks; at least one was pushed.
  template <typename Add>
  BEVKD_HD Partial total(const Add& add) const {
    int l = 0;
    while (((pushed >> l) & 1) == 0) ++l;
    Partial sum = level[l];
    for (++l; l < kTreeLevels; ++l) {
      if ((pushed >> l) & 1) sum = add(level[l], sum);
    }
    return sum;
  }
};

}  // namespace bevkd

// Sizes of segment scatter, for files with and without torch.
#pragma once

#include <cstdint>

#include "chunk_tree.h"

namespace bevkd {

struct SegmentSizes {
  int64_t voxels, listed, points, channels;  // V, P, N, C
};

}  // namespace bevkd

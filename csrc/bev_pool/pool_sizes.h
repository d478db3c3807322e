// The sizes of one pooling.
#pragma once

#include <cstdint>

#include "../common/host_device.h"

namespace bevkd::pool {

struct Sizes {
  int64_t samples, cameras, depths, height, width, channels;
  int64_t map;  // cells of one sample

  BEVKD_HD int64_t image() const { return height * width; }
  BEVKD_HD int64_t images() const { return samples * cameras; }
  BEVKD_HD int64_t pixels() const { return images() * image(); }
  BEVKD_HD int64_t points() const { return pixels() * depths; }
  BEVKD_HD int64_t cells() const { return samples * map; }
};

}  // namespace bevkd::pool

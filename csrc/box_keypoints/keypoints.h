// The nine points of a box in UniDistill: four corners counter-clockwise from the front-left one, the centre, the
// middles of the four edges.
#pragma once

#include <cmath>
#include <cstdint>

#include "../common/host_device.h"

namespace bevkd {

constexpr int kKeypoints = 9;
constexpr float kOffMap = 2;  // a coordinate beyond the outer edge, which is 1

// The range of a map in metres.
struct MapRange {
  double x_low, x_high, y_low, y_high;
};

// box (x, y, z, dx, dy, dz, yaw) -> nine (x, y), -1 and 1 at the outer edges of the map; off it for a row of padding.
template <typename T>
BEVKD_HD inline void write_keypoints(const T* box, bool valid, const MapRange& map, T* out) {
  if (!valid) {
    for (int i = 0; i < 2 * kKeypoints; ++i) out[i] = T(kOffMap);
    return;
  }
  const T half_x = box[3] / 2, half_y = box[4] / 2, cos = std::cos(box[6]), sin = std::sin(box[6]);
  // In half sizes along and across.
  const int along[kKeypoints] = {1, -1, -1, 1, 0, 0, -1, 0, 1}, across[kKeypoints] = {1, 1, -1, -1, 0, 1, 0, -1, 0};
  for (int i = 0; i < kKeypoints; ++i) {
    const T u = T(along[i]) * half_x, v = T(across[i]) * half_y;
    const T x = u * cos - v * sin + box[0], y = u * sin + v * cos + box[1];
    out[2 * i] = 2 * (x - T(map.x_low)) / T(map.x_high - map.x_low) - 1;
    out[2 * i + 1] = 2 * (y - T(map.y_low)) / T(map.y_high - map.y_low) - 1;
  }
}

}  // namespace bevkd

// A box on the ground plane against BEV cells. CPU and CUDA compile the same lines and give the same bits: sines, roots
// and exponentials are taken in double and rounded once, and what is done per cell is float without fused operations.
#pragma once

#include <cmath>
#include <cstdint>

#include "../common/cells.h"
#include "../common/host_device.h"

namespace bevkd {

constexpr int32_t kUnusable = -1;  // the count of cells of a valid box that is not finite or has no area

struct MapFrame {
  double x, y, cell;  // metres: outer corner of cell (0, 0), side of a cell
  int32_t rows, columns;

  // The centre of a column or row, metres.
  BEVKD_HD float centre_x(int32_t column) const { return static_cast<float>(x + (column + 0.5) * cell); }
  BEVKD_HD float centre_y(int32_t row) const { return static_cast<float>(y + (row + 0.5) * cell); }
};

struct BevBox {
  float x, y, half_x, half_y, cos, sin;
  bool usable;

  // One row (x, y, z, dx, dy, dz, yaw) of a tensor.
  template <typename T>
  BEVKD_HD static BevBox read(const T* row) {
    BevBox box;
    box.x = static_cast<float>(row[0]);
    box.y = static_cast<float>(row[1]);
    box.half_x = static_cast<float>(double(row[3]) / 2);
    box.half_y = static_cast<float>(double(row[4]) / 2);
    box.cos = static_cast<float>(std::cos(double(row[6])));
    box.sin = static_cast<float>(std::sin(double(row[6])));
    box.usable = is_finite(row[2]) && is_finite(row[5]) && is_finite(box.x) && is_finite(box.y) && is_finite(box.cos) &&
                 is_finite(box.half_x) && is_finite(box.half_y) && row[5] > 0 && box.half_x > 0 && box.half_y > 0;
    return box;
  }

  // The sides do not belong to a box, as in points_in_boxes.
  BEVKD_HD bool contains(float px, float py) const {
    const float dx = px - x, dy = py - y;
    return std::fabs(dx * cos + dy * sin) < half_x && std::fabs(dy * cos - dx * sin) < half_y;
  }
};

// The Gaussian that CenterNet draws for a box: 1 in the cell of its centre, cut at `radius` cells.
struct BoxPeak {
  int32_t row, column, radius;  // radius -1: nothing to draw
  double twice_variance;        // cells^2

  template <typename T>
  BEVKD_HD static BoxPeak of(const T* box, const MapFrame& map, double min_overlap, int64_t min_radius) {
    BoxPeak peak{0, 0, -1, 1};
    const double column = std::floor((double(box[0]) - map.x) / map.cell);
    const double row = std::floor((double(box[1]) - map.y) / map.cell);
    if (!(column >= 0 && column < map.columns && row >= 0 && row < map.rows)) return peak;
    double radius = gaussian_radius(double(box[3]) / map.cell, double(box[4]) / map.cell, min_overlap);
    if (radius < double(min_radius)) radius = double(min_radius);
    const double sigma = (2 * radius + 1) / 6, most = map.rows > map.columns ? map.rows : map.columns;
    peak.row = static_cast<int32_t>(row);
    peak.column = static_cast<int32_t>(column);
    peak.radius = static_cast<int32_t>(radius < most ? radius : most);  // a wider cut leaves the map whole all the same
    peak.twice_variance = 2 * sigma * sigma;
    return peak;
  }

  // CornerNet's rule in cells: the least of the shifts of two corners that leave min_overlap IoU in its three cases,
  // each root taken as (b + sqrt(b^2 - 4ac)) / 2 like CenterNet and CenterPoint do.
  BEVKD_HD static double gaussian_radius(double dx, double dy, double min_overlap) {
    const double total = dx + dy, area = dx * dy;
    const double a[3] = {1, 4, 4 * min_overlap}, b[3] = {total, 2 * total, -2 * min_overlap * total};
    const double gone = area * (1 - min_overlap), c[3] = {gone / (1 + min_overlap), gone, -gone};
    double least = 0;
    for (int i = 0; i < 3; ++i) {
      const double under = b[i] * b[i] - 4 * a[i] * c[i];
      const double root = (b[i] + std::sqrt(under > 0 ? under : 0)) / 2;
      if (i == 0 || root < least) least = root;
    }
    return least > 0 ? std::floor(least) : 0;
  }

  BEVKD_HD float at(int32_t y, int32_t x) const {
    const int32_t dy = y - row, dx = x - column;
    if (dy > radius || -dy > radius || dx > radius || -dx > radius) return 0;
    return static_cast<float>(std::exp(-(double(dy) * dy + double(dx) * dx) / twice_variance));
  }
};

}  // namespace bevkd

// Tolerance for errors along the line of sight, in which a camera is weak: Hung et al. 2022, "LET-3D-AP: Longitudinal
// Error Tolerant 3D Average Precision for Camera-Only 3D Detection", with the official implementation's rounding.
#pragma once

#include <algorithm>
#include <cmath>

namespace bevkd::waymo {

// A box off by e metres along the line of sight from the sensor to a ground truth r metres away has the affinity
// 1 - |e| / max(share r, least), which is 0 where it cannot match; its overlap is that of the box moved along its own
// line of sight to where it is closest to the ground truth.
struct Longitudinal {
  bool on = false;
  double sensor[3] = {};    // in the vehicle frame
  float share = 0, least = 0;
};

constexpr double kNearestRange = 1e-6;  // metres, square metres: no division by less

struct SensorVector {
  double x, y, z;

  double dot(const SensorVector& other) const { return x * other.x + y * other.y + z * other.z; }
};

inline SensorVector from_sensor(const Longitudinal& rules, const double* centre) {
  // A negated sum as the official tool has it, which rounds alike.
  return {centre[0] + -rules.sensor[0], centre[1] + -rules.sensor[1], centre[2] + -rules.sensor[2]};
}

inline float longitudinal_affinity(const Longitudinal& rules, const SensorVector& prediction,
                                   const SensorVector& truth) {
  const double truth_range = std::max(std::sqrt(truth.dot(truth)), kNearestRange);
  const double range = std::max(std::sqrt(prediction.dot(prediction)), kNearestRange);
  const double cosine = prediction.dot(truth) / truth_range / range;
  const float tolerance = static_cast<float>(std::max(rules.share * truth_range, static_cast<double>(rules.least)));
  const double error = std::abs((range * cosine - truth_range) / tolerance);
  return static_cast<float>(std::max(0.0, std::min(1.0 - error, 1.0)));
}

// The prediction's centre, seen from the sensor, after the move.
inline SensorVector aligned(const SensorVector& prediction, const SensorVector& truth) {
  const double factor = prediction.dot(truth) / std::max(prediction.dot(prediction), kNearestRange);
  return {prediction.x * factor, prediction.y * factor, prediction.z * factor};
}

}  // namespace bevkd::waymo

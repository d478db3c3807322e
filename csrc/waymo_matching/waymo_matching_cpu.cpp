// Detections matched with ground truth by the rules of the Waymo Open Dataset, frame by frame, and counted.
#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "../common/share.h"
#include "matching_columns.h"

namespace bevkd {
namespace {

using waymo::PredictionColumns;
using waymo::Settings;
using waymo::Tally;
using waymo::TruthColumns;

constexpr int64_t kFrames = 256;  // whose tallies are kept at a time, some 8 MB

waymo::Longitudinal read_longitudinal(at::ArrayRef<double> numbers) {
  if (numbers.empty()) return {};
  TORCH_CHECK_VALUE(numbers.size() == 5, "longitudinal has ", numbers.size(), " numbers, expected none or 5");
  TORCH_CHECK_VALUE(numbers[3] >= 0 && numbers[4] > 0, "longitudinal share is ", numbers[3], " and least is ",
                    numbers[4], ", expected at least 0 and above 0");
  return {true, {numbers[0], numbers[1], numbers[2]}, float(numbers[3]), float(numbers[4])};
}

Settings read_settings(int64_t groups, at::ArrayRef<double> thresholds, at::ArrayRef<double> cutoffs, bool exact,
                       at::ArrayRef<double> longitudinal) {
  TORCH_CHECK_VALUE(0 < groups && groups < 64, "groups are ", groups, ", expected 1 to 63");
  Settings settings{int(groups), {thresholds.begin(), thresholds.end()}, {cutoffs.begin(), cutoffs.end()}, exact,
                    read_longitudinal(longitudinal)};
  TORCH_CHECK_VALUE(std::all_of(thresholds.begin(), thresholds.end(), [](double t) { return t > 1e-6 && t <= 1; }),
                    "iou_thresholds must lie in (1e-6, 1]");
  TORCH_CHECK_VALUE(std::is_sorted(cutoffs.begin(), cutoffs.end()), "score_cutoffs must rise");
  return settings;
}

// Adds one frame's tallies; float32 and in the order of frames, as the official tool sums.
void add(const std::vector<Tally>& tallies, int64_t* counts, float* heading, float* affinity) {
  for (size_t row = 0; row < tallies.size(); ++row) {
    const Tally& tally = tallies[row];
    counts[4 * row] += tally.hits;
    counts[4 * row + 1] += tally.false_alarms;
    counts[4 * row + 2] += tally.misses[0];
    counts[4 * row + 3] += tally.misses[1];
    heading[row] += tally.heading;
    affinity[row] += tally.affinity;
  }
}

// Sums over frames. Frames run in parallel, a block at a time, and are added up in their order.
std::tuple<at::Tensor, at::Tensor, at::Tensor> count(const PredictionColumns& predictions, const TruthColumns& truths,
                                                     const Settings& settings) {
  const int64_t frames = predictions.offsets.numel() - 1;
  const int64_t groups = settings.groups, cutoffs = int64_t(settings.cutoffs.size());
  at::Tensor counts = at::zeros({groups, cutoffs, 4}, predictions.boxes.options().dtype(at::kLong));
  at::Tensor heading = at::zeros({groups, cutoffs}, predictions.boxes.options().dtype(at::kFloat));
  at::Tensor affinity = at::zeros_like(heading);
  std::vector<std::vector<Tally>> block(std::min(frames, kFrames));
  for (int64_t first = 0; first < frames; first += kFrames) {
    const int64_t size = std::min(frames - first, kFrames);
    share(size, [&] { return waymo::FrameMatching(settings); }, [&](waymo::FrameMatching& matching, int64_t i) {
      block[i].assign(groups * cutoffs, Tally{});
      matching.run(predictions.frame(first + i), truths.frame(first + i), block[i].data());
    });
    for (int64_t i = 0; i < size; ++i) {
      add(block[i], counts.mutable_data_ptr<int64_t>(), heading.mutable_data_ptr<float>(),
          affinity.mutable_data_ptr<float>());
    }
  }
  return {counts, heading, affinity};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> waymo_matching(
    const at::Tensor& p_boxes, const at::Tensor& p_types, const at::Tensor& scores, const at::Tensor& excused,
    const at::Tensor& p_groups, const at::Tensor& p_offsets, const at::Tensor& t_boxes, const at::Tensor& t_types,
    const at::Tensor& difficulties, const at::Tensor& t_groups, const at::Tensor& counted,
    const at::Tensor& t_offsets, int64_t groups, at::ArrayRef<double> iou_thresholds,
    at::ArrayRef<double> score_cutoffs, bool exact, at::ArrayRef<double> longitudinal) {
  using namespace waymo;
  const Settings settings = read_settings(groups, iou_thresholds, score_cutoffs, exact, longitudinal);
  const at::Tensor p = boxes_of(p_boxes, "prediction boxes"), t = boxes_of(t_boxes, "ground-truth boxes");
  const int64_t offsets = p_offsets.numel();
  const PredictionColumns predictions{p,
                                      types_of(p_types, "prediction types", p.size(0), settings.thresholds.size()),
                                      rows_of(scores, "scores", at::kFloat, p.size(0)),
                                      rows_of(excused, "excused", at::kBool, p.size(0)),
                                      rows_of(p_groups, "prediction groups", at::kLong, p.size(0)),
                                      offsets_of(p_offsets, "prediction offsets", offsets, p.size(0))};
  const TruthColumns truths{t,
                            types_of(t_types, "ground-truth types", t.size(0), settings.thresholds.size()),
                            rows_of(difficulties, "difficulties", at::kByte, t.size(0)),
                            rows_of(t_groups, "ground-truth groups", at::kLong, t.size(0)),
                            rows_of(counted, "counted groups", at::kLong, t.size(0)),
                            offsets_of(t_offsets, "ground-truth offsets", offsets, t.size(0))};
  return count(predictions, truths, settings);
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) { m.impl("waymo_matching", bevkd::waymo_matching); }

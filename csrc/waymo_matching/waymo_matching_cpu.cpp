// Detections matched with ground truth by the rules of the Waymo Open Dataset, frame by frame, and counted.
#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "../common/share.h"
#include "frame_matching.h"

namespace bevkd {
namespace {

using waymo::Predictions;
using waymo::Settings;
using waymo::Tally;
using waymo::Truths;

constexpr int64_t kFrames = 256;  // whose tallies are kept at a time, some 8 MB

void check_rows(const at::Tensor& tensor, const char* name, at::ScalarType type, int64_t rows) {
  TORCH_CHECK_TYPE(tensor.scalar_type() == type, name, " are ", tensor.scalar_type(), ", expected ", type);
  TORCH_CHECK_VALUE(tensor.dim() == 1 && tensor.size(0) == rows, name, " have shape ", tensor.sizes(), ", expected [",
                    rows, "]");
}

void check_boxes(const at::Tensor& boxes, const char* name) {
  TORCH_CHECK_TYPE(boxes.scalar_type() == at::kDouble, name, " are ", boxes.scalar_type(), ", expected float64");
  TORCH_CHECK_VALUE(boxes.dim() == 2 && boxes.size(1) == 7, name, " have shape ", boxes.sizes(), ", expected [N, 7]");
}

void check_offsets(const at::Tensor& offsets, const char* name, int64_t entries, int64_t rows) {
  check_rows(offsets, name, at::kLong, entries);
  const at::Tensor contiguous = offsets.contiguous();
  const int64_t* at = contiguous.const_data_ptr<int64_t>();
  TORCH_CHECK_VALUE(entries > 0 && at[0] == 0 && at[entries - 1] == rows && std::is_sorted(at, at + entries), name,
                    " must rise from 0 to ", rows);
}

void check_types(const at::Tensor& types, const char* name, size_t thresholds) {
  const at::Tensor contiguous = types.contiguous();
  const uint8_t* begin = contiguous.const_data_ptr<uint8_t>();
  TORCH_CHECK_VALUE(std::all_of(begin, begin + types.numel(), [&](uint8_t type) { return type < thresholds; }), name,
                    " must be below ", thresholds);
}

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

std::tuple<at::Tensor, at::Tensor, at::Tensor> waymo_matching(
    const at::Tensor& p_boxes_in, const at::Tensor& p_types_in, const at::Tensor& p_scores_in,
    const at::Tensor& p_excused_in, const at::Tensor& p_groups_in, const at::Tensor& p_offsets_in,
    const at::Tensor& t_boxes_in, const at::Tensor& t_types_in, const at::Tensor& t_difficulties_in,
    const at::Tensor& t_groups_in, const at::Tensor& t_counted_in, const at::Tensor& t_offsets_in, int64_t groups,
    at::ArrayRef<double> iou_thresholds, at::ArrayRef<double> score_cutoffs, bool exact,
    at::ArrayRef<double> longitudinal) {
  const Settings settings = read_settings(groups, iou_thresholds, score_cutoffs, exact, longitudinal);
  check_boxes(p_boxes_in, "prediction boxes");
  check_boxes(t_boxes_in, "ground-truth boxes");
  const int64_t predictions = p_boxes_in.size(0), truths = t_boxes_in.size(0), frames = p_offsets_in.numel() - 1;
  check_rows(p_types_in, "prediction types", at::kByte, predictions);
  check_rows(p_scores_in, "scores", at::kFloat, predictions);
  check_rows(p_excused_in, "excused", at::kBool, predictions);
  check_rows(p_groups_in, "prediction groups", at::kLong, predictions);
  check_offsets(p_offsets_in, "prediction offsets", frames + 1, predictions);
  check_rows(t_types_in, "ground-truth types", at::kByte, truths);
  check_rows(t_difficulties_in, "difficulties", at::kByte, truths);
  check_rows(t_groups_in, "ground-truth groups", at::kLong, truths);
  check_rows(t_counted_in, "counted groups", at::kLong, truths);
  check_offsets(t_offsets_in, "ground-truth offsets", frames + 1, truths);
  check_types(p_types_in, "prediction types", settings.thresholds.size());
  check_types(t_types_in, "ground-truth types", settings.thresholds.size());

  const at::Tensor p_boxes = p_boxes_in.contiguous(), p_types = p_types_in.contiguous();
  const at::Tensor p_scores = p_scores_in.contiguous(), p_excused = p_excused_in.contiguous();
  const at::Tensor p_groups = p_groups_in.contiguous(), p_offsets = p_offsets_in.contiguous();
  const at::Tensor t_boxes = t_boxes_in.contiguous(), t_types = t_types_in.contiguous();
  const at::Tensor t_difficulties = t_difficulties_in.contiguous(), t_groups = t_groups_in.contiguous();
  const at::Tensor t_counted = t_counted_in.contiguous(), t_offsets = t_offsets_in.contiguous();
  const int64_t* p_at = p_offsets.const_data_ptr<int64_t>();
  const int64_t* t_at = t_offsets.const_data_ptr<int64_t>();

  const auto run_frame = [&](waymo::FrameMatching& matching, int64_t frame, Tally* tallies) {
    const int64_t p = p_at[frame], t = t_at[frame];
    const Predictions seen{p_at[frame + 1] - p, p_boxes.const_data_ptr<double>() + 7 * p,
                           p_types.const_data_ptr<uint8_t>() + p, p_scores.const_data_ptr<float>() + p,
                           p_excused.const_data_ptr<bool>() + p, p_groups.const_data_ptr<int64_t>() + p};
    const Truths there{t_at[frame + 1] - t, t_boxes.const_data_ptr<double>() + 7 * t,
                       t_types.const_data_ptr<uint8_t>() + t, t_difficulties.const_data_ptr<uint8_t>() + t,
                       t_groups.const_data_ptr<int64_t>() + t, t_counted.const_data_ptr<int64_t>() + t};
    matching.run(seen, there, tallies);
  };

  const int64_t cutoffs = int64_t(settings.cutoffs.size()), rows = groups * cutoffs;
  at::Tensor counts = at::zeros({groups, cutoffs, 4}, p_boxes.options().dtype(at::kLong));
  at::Tensor heading = at::zeros({groups, cutoffs}, p_boxes.options().dtype(at::kFloat));
  at::Tensor affinity = at::zeros_like(heading);
  std::vector<std::vector<Tally>> block(std::min(frames, kFrames));
  for (int64_t first = 0; first < frames; first += kFrames) {
    const int64_t size = std::min(frames - first, kFrames);
    share(size, [&] { return waymo::FrameMatching(settings); }, [&](waymo::FrameMatching& matching, int64_t i) {
      block[i].assign(rows, Tally{});
      run_frame(matching, first + i, block[i].data());
    });
    for (int64_t i = 0; i < size; ++i) {
      add(block[i], counts.mutable_data_ptr<int64_t>(), heading.mutable_data_ptr<float>(),
          affinity.mutable_data_ptr<float>());
    }
  }
  return {counts, heading, affinity};
}

}  // namespace
}  // namespace bevkd

TORCH_LIBRARY_IMPL(bevkd, CPU, m) { m.impl("waymo_matching", bevkd::waymo_matching); }

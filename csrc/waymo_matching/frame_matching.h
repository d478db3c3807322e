// One frame: which prediction finds which ground truth, for every group of objects and every score cut-off.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "assignment.h"
#include "longitudinal.h"
#include "upright_overlap.h"

namespace bevkd::waymo {

// What one frame adds to one group at one cut-off.
struct Tally {
  int32_t hits, false_alarms, misses[2];  // misses of LEVEL_1 alone, and of both levels
  float heading, affinity;                // sums over the hits, float32 as in the official sums
};

// Pointers at a frame's first object. Groups are bits: an object takes part in the matching of each group in `groups`.
struct Predictions {
  int64_t count;
  const double* boxes;  // [count, 7]
  const uint8_t* types;
  const float* scores;
  const bool* excused;  // overlaps a no-label zone: never a false alarm
  const int64_t* groups;
};

struct Truths {
  int64_t count;
  const double* boxes;
  const uint8_t* types;
  const uint8_t* difficulties;
  const int64_t* groups;
  const int64_t* counted;  // the groups in which a ground truth is a hit or a miss; in others it only excuses
};

struct Settings {
  int groups;
  std::vector<float> thresholds;  // by type
  std::vector<float> cutoffs;     // ascending
  bool exact;
  Longitudinal longitudinal;
};

// 1 for equal headings, 0 for opposite ones.
inline float heading_accuracy(double prediction, double truth) {
  const auto wrapped = [](double angle) {  // to [-pi, pi)
    const double turn = 2 * M_PI, shifted = angle + M_PI;
    const double rest = shifted - std::trunc(shifted * (1 / turn)) * turn;
    return static_cast<float>((rest >= 0 ? rest : (turn + rest >= turn ? 0 : turn + rest)) - M_PI);
  };
  float apart = std::fabs(wrapped(prediction) - wrapped(truth));
  if (apart > M_PI) apart = static_cast<float>(2.0 * M_PI - apart);
  return static_cast<float>(std::min(1.0, std::max(0.0, 1.0 - apart / M_PI)));
}

class FrameMatching {
 public:
  explicit FrameMatching(const Settings& settings) : settings_(settings) {}

  // Writes tallies [groups, cutoffs].
  void run(const Predictions& predictions, const Truths& truths, Tally* tallies) {
    find_pairs(predictions, truths);
    int64_t present = 0;
    for (int64_t i = 0; i < predictions.count; ++i) present |= predictions.groups[i];
    for (int64_t j = 0; j < truths.count; ++j) present |= truths.groups[j];
    for (int group = 0; group < settings_.groups; ++group) {
      if (present >> group & 1) match_group(predictions, truths, group, tallies + group * settings_.cutoffs.size());
    }
  }

 private:
  struct Pair {
    int prediction, truth;
    float iou, heading, affinity;
    bool matches;
    int weight;  // what the assignment maximises: the overlap in millionths, times the affinity
  };
  struct Edge {
    int row, column, weight;
    float heading, affinity;
  };
  static constexpr double kTouches = 0.01;

  void find_pairs(const Predictions& predictions, const Truths& truths) {
    prediction_boxes_.resize(predictions.count);
    truth_boxes_.resize(truths.count);
    const Longitudinal& rules = settings_.longitudinal;
    for (int64_t i = 0; i < predictions.count && !rules.on; ++i) {
      prediction_boxes_[i] = make_upright_box(predictions.boxes + 7 * i);
    }
    for (int64_t j = 0; j < truths.count; ++j) {
      const double* row = truths.boxes + 7 * j;
      truth_boxes_[j] = rules.on ? box_at(from_sensor(rules, row), row) : make_upright_box(row);
    }
    pairs_.clear();
    for (int64_t i = 0; i < predictions.count; ++i) {
      for (int64_t j = 0; j < truths.count; ++j) {
        if (predictions.types[i] != truths.types[j] || !(predictions.groups[i] & truths.groups[j])) continue;
        float affinity = 1;
        const float iou = overlap(predictions.boxes + 7 * i, truths.boxes + 7 * j, i, j, &affinity);
        const bool matches = affinity > 0 && iou >= settings_.thresholds[predictions.types[i]];
        if (!matches && iou < kTouches) continue;
        const float heading = heading_accuracy(predictions.boxes[7 * i + 6], truths.boxes[7 * j + 6]);
        pairs_.push_back({int(i), int(j), iou, heading, affinity, matches, int(std::round(iou * affinity * 1000000))});
      }
    }
  }

  // With a tolerance the prediction is moved first, differently for every ground truth.
  float overlap(const double* prediction, const double* truth, int64_t i, int64_t j, float* affinity) const {
    const Longitudinal& rules = settings_.longitudinal;
    if (!rules.on) return static_cast<float>(upright_iou(prediction_boxes_[i], truth_boxes_[j], settings_.exact));
    const SensorVector seen = from_sensor(rules, prediction), there = from_sensor(rules, truth);
    const SensorVector moved = aligned(seen, there);
    const double apart = std::hypot(moved.x - there.x, moved.y - there.y);
    const double reach = std::hypot(prediction[3], prediction[4]) + std::hypot(truth[3], truth[4]);
    if (apart > reach) return 0;  // twice as far as outlines can meet, so whatever the rounding
    *affinity = longitudinal_affinity(rules, seen, there);
    return static_cast<float>(upright_iou(box_at(moved, prediction), truth_boxes_[j], settings_.exact));
  }

  // The box of `row` with its centre elsewhere.
  static UprightBox box_at(const SensorVector& centre, const double* row) {
    const double placed[7] = {centre.x, centre.y, centre.z, row[3], row[4], row[5], row[6]};
    return make_upright_box(placed);
  }

  void match_group(const Predictions& predictions, const Truths& truths, int group, Tally* tallies) {
    gather(predictions, truths, group);
    const size_t cutoffs = settings_.cutoffs.size();
    for (size_t cutoff = 0; cutoff < cutoffs; ++cutoff) {
      const size_t before = active_.size();
      active_.clear();
      for (const int i : rows_) {
        if (predictions.scores[i] >= settings_.cutoffs[cutoff]) active_.push_back(i);
      }
      if (cutoff > 0 && active_.size() == before) {
        tallies[cutoff] = tallies[cutoff - 1];
      } else {
        match(predictions);
        tallies[cutoff] = tally(predictions, truths, group);
      }
    }
  }

  // The group's predictions, ground truths and edges, in ascending order.
  void gather(const Predictions& predictions, const Truths& truths, int group) {
    rows_.clear();
    columns_.clear();
    edges_.clear();
    excuse_.assign(predictions.count, false);
    column_of_truth_.assign(truths.count, -1);
    for (int64_t i = 0; i < predictions.count; ++i) {
      if (predictions.groups[i] >> group & 1) rows_.push_back(int(i));
    }
    for (int64_t j = 0; j < truths.count; ++j) {
      if (!(truths.groups[j] >> group & 1)) continue;
      column_of_truth_[j] = int(columns_.size());
      columns_.push_back(int(j));
    }
    // A false alarm on a ground truth that is not counted is none; of several the largest overlap, then the last.
    closest_.assign(predictions.count, kTouches);
    for (const Pair& pair : pairs_) {
      if (!(predictions.groups[pair.prediction] >> group & 1) || column_of_truth_[pair.truth] < 0) continue;
      if (pair.matches) {
        edges_.push_back({pair.prediction, column_of_truth_[pair.truth], pair.weight, pair.heading, pair.affinity});
      }
      if (pair.iou >= closest_[pair.prediction]) {
        closest_[pair.prediction] = pair.iou;
        excuse_[pair.prediction] = !(truths.counted[pair.truth] >> group & 1);
      }
    }
  }

  // Fills matched_: the index into edges_ for a prediction that is active and matched, else -1.
  void match(const Predictions& predictions) {
    matched_.assign(predictions.count, -1);
    row_degree_.assign(predictions.count, -1);
    for (const int i : active_) row_degree_[i] = 0;
    column_degree_.assign(columns_.size(), 0);
    for (const Edge& edge : edges_) {
      if (row_degree_[edge.row] < 0) continue;
      ++row_degree_[edge.row];
      ++column_degree_[edge.column];
    }
    if (!match_stars()) match_all(predictions);
  }

  // Nearly always every prediction competes for one ground truth, or every ground truth for one prediction: the
  // heaviest edge wins, and of equal predictions the first. -> whether that was so, and the assignment settled by it.
  bool match_stars() {
    winner_.assign(columns_.size(), -1);
    for (size_t e = 0; e < edges_.size(); ++e) {
      const Edge& edge = edges_[e];
      if (row_degree_[edge.row] < 1) continue;
      if (edge.weight == 0) return false;  // where it goes depends on everything else
      const bool one_prediction = row_degree_[edge.row] > 1;
      if (one_prediction && column_degree_[edge.column] > 1) return false;
      int& best = one_prediction ? matched_[edge.row] : winner_[edge.column];
      if (one_prediction && best >= 0 && edge.weight == edges_[best].weight) return false;
      if (best < 0 || edge.weight > edges_[best].weight) best = int(e);
    }
    for (const int e : winner_) {
      if (e >= 0) matched_[edges_[e].row] = e;
    }
    return true;
  }

  void match_all(const Predictions& predictions) {
    const int size = int(std::max(active_.size(), columns_.size()));
    weight_.assign(int64_t(size) * size, 0);
    row_of_prediction_.assign(predictions.count, -1);
    for (size_t row = 0; row < active_.size(); ++row) row_of_prediction_[active_[row]] = int(row);
    for (const Edge& edge : edges_) {
      const int row = row_of_prediction_[edge.row];
      if (row >= 0) weight_[int64_t(row) * size + edge.column] = edge.weight;
    }
    const std::vector<int>& column_of = assignment_.solve(weight_.data(), size);
    matched_.assign(predictions.count, -1);
    for (size_t e = 0; e < edges_.size(); ++e) {
      const int row = row_of_prediction_[edges_[e].row];
      if (row >= 0 && column_of[row] == edges_[e].column) matched_[edges_[e].row] = int(e);
    }
  }

  Tally tally(const Predictions& predictions, const Truths& truths, int group) {
    Tally sum{};
    found_.assign(columns_.size(), false);
    for (const int i : active_) {
      const int e = matched_[i];
      if (e < 0) {
        sum.false_alarms += !predictions.excused[i] && !excuse_[i];
        continue;
      }
      found_[edges_[e].column] = true;
      if (!(truths.counted[columns_[edges_[e].column]] >> group & 1)) continue;
      ++sum.hits;
      sum.heading += edges_[e].heading;
      sum.affinity += edges_[e].affinity;
    }
    for (size_t column = 0; column < columns_.size(); ++column) {
      const int j = columns_[column];
      if (found_[column] || !(truths.counted[j] >> group & 1)) continue;
      for (int level = 1; level <= 2; ++level) sum.misses[level - 1] += truths.difficulties[j] <= level;
    }
    return sum;
  }

  const Settings& settings_;
  Assignment assignment_;
  std::vector<UprightBox> prediction_boxes_, truth_boxes_;
  std::vector<Pair> pairs_;
  std::vector<Edge> edges_;
  std::vector<int> rows_, columns_, active_, column_of_truth_, row_of_prediction_;  // objects by their place in a frame
  std::vector<int> row_degree_, column_degree_, matched_, winner_, weight_;
  std::vector<double> closest_;
  std::vector<char> excuse_, found_;
};

}  // namespace bevkd::waymo

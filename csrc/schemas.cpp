// Every operator of bevkd. Kernels register themselves per device in their own folder; shapes for tracing (fake
// functions) and gradients are registered from bevkd/ops/<op>.py.
#include <torch/library.h>

#include <tuple>

#include "common/simd.h"

TORCH_LIBRARY(bevkd, m) {
  // The bytes of a vector register: those that the CPU kernels use, and those that ATEN_CPU_CAPABILITY asks for.
  m.def("vector_bytes() -> (int used, int asked)",
        [] { return std::make_tuple(bevkd::simd::widest(), bevkd::simd::asked_bytes()); });

  // points [N, F >= 3] float32 (x, y, z, ...); voxel_size (x, y, z) metres; point_range (x, y, z min, x, y, z max).
  // -> features [V, K, F], coords [V, 3] int32 (z, y, x), num_points [V] int32, num_dropped [], num_invalid [] int64
  m.def(
      "voxelize(Tensor points, float[] voxel_size, float[] point_range, int max_points, int max_voxels)"
      " -> (Tensor features, Tensor coords, Tensor num_points, Tensor num_dropped, Tensor num_invalid)");
  // As voxelize with the K rows of a voxel replaced by their mean: features [V, F].
  m.def(
      "voxelize_mean(Tensor points, float[] voxel_size, float[] point_range, int max_points, int max_voxels)"
      " -> (Tensor features, Tensor coords, Tensor num_points, Tensor num_dropped, Tensor num_invalid)");
  // -> coords [N, 3] int32 (z, y, x), -1 -1 -1 for a point outside or not finite
  m.def("voxelize_dynamic(Tensor points, float[] voxel_size, float[] point_range) -> Tensor");
  // Every point of every kept voxel -> coords [V, 3] int32, point [P] int32 by voxel, then in input order,
  // offsets [V + 1] int64 into point, voxel_of_point [N] int32 (-1 for a dropped one), num_dropped [], num_invalid []
  m.def(
      "voxelize_segments(Tensor points, float[] voxel_size, float[] point_range, int max_voxels)"
      " -> (Tensor coords, Tensor point, Tensor offsets, Tensor voxel_of_point, Tensor num_dropped, Tensor num_invalid)");
  // voxelize into tensors of the caller, with static shapes and no host sync: features [M, K, F], coords [M, 3] int32,
  // num_points [M] int32, counts [3] int64 (voxels, dropped, invalid), M the largest number of voxels. Rows past
  // counts[0] hold features 0, coords -1 and num_points 0: on entry rows past the old counts[0] do, and the kernel
  // clears what the old call used. scratch [>= voxel_scratch_bytes(N)] uint8 holds nothing between calls.
  m.def(
      "voxelize_into(Tensor points, float[] voxel_size, float[] point_range, Tensor(a!) features, Tensor(b!) coords,"
      " Tensor(c!) num_points, Tensor(d!) counts, Tensor(e!) scratch) -> ()");
  // As voxelize_into with features [M, F], means.
  m.def(
      "voxelize_mean_into(Tensor points, float[] voxel_size, float[] point_range, int max_points, Tensor(a!) features,"
      " Tensor(b!) coords, Tensor(c!) num_points, Tensor(d!) counts, Tensor(e!) scratch) -> ()");

  // features [N, C]; segments of voxelize_segments -> [V, C], zeros for a voxel without points
  m.def(
      "segment_sum(Tensor features, Tensor point, Tensor offsets, Tensor voxel_of_point, bool mean) -> Tensor");
  // grad [V, C] -> gradient of the features [N, C] of a sum. point and offsets serve the second derivative.
  m.def("segment_sum_backward(Tensor grad, Tensor point, Tensor offsets, Tensor voxel_of_point) -> Tensor");
  // -> values [V, C], winner [V, C] int32: the row of features that each maximum comes from, -1 without points
  m.def(
      "segment_max(Tensor features, Tensor point, Tensor offsets, Tensor voxel_of_point)"
      " -> (Tensor values, Tensor winner)");
  // grad [V, C] -> gradient of the features [N, C]
  m.def("segment_max_backward(Tensor grad, Tensor winner, Tensor voxel_of_point) -> Tensor");

  // frustum [B, N, D, H, W, 3] metres; low, high (x, y, z) metres; shape (Y, X); size metres.
  // -> cell [B, N, D, H, W] int32 (-1 outside), num_invalid [] int64
  m.def(
      "lift_plan(Tensor frustum, float[] low, float[] high, float size, int[] shape, bool truncate)"
      " -> (Tensor cell, Tensor num_invalid)");
  // cells: B Y X. -> point [P] int32, pixel [P] int32, offsets [B Y X + 1] int32
  m.def("lift_points(Tensor cell, int cells) -> (Tensor point, Tensor pixel, Tensor offsets)");
  // GPU only. -> local [B, N, D, H, W] int16, column_offsets [B N W + 1], column_cell [R], row_slot [R],
  //              cell_offsets [B Y X + 1] int32, the most cells of one column
  m.def(
      "lift_columns(Tensor cell, int cells) -> (Tensor local, Tensor column_offsets, Tensor column_cell,"
      " Tensor row_slot, Tensor cell_offsets, SymInt max_cells)");
  // depth [B, N, D, H, W], feat [B, N, H, W, C] -> [B, Y, X, C]
  m.def(
      "bev_pool(Tensor depth, Tensor feat, Tensor cell, Tensor point, Tensor pixel, Tensor offsets, int[] shape)"
      " -> Tensor");
  // grad [B, Y, X, C] -> gradients of depth and feat. The plan beyond `cell` serves the second derivative.
  m.def(
      "bev_pool_backward(Tensor grad, Tensor depth, Tensor feat, Tensor cell, Tensor point, Tensor pixel,"
      " Tensor offsets, int[] shape) -> (Tensor grad_depth, Tensor grad_feat)");
  // The same by image columns, GPU only.
  m.def(
      "bev_pool_columns(Tensor depth, Tensor feat, Tensor cell, Tensor local, Tensor column_offsets, Tensor column_cell,"
      " Tensor row_slot, Tensor cell_offsets, int max_cells, int[] shape) -> Tensor");
  m.def(
      "bev_pool_columns_backward(Tensor grad, Tensor depth, Tensor feat, Tensor cell, Tensor local,"
      " Tensor column_offsets, Tensor column_cell, Tensor row_slot, Tensor cell_offsets, int max_cells, int[] shape)"
      " -> (Tensor grad_depth, Tensor grad_feat)");

  // boxes [M, 5], [K, 5] (x, y, w, h, radians) -> [M, K], or [M] when aligned; over_first: divide by the first area
  m.def("box_iou_rotated(Tensor boxes1, Tensor boxes2, bool aligned, bool over_first) -> Tensor");
  // boxes [N, 5] and labels [N] int64 (or none) in descending score order -> [N] bool, true for a box that is kept
  m.def("nms_rotated(Tensor boxes, Tensor? labels, float iou_threshold) -> Tensor");
  // boxes [N, 4] (x1, y1, x2, y2) in descending score order -> [N] bool, true for a box that is kept
  m.def("nms(Tensor boxes, float iou_threshold, float offset) -> Tensor");
  // points [B, M, 3], boxes [B, T, 7] (x, y, bottom z, dx, dy, dz, yaw) -> [B, T, M] bool, true inside
  m.def("points_in_boxes(Tensor points, Tensor boxes) -> Tensor");
  // The same as [B, M, T].
  m.def("points_in_boxes_all(Tensor points, Tensor boxes) -> Tensor");
  // -> [B, M] int32: the first box that holds a point, -1 for none
  m.def("points_in_boxes_part(Tensor points, Tensor boxes) -> Tensor");

  // boxes [B, M, 7 or more] float32 or float64 (x, y, z, dx, dy, dz, yaw), valid [B, M] bool; low (x, y) metres; shape
  // (Y, X). -> index [B, Y, X] int32, counts [B, M] int32, gaussian [B, Y, X] float32, or [0] unless asked for
  m.def(
      "rotated_box_mask(Tensor boxes, Tensor valid, float[] low, float cell, int[] shape, bool gaussian,"
      " float min_overlap, int min_radius) -> (Tensor index, Tensor counts, Tensor gaussian)");

  // boxes [B, M, 7 or more], valid [B, M] bool; low, high (x, y) metres of the map -> [B, M, 9, 2] normalised (x, y)
  m.def("box_keypoints(Tensor boxes, Tensor valid, float[] low, float[] high) -> Tensor");
  // student [B, C, Y, X], teacher [B, D, Y, X] or none, points [B, P, 2] normalised (x, y), any strides
  // -> [B, P, C] and [B, P, D], or [0] without a teacher; float32, or float64 for float64 maps
  m.def("sample_keypoints(Tensor student, Tensor? teacher, Tensor points) -> (Tensor student_samples, Tensor teacher_samples)");
  // grad [B, P, C] -> gradient of a map of `shape` (B, C, Y, X) and `dtype`, in channels-last memory when asked for
  m.def(
      "sample_keypoints_backward(Tensor grad, Tensor points, int[] shape, ScalarType dtype, bool channels_last)"
      " -> Tensor");

  // student, teacher [B, C, Y, X], weight [B, Y, X], channel_weight [B, C]; power 1 or 2. -> loss [] and, when asked
  // for, slope like student: the derivative of |student - teacher|^power / power, not written where weight is 0
  m.def(
      "masked_feature_loss(Tensor student, Tensor teacher, Tensor weight, Tensor? channel_weight, int power,"
      " bool with_slope) -> (Tensor loss, Tensor slope)");
  // -> grad * weight * channel_weight * power * slope, zero where weight is 0
  m.def(
      "masked_feature_loss_backward(Tensor grad, Tensor slope, Tensor weight, Tensor? channel_weight, int power)"
      " -> Tensor");

  // Waymo detections: predictions [P] and ground truths [T], sorted by frame, offsets [F + 1] into them. boxes [N, 7]
  // float64 (x, y, z centre, length, width, height, heading), types uint8, scores float32, excused bool (no-label zone),
  // groups int64 (a bit for each group an object is matched in), difficulties uint8 (1, 2), counted int64 (the groups
  // in which a ground truth is a hit or a miss). iou_thresholds by type, score_cutoffs rising; exact: true overlap
  // instead of the official one; longitudinal: nothing, or the sensor's x, y, z and the share of the distance and the
  // metres that predictions may be off along the line of sight from it. -> counts [groups, cutoffs, 4] int64 (hits,
  // false alarms, LEVEL_1 misses, misses of both levels), heading and affinity [groups, cutoffs] float32: sums of the
  // hits' heading accuracies and longitudinal affinities
  m.def(
      "waymo_matching(Tensor prediction_boxes, Tensor prediction_types, Tensor scores, Tensor excused,"
      " Tensor prediction_groups, Tensor prediction_offsets, Tensor truth_boxes, Tensor truth_types,"
      " Tensor difficulties, Tensor truth_groups, Tensor counted, Tensor truth_offsets, int groups,"
      " float[] iou_thresholds, float[] score_cutoffs, bool exact, float[] longitudinal)"
      " -> (Tensor counts, Tensor heading, Tensor affinity)");
}

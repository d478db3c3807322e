"""Waymo 3D detection scores, by the rules of the official metrics and without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bevkd.errors import DataError

from .waymo_metrics.average_precision import average_precision, precision_recall
from .waymo_metrics.breakdowns import group_bits
from .waymo_metrics.doubts import check_sides
from .waymo_metrics.frames import refuse_unknown_frames
from .waymo_metrics.messages import LEVELS
from .waymo_metrics.object_files import read_objects
from .waymo_metrics.objects import FrameKey, Objects, graded
from .waymo_metrics.rules import CAMERA_ONLY, DETECTION, SCORE_CUTOFFS, Rules


def evaluate(
    predictions: Objects | str | Path,
    ground_truth: Objects | str | Path,
    *,
    exact_geometry: bool = False,
    unlabelled_frames: bool = False,
) -> dict[str, float]:
    """Average precision of detections, LEVEL_1 and LEVEL_2, by object type and by type and range.

    The numbers are those of the official ``compute_detection_metrics_main``: 101 score cut-offs; at each, and in each
    group of objects, every frame's predictions are matched with its ground truth by the largest sum of 3D IoUs over the
    type's threshold (0.7 for vehicles, 0.5 else). A match counts as a hit whatever its difficulty, a ground truth that
    is missed only up to the level. A prediction that is unmatched counts against precision unless it overlaps a
    no-label zone. APH weighs each hit by its heading accuracy.

    Args:
        predictions: Objects, or a file of serialized ``waymo.open_dataset.Objects``.
        ground_truth: Likewise, or an info file (``.pkl``), which names frames without boxes too. Boxes without a LiDAR
            point are dropped; one without a difficulty is LEVEL_2 when it holds at most five points, else LEVEL_1.
        exact_geometry: Take the exact overlap of two boxes. The official one in places finds none between a box and the
            same box turned by exactly pi (of 2,000 such pairs 14).
        unlabelled_frames: Let predictions stand in any frame that the ground truth does not name: all are false alarms,
            as in the official tool. By default only frames that fit into a labelled segment may be such.

    Returns:
        ``AP`` and ``APH`` by the official names, e.g. ``OBJECT_TYPE_TYPE_VEHICLE_LEVEL_1/AP`` or
        ``RANGE_TYPE_CYCLIST_[30, 50)_LEVEL_2/APH``, in [0, 1]; 0 for a group without ground truth.

    Raises:
        DataError: input that cannot be scored as it is, in one sentence.

    Warns:
        UserWarning: input whose scores are likely not what was meant, such as predictions for a part of the frames.
    """
    predictions, truth, _ = load(predictions, ground_truth, unlabelled_frames)
    return score(predictions, truth, exact_geometry)


def evaluate_camera_only(
    predictions: Objects | str | Path,
    ground_truth: Objects | str | Path,
    *,
    exact_geometry: bool = False,
    unlabelled_frames: bool = False,
) -> dict[str, float]:
    """LET-3D-AP and LET-3D-APL of detections from cameras alone, LEVEL_2, by type, by range and by camera.

    The numbers are those of the official ``compute_detection_let_metrics_main`` (Hung et al. 2022, "LET-3D-AP:
    Longitudinal Error Tolerant 3D Average Precision for Camera-Only 3D Detection"). A prediction may be off along the
    line of sight from the cameras by a tenth of the ground truth's distance, or 0.5 m where that is more, and is moved
    along it to where it is closest before the 3D IoU is taken (thresholds 0.5 for vehicles, 0.3 else). What it was off,
    as a share of the tolerance, lowers its weight in the assignment, and in LET-3D-APL that of the hit.

    Args:
        predictions: See :func:`evaluate`.
        ground_truth: A file whose ``camera_synced_box`` are the truth, of objects with ``most_visible_camera_name`` and
            at least one point of the top LiDAR; or such boxes as Objects, with ``cameras``.
        exact_geometry: See :func:`evaluate`.
        unlabelled_frames: See :func:`evaluate`.

    Returns:
        ``LET-APL``, ``LET-AP`` and ``LET-APH`` by the official names: ``CAMERA_TYPE_VEHICLE_FRONT_LEVEL_2/LET-AP``.

    Raises:
        DataError: input that cannot be scored as it is, in one sentence.

    Warns:
        UserWarning: See :func:`evaluate`.
    """
    predictions, truth, _ = load(predictions, ground_truth, unlabelled_frames, CAMERA_ONLY)
    return score(predictions, truth, exact_geometry, CAMERA_ONLY)


def score(
    predictions: Objects, truth: Objects, exact_geometry: bool = False, rules: Rules = DETECTION
) -> dict[str, float]:
    """:func:`evaluate` for both sides as :func:`load` returns them."""
    counts, heading, affinity = match(predictions, truth, rules, exact_geometry)
    scores = {}
    for group, name in enumerate(rules.names()):
        hits, false_alarms, *misses = counts[group].T
        weights = {"hits": hits, "heading": heading[group], "affinity": affinity[group]}
        for level in rules.levels:
            for key, weight in rules.metrics.items():
                curve = precision_recall(hits, weights[weight], false_alarms, misses[level - 1])
                scores[f"{name}_{LEVELS[level - 1]}/{key}"] = average_precision(*curve)
    return scores


def load(
    predictions: Objects | str | Path,
    ground_truth: Objects | str | Path,
    unlabelled_frames: bool = False,
    rules: Rules = DETECTION,
    doubt: bool = True,
) -> tuple[Objects, Objects, int]:
    """Both sides checked, graded and sorted by frame, with the same keys; and the number of frames that hold objects.

    Args:
        doubt: Refuse what cannot be scored rightly and warn of what likely is not, see :mod:`.waymo_metrics.doubts`;
            without it, whatever the official tool scores is scored.

    Raises:
        DataError: see :func:`evaluate`.
    """
    predicted = predictions if isinstance(predictions, Objects) else read_objects(predictions)
    truth = ground_truth if isinstance(ground_truth, Objects) else rules.read_truth(ground_truth)
    if not len(truth):
        raise DataError(f"{truth.source}: holds no object, as infos of a testing split do; expected ground truth")
    if not unlabelled_frames:
        refuse_unknown_frames(predicted, truth)
    if doubt:
        check_sides(predicted, truth, rules.points_field)
    truth = graded(truth)
    held = [{side.keys[row] for row in np.unique(side.frames)} for side in (predicted, truth)]
    keys = sorted(held[0] | held[1], key=FrameKey.order)
    return _by_frame(predicted, keys), _by_frame(truth, keys), len(keys)


def _by_frame(objects: Objects, keys: Sequence[FrameKey]) -> Objects:
    row_of = {key: row for row, key in enumerate(keys)}
    new_row = np.array([row_of.get(key, -1) for key in objects.keys], dtype=np.int64)
    frames = new_row[objects.frames] if len(objects) else objects.frames
    order = np.argsort(frames, kind="stable")
    return dataclasses.replace(dataclasses.replace(objects, frames=frames, keys=keys).rows(order), keys=keys)


def match(
    predictions: Objects, truth: Objects, rules: Rules, exact_geometry: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts [G, C, 4] and sums of heading accuracy and of longitudinal affinity [G, C], see
    :func:`bevkd.ops.waymo_matching`, of both sides as :func:`load` returns them."""
    from bevkd.ops import Longitudinal, MatchingPredictions, MatchingTruths, waymo_matching

    def tensors(objects: Objects, *columns: np.ndarray) -> tuple[torch.Tensor, ...]:
        offsets = np.searchsorted(objects.frames, np.arange(len(objects.keys) + 1))
        return tuple(torch.from_numpy(column) for column in (objects.boxes, objects.types, *columns, offsets))

    breakdowns = rules.breakdowns
    found = waymo_matching(
        MatchingPredictions(
            *tensors(predictions, predictions.scores, predictions.excused, group_bits(breakdowns, predictions))
        ),
        MatchingTruths(
            *tensors(truth, truth.difficulties, group_bits(breakdowns, truth), group_bits(breakdowns, truth, True))
        ),
        len(rules.names()),
        rules.iou_thresholds,
        SCORE_CUTOFFS,
        exact_geometry,
        Longitudinal(*rules.longitudinal) if rules.longitudinal else None,
    )
    return found.counts.numpy(), found.heading.numpy(), found.affinity.numpy()


def score_table(scores: dict[str, float]) -> str:
    """The scores in the official tools' lines: ``OBJECT_TYPE_TYPE_VEHICLE_LEVEL_1: [mAP 0.2] [mAPH 0.1]``."""
    lines: dict[str, list[str]] = {}
    for key, value in scores.items():
        name, metric = key.rsplit("/", 1)
        lines.setdefault(name, []).append(f"[{metric.replace('AP', 'mAP')} {value:g}]")
    return "\n".join(f"{name}: {' '.join(parts)}" for name, parts in lines.items())

"""Waymo detections matched with ground truth, and counted: the compiled half of the Waymo metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import library

MAX_GROUPS = 63


class MatchingPredictions(NamedTuple):
    """Predictions sorted by frame; row order within a frame decides between equals."""

    boxes: Tensor  # [P, 7] float64: x, y, z of the centre, length, width, height (m), heading (rad)
    types: Tensor  # [P] uint8
    scores: Tensor  # [P] float32
    excused: Tensor  # [P] bool: overlaps a no-label zone, so that it is never a false alarm
    groups: Tensor  # [P] int64: bit g is set where the prediction takes part in group g
    offsets: Tensor  # [F + 1] int64: frame f holds rows offsets[f] to offsets[f + 1]


class MatchingTruths(NamedTuple):
    """Ground truths sorted by frame."""

    boxes: Tensor  # [T, 7] float64
    types: Tensor  # [T] uint8
    difficulties: Tensor  # [T] uint8: 1 or 2
    groups: Tensor  # [T] int64: the groups in which predictions can find it
    counted: Tensor  # [T] int64: those of them in which it is a hit or a miss; in others it only excuses a prediction
    offsets: Tensor  # [F + 1] int64


class Longitudinal(NamedTuple):
    """Tolerance for errors along the line of sight from ``sensor`` to a ground truth r metres away (LET-3D-AP, Hung et
    al. 2022): a prediction may be off by max(share * r, least) metres, and is moved along its own line of sight to
    where it is closest to the ground truth before their IoU is taken."""

    sensor: tuple[float, float, float]  # x, y, z (m), in the frame of the boxes
    share: float
    least: float  # m


class MatchingCounts(NamedTuple):
    counts: Tensor  # [G, C, 4] int64: hits, false alarms, misses at LEVEL_1, misses at LEVEL_2 (which holds LEVEL_1)
    heading: Tensor  # [G, C] float32: the hits' heading accuracies, added up in the order of frames
    affinity: Tensor  # [G, C] float32: likewise their longitudinal affinities, 1 each without a tolerance


def waymo_matching(
    predictions: MatchingPredictions,
    truths: MatchingTruths,
    groups: int,
    iou_thresholds: Sequence[float],
    score_cutoffs: Sequence[float],
    exact: bool = False,
    longitudinal: Longitudinal | None = None,
) -> MatchingCounts:
    """Match every frame's predictions with its ground truths, once per group and score cut-off.

    Within a frame a prediction can match a ground truth of its own type with a 3D IoU of at least the type's threshold.
    Of these pairs the assignment with the largest sum of IoUs is taken (in millionths; the predictions are those of the
    group with a score of at least the cut-off). A matched prediction is a hit, whatever the difficulty of its ground
    truth, and adds its heading accuracy 1 - |difference of headings| / pi.

    With ``longitudinal`` a hit that is e metres off along the line of sight has the affinity 1 - |e| / tolerance; a
    pair can match where that is above 0, and the assignment maximises the sum of IoU times affinity.

    Example: two cars 10 x 2 x 2 m on one spot, a prediction 1 m further along, IoU 9/11 with both: one hit, one miss.

    Args:
        groups: G, at most 63.
        iou_thresholds: By type, in (1e-6, 1].
        score_cutoffs: C rising scores.
        exact: True takes the exact overlap of two boxes. False takes the one of the official metrics, which in places
            finds nothing between a box and the same box turned by exactly pi.

        longitudinal: Tolerance for camera-only detections; none by default.

    Returns:
        The counts, the same for every number of threads.

    Raises:
        ConfigError: a shape, dtype or device that is not as described.
    """
    boxes = {"predictions.boxes": predictions.boxes, "truths.boxes": truths.boxes}
    for name, tensor in boxes.items():
        library.require_tensor(name, tensor, "[N, 7]", 2, (torch.float64,))
        if tensor.device.type != "cpu":
            raise ConfigError(f"{name} is on {tensor.device}, expected cpu: the matching has no kernel elsewhere")
    if predictions.offsets.shape != truths.offsets.shape:
        raise ConfigError(
            f"truths.offsets have shape {tuple(truths.offsets.shape)}, expected"
            f" {tuple(predictions.offsets.shape)} like predictions.offsets"
        )
    tolerance = [*longitudinal.sensor, longitudinal.share, longitudinal.least] if longitudinal else []
    try:
        return MatchingCounts(
            *torch.ops.bevkd.waymo_matching(
                *predictions, *truths, groups, list(iou_thresholds), list(score_cutoffs), exact, tolerance
            )
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error).splitlines()[0]) from None


def _register() -> None:
    library.load()

    def fake(boxes: Tensor, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
        groups, cutoffs = args[11], len(args[13])
        return (
            boxes.new_empty(groups, cutoffs, 4, dtype=torch.int64),
            boxes.new_empty(groups, cutoffs, dtype=torch.float32),
            boxes.new_empty(groups, cutoffs, dtype=torch.float32),
        )

    torch.library.register_fake("bevkd::waymo_matching", fake)


_register()

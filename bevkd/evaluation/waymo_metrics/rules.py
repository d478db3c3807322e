"""What the official tools count, for LiDAR detections and for camera-only ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .breakdowns import OBJECT_TYPE, RANGE, Breakdown
from .camera_only import CAMERA, read_camera_truth
from .infos import read_truth
from .objects import Objects

SCORE_CUTOFFS = (*(i * 0.01 for i in range(100)), 1.0)


@dataclass(frozen=True)
class Rules:
    """The settings of one of the official tools.

    Attributes:
        breakdowns: The groups of objects.
        levels: Difficulty levels up to which a missed ground truth counts, each scored on its own.
        iou_thresholds: By type: none, vehicle, pedestrian, sign, cyclist.
        metrics: Keys of the scores, with the weight of a hit, by column of the table.
        points_field: Field of ``Label`` with the number of LiDAR points, and its name in infos.
        longitudinal: The fields of :class:`bevkd.ops.Longitudinal`, or None.
        read_truth: Reads a ground-truth file.
    """

    breakdowns: tuple[Breakdown, ...]
    levels: tuple[int, ...]
    iou_thresholds: tuple[float, ...]
    metrics: dict[str, str]
    points_field: str
    longitudinal: tuple[tuple[float, float, float], float, float] | None = None
    read_truth: Callable[[str | Path], Objects] = read_truth

    def names(self) -> list[str]:
        return [name for breakdown in self.breakdowns for name in breakdown.names]


DETECTION = Rules(
    (OBJECT_TYPE, RANGE), (1, 2), (1.0, 0.7, 0.5, 0.5, 0.5), {"AP": "hits", "APH": "heading"},
    "num_lidar_points_in_box (num_lidar_pts in infos)",
)  # fmt: skip
CAMERA_ONLY = Rules(
    (OBJECT_TYPE, RANGE, CAMERA), (2,), (1.0, 0.5, 0.3, 0.3, 0.3),
    {"LET-APL": "affinity", "LET-AP": "hits", "LET-APH": "heading"},
    "num_top_lidar_points_in_box (num_top_lidar_pts in infos)",
    longitudinal=((1.43, 0.0, 2.18), 0.1, 0.5),  # the cameras' mean place, 10 % of the distance, at least 0.5 m
    read_truth=read_camera_truth,
)  # fmt: skip

"""Ground truth and groups of the camera-only metrics: boxes at the time of the camera's shot, broken down by camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bevkd.datasets import safe_pickle
from bevkd.errors import DataError

from .breakdowns import Breakdown
from .infos import objects_from_infos
from .messages import ENUMS, TYPES
from .object_files import box_numbers, read_objects
from .objects import Objects

CAMERAS = tuple(ENUMS["CameraName.Name"].split())[1:6]  # in the order of their numbers, from 1
_NUMBER = {"": 0, **{name: number for number, name in enumerate(CAMERAS, 1)}}
_UNKNOWN, _UNSYNCED = 254, 255
_AZIMUTHS, _HALF_FIELD_OF_VIEW = (0.0, 45.0, -45.0, 90.0, -90.0), 25.2  # degrees


def read_camera_truth(path: str | Path) -> Objects:
    """An ``Objects`` file as camera-only ground truth: ``camera_synced_box`` for ``box``, the points of the top LiDAR,
    without the boxes that no camera sees; or the ``cam_sync_instances`` of an info file (``.pkl``).

    Raises:
        DataError: see :func:`.object_files.read_objects`; an unknown ``most_visible_camera_name``, or
            no object that has one; no ``camera_synced_box``.
    """
    path = Path(path)
    if path.suffix == ".pkl":
        return objects_from_infos(safe_pickle.load(path), str(path), camera_only=True)
    truth = read_objects(path, _numbers)
    for code, sentence in (
        (_UNKNOWN, f"most_visible_camera_name is unknown, expected one of {', '.join(CAMERAS)}"),
        (_UNSYNCED, "camera_synced_box is missing, expected one where most_visible_camera_name is set"),
    ):
        wrong = np.flatnonzero(truth.cameras == code)
        if len(wrong):
            raise DataError(f"{truth.name(wrong[0])}: {sentence}")
    seen = truth.rows(truth.cameras > 0)
    if len(truth) and not len(seen):
        raise DataError(
            f"{path}: most_visible_camera_name is set in none of {len(truth)} objects, so that none counts; expected"
            " labels of release 1.3.1 or later, with camera_synced_box"
        )
    return seen


def _numbers(entry: Any) -> tuple:
    label = entry.object
    camera = _NUMBER.get(label.most_visible_camera_name, _UNKNOWN)
    if 0 < camera < _UNKNOWN and not label.HasField("camera_synced_box"):
        camera = _UNSYNCED
    box = label.camera_synced_box if 0 < camera < _UNKNOWN else label.box
    return (
        *box_numbers(box), entry.score, label.type, label.detection_difficulty_level,
        label.num_top_lidar_points_in_box, entry.overlap_with_nlz, camera,
    )  # fmt: skip


def in_view(objects: Objects) -> np.ndarray:
    """[N, 5] bool: the cameras that may see the box, by the azimuth of its centre; fields of view overlap."""
    azimuth = np.arctan2(objects.boxes[:, 1], objects.boxes[:, 0]) * (180.0 / np.pi)
    middle = np.array(_AZIMUTHS)
    low, high = middle - _HALF_FIELD_OF_VIEW, middle + _HALF_FIELD_OF_VIEW
    return (azimuth[:, None] > low) & (azimuth[:, None] < high)


def by_view(objects: Objects) -> np.ndarray:
    return _bits(objects, in_view(objects))


def by_best_camera(objects: Objects) -> np.ndarray:
    """The camera that the label names, or where none is named the first that may see the box."""
    first = in_view(objects) & (np.cumsum(in_view(objects), 1) == 1)
    if objects.cameras is None:
        return _bits(objects, first)
    named = objects.cameras[:, None] == np.arange(1, len(CAMERAS) + 1)
    return _bits(objects, np.where(objects.cameras[:, None] > 0, named, first))


def _bits(objects: Objects, cameras: np.ndarray) -> np.ndarray:
    mask = (cameras * (1 << np.arange(len(CAMERAS)))).sum(1)
    return np.left_shift(mask, len(CAMERAS) * (objects.types.astype(np.int64) - 1))


CAMERA = Breakdown(
    tuple(f"CAMERA_{name}_{camera.replace('_', '-')}" for name in TYPES[1:] for camera in CAMERAS),
    by_view,
    by_best_camera,
)

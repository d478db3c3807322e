"""Checks of an info file before anything trains on it."""

from pathlib import Path
from typing import Any

from bevkd.errors import DataError

from .checks.boxes import Boxes
from .checks.columns import InfoFile, require
from .checks.header import check_header
from .checks.images import check_images
from .checks.lidar import check_key_frames, check_sweeps
from .checks.poses import check_pose
from .constants import CAMERAS, CLASSES, REGENERATE
from .conventions import check_box_convention

__all__ = ["check_infos", "check_pose", "validate_infos"]

_SAMPLE_KEYS = ("sample_idx", "token", "timestamp", "ego2global", "lidar_points")


def validate_infos(
    infos: Any, path: str | Path = "infos", cameras: tuple[str, ...] = CAMERAS, points: bool = True
) -> None:
    """Refuse an info file that is not nuScenes in mmdet3d's v1.1 schema, sound in every number that training reads.

    Checked: what the head says; the keys; units of times, boxes, velocities and translations; sweeps, each listed once,
    newest first; rigid poses that are the right way round and agree with each other; cameras that can be real; boxes
    with finite centres, positive sizes and known labels; and, from the data, the box convention
    (:func:`bevkd.datasets.conventions.check_box_convention`). What is a matter of a whole file is judged on at most 256
    samples of it.

    Args:
        infos: What the info file holds: ``{'metainfo': ..., 'data_list': [...]}``.
        path: Named in the error.
        cameras: Cameras that every sample must have; others are not looked at.
        points: Whether every sample must name a point file.

    Raises:
        DataError: naming the file, the sample's token and the field.
    """
    boxes = check_infos(infos, path, cameras, CLASSES, REGENERATE, points=points)
    check_box_convention(boxes.boxes, boxes.labels, boxes.velocities, path)


def check_infos(
    infos: Any,
    path: str | Path,
    cameras: tuple[str, ...],
    classes: tuple[str, ...],
    regenerate: str,
    *,
    dataset: str = "nuscenes",
    second: float = 1.0,
    points: bool = True,
) -> Boxes:
    """The checks of :func:`validate_infos` that hold for every data set: all of them but the box convention.

    Args:
        classes: Names by label.
        regenerate: How to make the file again, for the error.
        dataset: Whose file is expected.
        second: What the file's times count in a second.

    Raises:
        DataError: see :func:`validate_infos`.
    """
    check_header(infos, path, dataset, classes, regenerate)
    file = InfoFile(path, infos["data_list"])
    tokens: set[str] = set()
    for index, info in enumerate(file.samples):
        require(info, _SAMPLE_KEYS, f"{path}: data_list[{index}]")
        if info["token"] in tokens:
            raise DataError(f"{path}: sample {info['token']} occurs twice")
        tokens.add(info["token"])
    key = check_key_frames(file, points, second)
    check_sweeps(file, key)
    boxes = Boxes(file)
    boxes.check(classes)
    check_images(file, cameras, key, boxes)
    return boxes

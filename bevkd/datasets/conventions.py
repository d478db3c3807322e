"""Recognising boxes written in the convention that mmdet3d had before 1.0."""

from pathlib import Path

import numpy as np

from bevkd.errors import DataError

from .constants import REGENERATE

_LONG = (0, 1, 2, 3, 5, 6)  # car, truck, trailer, bus, bicycle, motorcycle: longer than wide in every data set
_VEHICLES = (0, 1, 2, 3)  # driven forwards, so their heading follows their velocity
_MOVING = 2.0  # m/s; below this the annotated velocity's direction is noise
_ENOUGH = 3


def check_box_convention(boxes: np.ndarray, labels: np.ndarray, velocities: np.ndarray, path: str | Path) -> None:
    """Refuse boxes whose sizes or yaw follow mmdet3d before 1.0, judged from the data alone.

    Expected (mmdet3d >= 1.0): sizes (length along the heading, width, height), yaw counter-clockwise from +x.
    Before 1.0: sizes (width, length, height) and yaw' = -yaw - pi/2. A detector trained on them has a low loss and
    wrong scores: mAOE near 1.57 (pi/2) for the yaw, mASE near 0.7 for the sizes.

    Two tests, each by majority: long classes must be longer than wide, and moving vehicles must head along their
    velocity. A file with fewer than three such boxes passes that test.

    Args:
        boxes: ``[M, 7]`` x, y, z, dx, dy, dz, yaw; metres and radians, LiDAR frame.
        labels: ``[M]`` class labels, -1 ignored.
        velocities: ``[M, 2]`` m/s in the LiDAR frame, NaN where unknown.

    Raises:
        DataError: saying which half of the convention is wrong and what it does to scores.
    """
    swapped = _sizes_swapped(boxes, labels)
    turned = _yaw_turned(boxes, labels, velocities)
    if not (swapped or turned):
        return
    parts = []
    if swapped:
        parts.append("sizes are (width, length, height) instead of (length, width, height), which costs mASE near 0.7")
    if turned:
        parts.append("yaw stands across the direction of driving as in yaw' = -yaw - pi/2, which costs mAOE near 1.57")
    raise DataError(f"{path}: boxes follow the convention of mmdet3d before 1.0: {'; '.join(parts)}; {REGENERATE}")


def _sizes_swapped(boxes: np.ndarray, labels: np.ndarray) -> bool:
    long = np.isin(labels, _LONG)
    wider = boxes[long, 4] > boxes[long, 3]
    return len(wider) >= _ENOUGH and bool(wider.mean() > 0.5)


def _yaw_turned(boxes: np.ndarray, labels: np.ndarray, velocities: np.ndarray) -> bool:
    speed = np.linalg.norm(velocities, axis=1)
    moving = np.isin(labels, _VEHICLES) & (np.nan_to_num(speed) > _MOVING)
    yaw = boxes[moving, 6]
    along = (np.cos(yaw) * velocities[moving, 0] + np.sin(yaw) * velocities[moving, 1]) / speed[moving]
    # |cos| below 1/sqrt(2): nearer to across than to along; reversing counts as along
    across = np.abs(along) < np.sqrt(0.5)
    return len(across) >= _ENOUGH and bool(across.mean() > 0.5)

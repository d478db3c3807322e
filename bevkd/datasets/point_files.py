"""Point files without a head: rows of float32, of which only the number of columns tells what they mean."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from bevkd.errors import DataError

from .constants import POINT_FEATURES

_FAR = 1000.0  # metres; no automotive LiDAR returns come from there, but misread bytes do
_BAD_FRACTION = 0.1
_FLAT = 5.0  # metres of standard deviation that heights of a street scene stay below
_WIDTHS = (4, 5, 6, 7, 8)
_SAMPLE = 1024


def count_points(path: str | Path, features: int = POINT_FEATURES) -> int:
    """How many points a file holds, by its size.

    Raises:
        DataError: no whole positive number of points. FileNotFoundError: no such file.
    """
    return _whole_points(path, Path(path).stat().st_size, features)


def read_points(path: str | Path, num_points: int | None = None, features: int = POINT_FEATURES) -> np.ndarray:
    """Points ``[N, features]`` float32 of a file such as nuScenes' ``.pcd.bin`` (x, y, z, intensity, ring).

    Args:
        num_points: How many the file should hold, where the info file says so.
        features: Numbers per point, of which the first three are x, y, z.

    Raises:
        DataError: missing or empty file, a size that is no whole number of points, another number of points than
            ``num_points``, or values that show another format: float64 read as float32, or rows of another length.
    """
    try:
        raw = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a LiDAR sweep") from None
    count = _whole_points(path, raw.size, features)
    if num_points is not None and count != num_points:
        raise DataError(
            f"{path}: {count} points, but the info file says {num_points} (num_points, {features} numbers each); the "
            "sweep was changed"
        )
    points = raw.view(np.float32).reshape(-1, features)
    _check_columns(path, points)
    if np.abs(points[:, :3]).max() < _FAR:  # the usual case, at a third of the price; False for NaN
        return points
    bad = int((~(np.abs(points[:, :3]) < _FAR)).any(axis=1).sum())
    if bad > _BAD_FRACTION * len(points):
        raise DataError(
            f"{path}: {bad} of {len(points)} points are not finite or beyond {_FAR:.0f} m; expected float32 metres"
        )
    return points


def read_record(record: dict[str, Any], features: int = POINT_FEATURES) -> np.ndarray:
    """The points ``[N, num_pts_feats]`` of a ``lidar_points`` record, as it describes them.

    Args:
        features: numbers per point where the record does not say.

    Raises:
        DataError: see :func:`read_points`.
    """
    return read_points(record["lidar_path"], record.get("num_points"), record.get("num_pts_feats", features))


def _whole_points(path: str | Path, size: int, features: int) -> int:
    """``size`` bytes in points.

    Raises:
        DataError: no whole positive number.
    """
    if not size:
        raise DataError(f"{path}: 0 bytes; expected points of {features} float32 values")
    if size % (4 * features):
        raise DataError(
            f"{path}: {size} bytes is not a multiple of {4 * features} (num_pts_feats {features}); the sweep is "
            "truncated, not float32 or has another number of columns"
        )
    return size // (4 * features)


def _check_columns(path: str | Path, points: np.ndarray) -> None:
    """Refuse rows of a wrong length: their third column is a mixture of all, which no height is.

    Of a street the heights vary by few metres. Where they do not, other lengths that fit the size are tried: the right
    one has the flattest third column by far.
    """
    spread = _height_spread(points)
    if not spread > _FLAT:  # also where it is NaN
        return
    values = points.ravel()
    others = {
        width: _height_spread(values.reshape(-1, width))
        for width in _WIDTHS
        if width != points.shape[1] and len(values) % width == 0
    }
    flat = min(others.values(), default=np.inf)
    likely = next((width for width, height in others.items() if height <= 1.5 * flat and 3 * height < spread), None)
    if likely is not None:
        raise DataError(
            f"{path}: its points look like {likely} numbers each, expected {points.shape[1]} (num_pts_feats in the "
            "info file, 5 where it says nothing)"
        )


def _height_spread(points: np.ndarray) -> float:
    step = max(1, len(points) // _SAMPLE)
    while math.gcd(step, math.lcm(*_WIDTHS)) > 1:  # else every row that is looked at may be shifted alike
        step += 1
    with np.errstate(over="ignore", invalid="ignore"):
        return float(points[::step, 2].std())

"""Loading of LiDAR key frames and earlier sweeps into one cloud in the key frame's LiDAR frame."""

from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARPoints
from mmengine.logging import print_log

from bevkd.errors import DataError

_FAR = 1000.0  # metres; no automotive LiDAR returns come from there, but misread bytes do
_BAD_FRACTION = 0.1


def read_points(path: str | Path, num_points: int | None = None, features: int = 5) -> np.ndarray:
    """Points ``[N, features]`` float32 of a file without a head, such as nuScenes' ``.pcd.bin`` (x, y, z, intensity,
    ring).

    Args:
        num_points: How many the file should hold, where the info file says so.
        features: Numbers per point, of which the first three are x, y, z.

    Raises:
        DataError: missing or empty file, a size that is no whole number of points, another number of points than
            ``num_points``, or values that show another format (for example float64 read as float32).
    """
    try:
        raw = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a LiDAR sweep") from None
    if not raw.size:
        raise DataError(f"{path}: 0 bytes; expected points of {features} float32 values")
    if raw.size % (4 * features):
        raise DataError(
            f"{path}: {raw.size} bytes is not a multiple of {4 * features}; the sweep is truncated or not float32"
        )
    points = raw.view(np.float32).reshape(-1, features)
    if num_points is not None and len(points) != num_points:
        raise DataError(f"{path}: {len(points)} points, but the info file says {num_points}; the sweep was changed")
    if np.abs(points[:, :3]).max() < _FAR:  # the usual case, at a third of the price; False for NaN
        return points
    bad = int((~(np.abs(points[:, :3]) < _FAR)).any(axis=1).sum())
    if bad > _BAD_FRACTION * len(points):
        raise DataError(
            f"{path}: {bad} of {len(points)} points are not finite or beyond {_FAR:.0f} m; expected float32 metres"
        )
    return points


def drop_bad_points(points: np.ndarray) -> tuple[np.ndarray, int]:
    """Points without those of which one of the first four values is not finite, and the number of these."""
    if np.isfinite(points[:, :4].sum()):  # one value that is not finite makes the sum so
        return points, 0
    finite = np.isfinite(points[:, :4]).all(axis=1)
    return points[finite], len(points) - int(finite.sum())


@TRANSFORMS.register_module()
class LoadSweeps(BaseTransform):
    """The key frame and up to ``sweeps`` earlier ones, motion compensated, as ``results['points']`` ``[N, 5]``.

    Columns: x, y, z in metres in the key frame's LiDAR frame, intensity as stored (nuScenes: 0 to 255), and the time
    lag in seconds (0 for the key frame, positive for earlier sweeps). The ring number is dropped.

    A sweep is moved with the inverse of the info file's ``lidar2sensor`` (key LiDAR frame to sweep LiDAR frame), the
    exact inverse: mmdet3d's ``LoadPointsFromMultiSweeps`` rotates but subtracts the translation in the sweep's axes.

    Points with a value that is not finite are dropped; their number is ``results['num_dropped_points']``, and the
    first file with such points is named in the log.

    Args:
        sweeps: Earlier sweeps to add; fewer are used where the scene has just begun.
        remove_close: Points with both ``|x|`` and ``|y|`` below this (metres, in the sensor's own frame) are returns
            from the ego vehicle and are removed, as nuscenes-devkit does. 0 keeps them.

    Raises:
        DataError: see :func:`read_points`; also for a sweep newer than the key frame.
    """

    _warned = False

    def __init__(self, sweeps: int = 0, remove_close: float = 1.0) -> None:
        self.sweeps = sweeps
        self.remove_close = remove_close

    def transform(self, results: dict) -> dict:
        dropped = 0
        clouds = []
        frames = [(results["lidar_points"], 0.0)]
        for sweep in results.get("lidar_sweeps", [])[: self.sweeps]:
            lag = results["timestamp"] - sweep["timestamp"]
            if lag < 0:
                path = sweep["lidar_points"]["lidar_path"]
                raise DataError(f"{path}: sweep is {-lag:.3f} s newer than its key frame")
            frames.append((sweep["lidar_points"], lag))
        for record, lag in frames:
            points, bad = self._load(record)
            points[:, 4] = lag
            clouds.append(points)
            dropped += bad
        cloud = clouds[0] if len(clouds) == 1 else np.concatenate(clouds)
        results["points"] = LiDARPoints(torch.from_numpy(cloud), points_dim=5)
        results["num_dropped_points"] = dropped
        return results

    def _load(self, record: dict) -> tuple[np.ndarray, int]:
        """One sweep in the key frame's LiDAR frame, and how many of its points were not finite."""
        path = record["lidar_path"]
        points, bad = drop_bad_points(read_points(path, record.get("num_points")))
        if bad and not LoadSweeps._warned:
            LoadSweeps._warned = True
            print_log(f"{path}: dropped {bad} points that are not finite (later files are not named)", "current", 30)
        if self.remove_close > 0:
            away = np.abs(points[:, 0]) >= self.remove_close
            points = points[away | (np.abs(points[:, 1]) >= self.remove_close)]
        if "lidar2sensor" in record:
            key_to_sweep = np.asarray(record["lidar2sensor"], dtype=np.float64)
            sweep_to_key = np.linalg.inv(key_to_sweep)
            points[:, :3] = points[:, :3] @ sweep_to_key[:3, :3].T + sweep_to_key[:3, 3]
        return points, bad


@TRANSFORMS.register_module()
class LoadWaymoPoints(BaseTransform):
    """A Waymo frame's points as ``results['points']`` ``[N, 5]``: x, y, z (metres), tanh(intensity), elongation.

    Intensity has a long tail in Waymo's data; its hyperbolic tangent, as in mmdet3d's recipes, lies in [0, 1).
    Points with a value that is not finite are dropped; their number is ``results['num_dropped_points']``.

    Args:
        no_label_zones: keep points where nothing is labelled; without them a detector never sees such places. Waymo
            marks such a point 1 and every other -1; 0 counts as not marked.

    Raises:
        DataError: see :func:`read_points`; for ``no_label_zones=False`` also a sixth column that is no such mark.
    """

    def __init__(self, no_label_zones: bool = True) -> None:
        self.no_label_zones = no_label_zones

    def transform(self, results: dict) -> dict:
        record = results["lidar_points"]
        points = read_points(record["lidar_path"], record.get("num_points"), record["num_pts_feats"])
        points, results["num_dropped_points"] = drop_bad_points(points)
        if not self.no_label_zones:
            points = points[_mark_of_zones(points, record["lidar_path"]) <= 0]
        cloud = points[:, :5].copy()
        np.tanh(cloud[:, 3], out=cloud[:, 3])
        results["points"] = LiDARPoints(torch.from_numpy(cloud), points_dim=5)
        return results


def _mark_of_zones(points: np.ndarray, path: str | Path) -> np.ndarray:
    """``[N]`` the column ``in_no_label_zone``. Files of other converters may hold times or nothing in its place."""
    if points.shape[1] < 6:
        raise DataError(f"{path}: {points.shape[1]} numbers a point, expected 6 with in_no_label_zone as the last")
    mark = points[:, 5]
    if not (np.abs(mark) <= 1).all():  # False for NaN
        bad = mark[~(np.abs(mark) <= 1)][0]
        raise DataError(f"{path}: in_no_label_zone is {bad:g}, expected 1 (in a no-label zone), -1 or 0 (not in one)")
    return mark

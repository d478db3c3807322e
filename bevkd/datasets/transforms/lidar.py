"""Loading of LiDAR key frames and earlier sweeps into one cloud in the key frame's LiDAR frame."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARPoints
from mmengine.logging import print_log

from bevkd.datasets.constants import POINT_FEATURES
from bevkd.datasets.point_files import read_record
from bevkd.errors import DataError

_WAYMO_FEATURES = 6


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
    lag in seconds (0 for the key frame, positive for earlier sweeps). The ring number is dropped. A file has as many
    columns as its record's ``num_pts_feats`` says, else as the key frame's does, else five; four are the fewest.

    A sweep is moved with the inverse of the info file's ``lidar2sensor`` (key LiDAR frame to sweep LiDAR frame), the
    exact inverse: mmdet3d's ``LoadPointsFromMultiSweeps`` rotates but subtracts the translation in the sweep's axes.

    Points with a value that is not finite are dropped; their number is ``results['num_dropped_points']``, and the
    first file with such points is named in the log.

    Args:
        sweeps: Earlier sweeps to add; fewer are used where the scene has just begun.
        remove_close: Points with both ``|x|`` and ``|y|`` below this (metres, in the sensor's own frame) are returns
            from the ego vehicle and are removed, as nuscenes-devkit does. 0 keeps them.

    Raises:
        DataError: see :func:`bevkd.datasets.point_files.read_points`; also for points without an intensity, and a
            sweep newer than the key frame.
    """

    _warned = False

    def __init__(self, sweeps: int = 0, remove_close: float = 1.0) -> None:
        self.sweeps = sweeps
        self.remove_close = remove_close

    def transform(self, results: dict) -> dict:
        dropped = 0
        clouds = []
        features = results["lidar_points"].get("num_pts_feats", POINT_FEATURES)
        frames = [(results["lidar_points"], 0.0)]
        for sweep in results.get("lidar_sweeps", [])[: self.sweeps]:
            lag = results["timestamp"] - sweep["timestamp"]
            if lag < 0:
                path = sweep["lidar_points"]["lidar_path"]
                raise DataError(f"{path}: sweep is {-lag:.3f} s newer than its key frame")
            frames.append((sweep["lidar_points"], lag))
        for record, lag in frames:
            points, bad = self._load(record, features, lag)
            clouds.append(points)
            dropped += bad
        cloud = clouds[0] if len(clouds) == 1 else np.concatenate(clouds)
        results["points"] = LiDARPoints(torch.from_numpy(cloud), points_dim=5)
        results["num_dropped_points"] = dropped
        return results

    def _load(self, record: dict, features: int, lag: float) -> tuple[np.ndarray, int]:
        """One sweep in the key frame's LiDAR frame with its lag, and how many of its points were not finite."""
        path = record["lidar_path"]
        stored = read_record(record, features)
        if stored.shape[1] < 4:
            raise DataError(f"{path}: num_pts_feats is {stored.shape[1]}, expected 4 or more (x, y, z, intensity)")
        points, bad = drop_bad_points(stored)
        if points.shape[1] != 5:
            points = np.pad(points[:, :4], ((0, 0), (0, 1)))
        points[:, 4] = lag
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
        DataError: see :func:`bevkd.datasets.point_files.read_points`; also for fewer columns than it needs, and for
            ``no_label_zones=False`` a sixth column that is no such mark.
    """

    def __init__(self, no_label_zones: bool = True) -> None:
        self.no_label_zones = no_label_zones

    def transform(self, results: dict) -> dict:
        record = results["lidar_points"]
        points = read_record(record, _WAYMO_FEATURES)
        needed = 5 if self.no_label_zones else _WAYMO_FEATURES
        if points.shape[1] < needed:
            raise DataError(
                f"{record['lidar_path']}: num_pts_feats is {points.shape[1]}, expected {needed} or more (x, y, z, "
                "intensity, elongation, in a no-label zone)"
            )
        points, results["num_dropped_points"] = drop_bad_points(points)
        if not self.no_label_zones:
            points = points[_mark_of_zones(points, record["lidar_path"]) <= 0]
        cloud = points[:, :5].copy()
        np.tanh(cloud[:, 3], out=cloud[:, 3])
        results["points"] = LiDARPoints(torch.from_numpy(cloud), points_dim=5)
        return results


def _mark_of_zones(points: np.ndarray, path: str) -> np.ndarray:
    """``[N]`` the column ``in_no_label_zone``. Files of other converters may hold times or nothing in its place."""
    mark = points[:, 5]
    if not (np.abs(mark) <= 1).all():  # False for NaN
        bad = mark[~(np.abs(mark) <= 1)][0]
        raise DataError(f"{path}: in_no_label_zone is {bad:g}, expected 1 (in a no-label zone), -1 or 0 (not in one)")
    return mark

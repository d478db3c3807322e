"""Are the key frames and sweeps of an info file complete, in time, in place and in agreement with each other?"""

from dataclasses import dataclass

import numpy as np

from bevkd.errors import DataError

from .columns import Column, InfoFile, require
from .poses import check_agreement, check_rigid, check_sweep_reach, check_vehicle, inverse, spread
from .times import check_lags, check_order, check_times

_FEATURES = (3, 64)  # numbers that a point may have


@dataclass(frozen=True)
class KeyFrames:
    """The key frames of a file: ``times`` as stored, ``second`` what it counts in one, ``ego2global`` and ``lidar2ego``
    ``[S, 4, 4]``."""

    times: Column
    second: float
    ego2global: np.ndarray
    lidar2ego: np.ndarray

    @property
    def lidar2global(self) -> np.ndarray:
        """``[S, 4, 4]``."""
        return self.ego2global @ self.lidar2ego


def check_key_frames(file: InfoFile, points: bool, second: float) -> KeyFrames:
    """Check times, poses and what is said about point files.

    Args:
        points: whether every sample must name a point file.
        second: what the file counts in a second.

    Raises:
        DataError: naming sample and field.
    """
    times, ego, mounts = Column(file), Column(file), Column(file)
    keys = ("lidar_path", "lidar2ego") if points else ("lidar2ego",)
    for index, info in enumerate(file.samples):
        lidar = info["lidar_points"]
        require(lidar, keys, file.where(index, "lidar_points"))
        _check_counts(lidar, file, index, "lidar_points")
        times.add(index, "timestamp", info["timestamp"])
        ego.add(index, "ego2global", info["ego2global"])
        mounts.add(index, "lidar_points.lidar2ego", lidar["lidar2ego"])
    seconds = check_times(times, second)
    return KeyFrames(times, second, check_vehicle(ego, seconds), check_rigid(mounts, mount=True))


def check_sweeps(file: InfoFile, key: KeyFrames) -> None:
    """Check the times, order and poses of all sweeps, and the poses against the vehicle's where the file has them.

    Raises:
        DataError: naming sample and field.
    """
    times, poses, records = Column(file), Column(file), []
    for index, info in enumerate(file.samples):
        known = {info["lidar_points"].get("lidar_path")}
        for number, sweep in enumerate(info.get("lidar_sweeps") or ()):
            field = f"lidar_sweeps[{number}]"
            try:
                time, lidar = sweep["timestamp"], sweep["lidar_points"]
                path, pose = lidar["lidar_path"], lidar["lidar2sensor"]
            except (KeyError, TypeError):
                require(sweep, ("lidar_points", "timestamp"), file.where(index, field))
                require(
                    sweep["lidar_points"], ("lidar_path", "lidar2sensor"), file.where(index, f"{field}.lidar_points")
                )
                raise
            if path in known:
                raise DataError(f"{file.where(index, field)}: {path} is listed twice, expected each file once")
            known.add(path)
            _check_counts(lidar, file, index, f"{field}.lidar_points")
            times.add(index, f"{field}: timestamp", time)
            poses.add(index, f"{field}.lidar_points.lidar2sensor", pose)
            records.append(sweep)
    lags = check_lags(times, key.times, key.second)
    check_order(times, key.times, lags)
    check_sweep_reach(poses, lags)
    _check_against_vehicle(poses, records, key)


def _check_against_vehicle(poses: Column, records: list[dict], key: KeyFrames) -> None:
    """``lidar2sensor`` of sweeps, evenly spread over the file, against the poses of vehicle and sensor."""
    ego, mounts, rows = Column(poses.file), Column(poses.file), []
    for row in spread(len(records)):
        record, sample, field = records[row], int(poses.samples[row]), poses.fields[row].partition(".")[0]
        if "ego2global" in record and "lidar2ego" in record["lidar_points"]:
            ego.add(sample, f"{field}.ego2global", record["ego2global"])
            mounts.add(sample, f"{field}.lidar_points.lidar2ego", record["lidar_points"]["lidar2ego"])
            rows.append(row)
    sweep2global = check_rigid(ego) @ check_rigid(mounts, mount=True)
    # A file in float32 and map coordinates of thousands of kilometres is that coarse.
    slack = 1e-6 * np.abs(sweep2global[:, :3, 3]).max(axis=1, initial=0)
    others = inverse(key.lidar2global[poses.samples[rows]]) @ sweep2global
    formula = "inv(ego2global @ lidar2ego) of the sweep @ ego2global @ lidar2ego of the key frame"
    check_agreement(poses, np.array(rows, int), others, np.radians(1.0), 0.3 + slack, formula)


def _check_counts(record: dict, file: InfoFile, index: int, field: str) -> None:
    """``num_pts_feats`` and ``num_points``, where a record has them, are whole numbers that can be."""
    features, points = record.get("num_pts_feats", 5), record.get("num_points", 1)
    if type(features) is int and type(points) is int and points >= 0 and _FEATURES[0] <= features <= _FEATURES[1]:
        return
    where = file.where(index, field)
    for name, value, low, high in (("num_pts_feats", features, *_FEATURES), ("num_points", points, 0, np.inf)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not low <= value <= high:
            expected = f"a whole number from {low}" + ("" if high == np.inf else f" to {high}")
            raise DataError(f"{where}.{name} is {value!r}, expected {expected}")

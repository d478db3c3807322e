"""The labels of a segment: 3D boxes of the LiDARs and 2D boxes of the images, checked and grouped by frame."""

from pathlib import Path

import numpy as np

from bevkd.errors import DataError

from . import schema
from .frames import CameraBoxes, LidarBoxes
from .names import CAMERAS, DIFFICULTIES, TYPES
from .parquet import ComponentFile, segment_names

_BOX = (*(f"{part}.{axis}" for part in ("center", "size") for axis in "xyz"), "heading")
_FLAT_BOX = tuple(f"{part}.{axis}" for part in ("center", "size") for axis in "xy")
_DIFFICULTY = ("difficulty_level.detection", "difficulty_level.tracking")


class _Columns:
    """Columns of a file as checked arrays; sentences name the frame and the object."""

    def __init__(self, file: ComponentFile, object_key: str) -> None:
        self.file, self.ids = file, file.keys[object_key]
        self.columns = file.table(*file.component.columns)

    def numbers(self, names: tuple[str, ...], *, positive: str = "") -> np.ndarray:
        """``[rows, len(names)]`` float64, all finite; those whose name starts with ``positive`` above 0."""
        values = np.array([self.columns[name] for name in names], dtype=np.float64).reshape(len(names), -1)
        for name, column in zip(names, values):
            self._refuse(~np.isfinite(column), name, "a finite number")
            if positive and name.startswith(positive):
                self._refuse(column <= 0, name, "a size above 0")
        return values.T

    def optional(self, names: tuple[str, ...]) -> np.ndarray:
        """``[rows, len(names)]`` float64, NaN where null."""
        return np.array([self.columns[name] for name in names], dtype=np.float64).reshape(len(names), -1).T

    def choice(self, name: str, choices: tuple[int, ...], missing: int | None = None) -> np.ndarray:
        """``[rows]`` whole numbers out of ``choices``; null becomes ``missing``."""
        values = [missing if value is None else value for value in self.columns[name]]
        values = np.array(values, dtype=np.int64)
        self._refuse(~np.isin(values, choices), name, f"one of {', '.join(map(str, choices))}")
        return values

    def _refuse(self, bad: np.ndarray, name: str, expected: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"{self.file.path}: frame {self.file.timestamps[row]}, object {self.ids[row]}: "
                f"{self.file.component.column(name)} is {self.columns[name][row]}, expected {expected}"
            )


def read_lidar_boxes(root: Path, segment: str, timestamps: list[int]) -> dict[int, LidarBoxes]:
    """The 3D labels by frame; a frame without any has an entry of length 0.

    Raises:
        DataError: a number that is not finite, a size of 0, an unknown type or difficulty, or a label of a frame that
            is not in ``timestamps``; see also :class:`ComponentFile`.
    """
    file = ComponentFile(root, schema.LIDAR_BOX, segment)
    columns = _Columns(file, "laser_object_id")
    difficulty, tracking = (columns.choice(name, DIFFICULTIES, missing=0) for name in _DIFFICULTY)
    counts = columns.numbers(("num_lidar_points_in_box", "num_top_lidar_points_in_box")).astype(np.int64)
    synced, cameras = _synced(root, segment, file)
    everything = (
        columns.ids,
        columns.numbers(tuple(f"box.{name}" for name in _BOX), positive="box.size"),
        columns.choice("type", tuple(TYPES)),
        counts[:, 0],
        counts[:, 1],
        difficulty,
        tracking,
        columns.optional(("speed.x", "speed.y", "speed.z")),
        columns.optional(("acceleration.x", "acceleration.y", "acceleration.z")),
        synced,
        cameras,
    )
    rows = _by_frame(file, timestamps)
    return {timestamp: LidarBoxes(*(column[mine] for column in everything)) for timestamp, mine in rows.items()}


def _synced(root: Path, segment: str, labels: ComponentFile) -> tuple[np.ndarray, np.ndarray]:
    """Camera-synchronised boxes ``[M, 7]`` and cameras ``[M]`` in the rows of ``labels``; the component may lack."""
    boxes, cameras = np.full((len(labels.timestamps), 7), np.nan), np.zeros(len(labels.timestamps), np.int64)
    if not segment_names(Path(root) / schema.LIDAR_CAMERA_SYNCED_BOX.name):
        return boxes, cameras
    file = ComponentFile(root, schema.LIDAR_CAMERA_SYNCED_BOX, segment)
    columns = _Columns(file, "laser_object_id")
    found = columns.numbers(tuple(f"camera_synced_box.{name}" for name in _BOX), positive="camera_synced_box.size")
    seen_by = columns.choice("most_visible_camera_name", tuple(CAMERAS))
    row_of = {key: row for row, key in enumerate(zip(labels.timestamps.tolist(), labels.keys["laser_object_id"]))}
    for row, key in enumerate(zip(file.timestamps.tolist(), columns.ids)):
        if key not in row_of:
            raise DataError(f"{file.path}: frame {key[0]}, object {key[1]} has no label in {labels.path}")
        boxes[row_of[key]], cameras[row_of[key]] = found[row], seen_by[row]
    return boxes, cameras


def read_camera_boxes(root: Path, segment: str, timestamps: list[int]) -> dict[int, dict[int, CameraBoxes]]:
    """The 2D labels by frame and camera; images without any are left out.

    Raises:
        DataError: see :func:`read_lidar_boxes`.
    """
    file = ComponentFile(root, schema.CAMERA_BOX, segment)
    columns = _Columns(file, "camera_object_id")
    everything = (
        columns.ids,
        columns.numbers(tuple(f"box.{name}" for name in _FLAT_BOX), positive="box.size"),
        columns.choice("type", tuple(TYPES)),
        *(columns.choice(name, DIFFICULTIES, missing=0) for name in _DIFFICULTY),
    )
    cameras = file.keys["camera_name"]
    if len(cameras) and (unknown := sorted(set(cameras.tolist()) - set(CAMERAS))):
        raise DataError(f"{file.path}: {schema.CAMERA} is {unknown[0]}, expected one of {sorted(CAMERAS)}")
    return {
        timestamp: {
            int(camera): CameraBoxes(*(column[mine[cameras[mine] == camera]] for column in everything))
            for camera in np.unique(cameras[mine])
        }
        for timestamp, mine in _by_frame(file, timestamps).items()
    }


def _by_frame(file: ComponentFile, timestamps: list[int]) -> dict[int, np.ndarray]:
    """Row numbers of each frame."""
    rows: dict[int, list[int]] = {timestamp: [] for timestamp in timestamps}
    for row, timestamp in enumerate(file.timestamps.tolist()):
        if timestamp not in rows:
            raise DataError(f"{file.path}: {schema.TIMESTAMP} {timestamp} is no frame of component vehicle_pose")
        rows[timestamp].append(row)
    return {timestamp: np.array(mine, dtype=np.int64) for timestamp, mine in rows.items()}

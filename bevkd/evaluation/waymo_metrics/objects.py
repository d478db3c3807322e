"""Labelled or predicted boxes of many frames as columns, read from and written to Waymo's ``Objects`` files."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bevkd.errors import DataError

from .checks import BOX_FIELDS, check_columns, refuse_repeated_frames
from .messages import message, read_chunks

_FEW_POINTS = 5  # a box with at most so many LiDAR points is LEVEL_2 where no one graded it


class FrameKey(NamedTuple):
    """What names a frame: the segment, the camera (0 for a LiDAR frame) and the time in microseconds."""

    context: str
    camera: int
    timestamp: int

    def order(self) -> tuple[str, int]:
        """Frames sort as in the official tool; single-precision sums depend on it."""
        return f"{self.context}_{self.camera}", self.timestamp

    def __str__(self) -> str:
        camera = f" camera {self.camera}" if self.camera else ""
        return f"frame {self.context or '(no context_name)'}{camera} at {self.timestamp}"


@dataclasses.dataclass
class Objects:
    """N boxes, a row each. ``source`` names the file or array in errors.

    Attributes:
        boxes: [N, 7] float64: x, y, z of the centre, length, width, height (m), heading (rad), in the vehicle frame.
        types: [N] uint8: 1 vehicle, 2 pedestrian, 3 sign, 4 cyclist.
        frames: [N] int64: rows of ``keys``.
        keys: F different frames; one may be without any box.
        scores: [N] float32 in [0, 1].
        difficulties: [N] uint8: 1, 2, or 0 where no one graded the box.
        points: [N] int64 LiDAR points in the box, or None where that is not known.
        excused: [N] bool: overlaps a no-label zone.
        cameras: [N] uint8: the camera that sees the box best, from 1; 0 for none; None where that is not known.
    """

    boxes: np.ndarray
    types: np.ndarray
    frames: np.ndarray
    keys: Sequence[FrameKey]
    scores: np.ndarray
    difficulties: np.ndarray
    points: np.ndarray | None
    excused: np.ndarray
    source: str
    cameras: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def from_arrays(
        cls,
        boxes: np.ndarray,
        types: np.ndarray,
        frames: np.ndarray,
        scores: np.ndarray | None = None,
        difficulties: np.ndarray | None = None,
        points: np.ndarray | None = None,
        excused: np.ndarray | None = None,
        keys: Sequence[FrameKey] | None = None,
        source: str = "objects",
    ) -> Objects:
        """Columns from arrays, checked. ``frames`` are any integers, or rows of ``keys`` where these are given.

        Raises:
            DataError: a column of another length, a key that is there twice, an unknown type or difficulty, a number
                that is not finite, a negative size, a score outside [0, 1].
        """
        boxes = np.asarray(boxes, dtype=np.float64)
        boxes = boxes.reshape(0, 7) if boxes.size == 0 else boxes
        count = len(boxes)
        if boxes.ndim != 2 or boxes.shape[1] != 7:
            raise DataError(f"{source}: boxes have shape {boxes.shape}, expected [N, 7]")
        frames = np.asarray(frames, dtype=np.int64)
        if keys is None:
            numbers, frames = np.unique(frames, return_inverse=True)
            keys = [FrameKey("", 0, int(number)) for number in numbers]
        objects = cls(
            boxes=boxes,
            types=_integers(types),
            frames=frames,
            keys=keys,
            scores=np.ones(count, np.float32) if scores is None else np.asarray(scores, dtype=np.float32),
            difficulties=np.zeros(count, np.uint8) if difficulties is None else _integers(difficulties),
            points=None if points is None else _integers(points),
            excused=np.zeros(count, bool) if excused is None else np.asarray(excused, dtype=bool),
            source=source,
        )
        check_columns(objects)
        objects.types, objects.difficulties = objects.types.astype(np.uint8), objects.difficulties.astype(np.uint8)
        return objects

    def rows(self, chosen: np.ndarray) -> Objects:
        """The objects at ``chosen`` (indices or a mask), with all keys."""
        columns = {
            field.name: getattr(self, field.name)[chosen]
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        return dataclasses.replace(self, **columns)

    def name(self, row: int) -> str:
        """Object ``row`` for an error's sentence."""
        return f"{self.source}: object {row} ({self.keys[self.frames[row]]})"


def _integers(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    whole = values.dtype.kind == "f" and (np.isfinite(values) & (values == np.round(values))).all()
    return values.astype(np.int64) if whole else values


def read_objects(path: str | Path, numbers: Callable[[Any], tuple] | None = None) -> Objects:
    """An ``Objects`` file as columns, in bounded memory: some 130 bytes an object.

    Args:
        numbers: What is taken of an ``Object`` message: the box, score, type, difficulty, points, whether it overlaps a
            no-label zone, camera. By default the LiDAR's box and points, and no camera.

    Raises:
        DataError: see :func:`bevkd.evaluation.waymo_metrics.messages.read_chunks` and :meth:`Objects.from_arrays`.
    """
    tables: list[np.ndarray] = []
    frames: list[np.ndarray] = []
    rows_of: dict[tuple[str, int, int], int] = {}
    numbers = numbers or _numbers
    for chunk in read_chunks(path):
        entries = chunk.objects
        tables.append(np.array([numbers(entry) for entry in entries], dtype=np.float64).reshape(-1, 13))
        keys = [(entry.context_name, entry.camera_name, entry.frame_timestamp_micros) for entry in entries]
        frames.append(np.fromiter((rows_of.setdefault(key, len(rows_of)) for key in keys), np.int64, len(keys)))
    table = np.concatenate(tables) if tables else np.empty((0, 13))
    objects = Objects.from_arrays(
        boxes=np.ascontiguousarray(table[:, :7]), types=table[:, 8].astype(np.int64),
        frames=np.concatenate(frames) if frames else np.empty(0, np.int64), scores=table[:, 7],
        difficulties=table[:, 9].astype(np.int64), points=table[:, 10].astype(np.int64), excused=table[:, 11] != 0,
        keys=[FrameKey(*key) for key in rows_of], source=str(path),
    )  # fmt: skip
    refuse_repeated_frames(objects)
    objects.cameras = table[:, 12].astype(np.uint8)
    return objects


def _numbers(entry) -> tuple:
    label = entry.object
    return (
        *box_numbers(label.box), entry.score, label.type, label.detection_difficulty_level,
        label.num_lidar_points_in_box, entry.overlap_with_nlz, 0,
    )  # fmt: skip


def box_numbers(box: Any) -> tuple:
    return (box.center_x, box.center_y, box.center_z, box.length, box.width, box.height, box.heading)


def graded(truth: Objects) -> Objects:
    """Ground truth as it is scored: boxes without a LiDAR point dropped, a level for each one that has none.

    Raises:
        DataError: a box without a level and without a number of points.
    """
    if truth.points is None:
        ungraded = np.flatnonzero(truth.difficulties == 0)
        if len(ungraded):
            raise DataError(
                f"{truth.name(ungraded[0])}: difficulty is 0 (not graded) and the number of LiDAR points is not known,"
                " expected one of them"
            )
        return truth
    truth = truth.rows(truth.points > 0)
    by_points = np.where(truth.points <= _FEW_POINTS, 2, 1).astype(np.uint8)
    return dataclasses.replace(truth, difficulties=np.where(truth.difficulties == 0, by_points, truth.difficulties))


def write_chunks(objects: Objects, ids: Iterable[str] | None = None) -> Iterator[bytes]:
    """``Objects`` messages in bytes; joined they are one ``Objects`` file.

    Args:
        ids: [N] Waymo's object ids; left out when None.
    """
    labels = itertools.repeat(None) if ids is None else iter(ids)
    for begin in range(0, len(objects), 4096):
        part = objects.rows(slice(begin, begin + 4096))
        chunk = message("Objects")()
        points = itertools.repeat(None) if part.points is None else part.points.tolist()
        columns = (part.boxes, part.types, part.frames, part.scores, part.difficulties, part.excused)
        for (box, kind, frame, score, difficulty, excused), count in zip(zip(*(c.tolist() for c in columns)), points):
            entry = chunk.objects.add(score=score)
            entry.context_name, camera, entry.frame_timestamp_micros = objects.keys[frame]
            if camera:
                entry.camera_name = camera
            label = entry.object
            for field, value in zip(BOX_FIELDS, box):
                setattr(label.box, field, value)
            label.type = kind
            if difficulty:
                label.detection_difficulty_level = difficulty
            if count is not None:
                label.num_lidar_points_in_box = count
            if excused:
                entry.overlap_with_nlz = True
            if (name := next(labels)) is not None:
                label.id = name
        yield chunk.SerializeToString()

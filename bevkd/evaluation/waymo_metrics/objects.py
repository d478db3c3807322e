"""Labelled or predicted boxes of many frames as columns, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bevkd.errors import DataError

from .messages import BOX_FIELDS, LEVELS, TYPES

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
        _check_columns(objects)
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


def _check_columns(objects: Objects) -> None:
    """Refuse columns that do not fit together, see :meth:`Objects.from_arrays`."""
    for field in dataclasses.fields(objects):
        column = getattr(objects, field.name)
        if isinstance(column, np.ndarray) and len(column) != len(objects):
            raise DataError(f"{objects.source}: {field.name} number {len(column)}, expected {len(objects)} like boxes")
        if field.name in ("types", "difficulties", "points") and column is not None and column.dtype.kind not in "iu":
            raise DataError(f"{objects.source}: {field.name} are {column.dtype}, expected whole numbers")
    if len(objects) and not 0 <= objects.frames.min() <= objects.frames.max() < len(objects.keys):
        raise DataError(
            f"{objects.source}: frames go to {objects.frames.max()}, expected rows of {len(objects.keys)} keys"
        )
    seen: set[FrameKey] = set()
    for key in objects.keys:
        if key in seen:
            raise DataError(f"{objects.source}: {key} is among the keys twice, expected every frame once")
        seen.add(key)

    def refuse(wrong: np.ndarray, what: str, values: np.ndarray, expected: str) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            raise DataError(f"{objects.name(rows[0])}: {what} is {values[rows[0]]}, expected {expected}")

    known = ", ".join(f"{number} ({name})" for number, name in enumerate(TYPES) if number)
    refuse((objects.types < 1) | (objects.types >= len(TYPES)), "type", objects.types, known)
    refuse(
        (objects.difficulties < 0) | (objects.difficulties > len(LEVELS)), "difficulty", objects.difficulties,
        "1 (LEVEL_1), 2 (LEVEL_2) or 0 (not graded)",
    )  # fmt: skip
    for column, field in enumerate(BOX_FIELDS):
        values = objects.boxes[:, column]
        refuse(~np.isfinite(values), field, values, "a finite number")
        if column in (3, 4, 5):
            refuse(values < 0, field, values, "at least 0")
    refuse(~((objects.scores >= 0) & (objects.scores <= 1)), "score", objects.scores, "0 to 1")


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

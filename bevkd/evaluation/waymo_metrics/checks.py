"""What objects must be to be scored; everything else is refused in one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bevkd.errors import DataError

from .messages import TYPES

if TYPE_CHECKING:
    from .objects import FrameKey, Objects

BOX_FIELDS = ("center_x", "center_y", "center_z", "length", "width", "height", "heading")
LEVELS = ("LEVEL_1", "LEVEL_2")
_UNITS = {-6: "seconds", -3: "milliseconds", 3: "nanoseconds"}  # by power of ten against microseconds


def check_columns(objects: Objects) -> None:
    """Refuse columns that do not fit together, see :meth:`.objects.Objects.from_arrays`."""
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


def refuse_repeated_frames(objects: Objects) -> None:
    """Refuse a frame whose objects are all there twice: a file joined to itself, or one frame from two processes."""
    order = np.argsort(objects.frames, kind="stable")
    counts = np.bincount(objects.frames, minlength=len(objects.keys))
    starts = np.cumsum(counts) - counts
    halves = np.where(counts % 2 == 0, counts // 2, 0)
    total = int(halves.sum())
    frame = np.repeat(np.arange(len(counts)), halves)
    first = starts[frame] + np.arange(total) - np.repeat(np.cumsum(halves) - halves, halves)
    one, other = order[first], order[first + halves[frame]]
    same = (objects.boxes[one] == objects.boxes[other]).all(1)
    same &= (objects.types[one] == objects.types[other]) & (objects.scores[one] == objects.scores[other])
    differing = np.bincount(frame[~same], minlength=len(counts))
    repeated = np.flatnonzero((halves > 0) & (differing == 0))
    if len(repeated):
        raise DataError(
            f"{objects.source}: {objects.keys[repeated[0]]} is there twice, and so are {len(repeated) - 1} others;"
            " expected every frame once"
        )


def refuse_unknown_frames(predictions: Objects, truth: Objects) -> None:
    """Refuse a prediction in a frame that the ground truth does not name, and say when only the unit of time differs.

    Raises:
        DataError: naming the frame.
    """
    known = set(truth.keys)
    present = np.bincount(predictions.frames, minlength=len(predictions.keys)) > 0
    unknown = [key for key, here in zip(predictions.keys, present) if here and key not in known]
    if not unknown:
        return
    first = unknown[0]
    times = [key.timestamp for key in truth.keys if key.context == first.context]
    if not times:
        reason = f"which the ground truth {truth.source} does not hold"
    else:
        unit = _unit(first.timestamp, times)
        reason = f"in {unit}" if unit else f"a time that the ground truth {truth.source} does not hold"
    raise DataError(
        f"{predictions.source}: {len(unknown)} of {int(present.sum())} frames are unknown, the first is {first},"
        f" {reason}; expected frame_timestamp_micros of a labelled frame"
    )


def _unit(timestamp: int, known: Sequence[int]) -> str | None:
    """The unit in which ``timestamp`` lies among ``known`` microseconds (within a minute), when it is another one."""
    for power, unit in _UNITS.items():
        if min(abs(timestamp * 10.0**-power - time) for time in known) < 60e6:
            return unit
    return None

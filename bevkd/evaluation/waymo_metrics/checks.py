"""What objects must be to be scored; everything else is refused in one sentence."""

from __future__ import annotations

import dataclasses
import warnings
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
_PERIOD, _FRAMES = 100_000, 200  # us between frames, and frames in a segment, of the Waymo Open Dataset


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
    """Refuse predictions in frames that the ground truth does not name, unless these can be frames without any object.

    Files name no frame without objects. So a time in a known segment passes when it is no nearer to a labelled frame
    than half of what these are apart, and no farther from all of them than 200 frames, a segment's length.

    Raises:
        DataError: naming the first frame, and the unit where only the unit of time differs.
    """
    times: dict[tuple[str, int], list[int]] = {}
    for key in truth.keys:
        times.setdefault(key[:2], []).append(key.timestamp)
    known = set(truth.keys)
    present = np.bincount(predictions.frames, minlength=len(predictions.keys)) > 0
    new = [key for key, here in zip(predictions.keys, present) if here and key not in known]
    unknown = [key for key in new if not _may_be_empty(key.timestamp, times.get(key[:2], []))]
    if unknown:
        raise DataError(
            f"{predictions.source}: {len(unknown)} of {int(present.sum())} frames are unknown, the first is"
            f" {unknown[0]}, {_reason(unknown[0], times.get(unknown[0][:2], []), truth.source)}; expected"
            " frame_timestamp_micros of a labelled frame"
        )
    if new:
        warnings.warn(
            f"{predictions.source}: {len(new)} of {int(present.sum())} frames hold no ground truth, all predictions in"
            " them count as false alarms",
            stacklevel=3,
        )


def _may_be_empty(time: int, known: Sequence[int]) -> bool:
    if not known:
        return False
    apart = np.diff(np.sort(known))
    period = int(apart.min()) if len(apart) else _PERIOD
    distance = int(np.abs(np.array(known) - time).min())
    return period <= 2 * distance and distance <= _FRAMES * period


def _reason(key: FrameKey, known: Sequence[int], source: str) -> str:
    if not known:
        return f"which the ground truth {source} does not hold"
    for power, unit in _UNITS.items():
        if min(abs(key.timestamp * 10.0**-power - time) for time in known) < 60e6:
            return f"in {unit}"
    distance = min(abs(key.timestamp - time) for time in known)
    return f"{distance} us away from any frame of its segment in the ground truth {source}"

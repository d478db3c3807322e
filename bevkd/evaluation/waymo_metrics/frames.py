"""The frames of predictions against those of the ground truth."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from bevkd.errors import DataError

from .objects import FrameKey, Objects

_NAMED = 2000  # contexts among which the nearest is looked for
_UNITS = {-6: "seconds", -3: "milliseconds", 3: "nanoseconds"}  # by power of ten against microseconds
_PERIOD, _FRAMES = 100_000, 200  # us between frames, and frames in a segment, of the Waymo Open Dataset


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
            f" {unknown[0]}, {_reason(unknown[0], times, truth.source)}"
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


def _reason(key: FrameKey, times: Mapping[tuple[str, int], Sequence[int]], source: str) -> str:
    known = times.get(key[:2])
    if known is None:
        contexts = dict(times.keys())
        if key.context in contexts:
            return (
                f"with camera_name {key.camera}, where the ground truth {source} has {contexts[key.context]} (0: unset)"
            )
        (close,) = difflib.get_close_matches(key.context, list(contexts)[:_NAMED], n=1, cutoff=0.0) or ("none",)
        return f"which the ground truth {source} does not hold; expected one of its context_name, such as {close}"
    expected = "expected frame_timestamp_micros of a labelled frame"
    for power, unit in _UNITS.items():
        if min(abs(key.timestamp * 10.0**-power - time) for time in known) < 60e6:
            return f"in {unit}; {expected}"
    distance = min(abs(key.timestamp - time) for time in known)
    return f"{distance} us away from any frame of its segment in the ground truth {source}; {expected}"

"""Inputs whose scores cannot be right are refused, those whose scores are likely wrong are said.

Waymo's tools give a table of zeros for both. Nothing here changes a number. The cost is that of a few passes over the
columns; boxes are compared in ``_FRAMES_COMPARED`` frames only.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from bevkd.errors import DataError

from .messages import BOX_FIELDS, TYPES
from .objects import FrameKey, Objects

_FAR = 200.0  # metres; Waymo labels objects up to some 85 m from the vehicle
_MANY = 10  # objects below which chance explains what they have in common
_SIGN, _VEHICLE = 3, 1
_FRAMES_COMPARED = 200
_NEAR = 2.0  # metres between the centres of what is probably the same object
_FOUND = 0.1  # share of the objects below which predictions stand elsewhere
_OFF_Z = 0.5  # metres; a bottom taken for a middle is 0.7 m or more off
_OFF_SIZE = 2.0  # factor


def check_side(objects: Objects) -> None:
    """Look at predictions or ground truth on their own.

    Raises:
        DataError: no box has a volume, or all centres are farther from the vehicle than any sensor sees.
    """
    count = len(objects)
    if not count:
        return
    for column in (3, 4, 5):
        flat = int((objects.boxes[:, column] == 0).sum())
        what = f"{objects.source}: {BOX_FIELDS[column]} is 0"
        if flat == count:
            raise DataError(f"{what} in all {count} objects, so that none has a volume; expected metres")
        if flat:
            _say(f"{what} in {flat} of {count} objects, which overlap nothing")
    distance = np.hypot(objects.boxes[:, 0], objects.boxes[:, 1])
    far = int((distance > _FAR).sum())
    if far == count:
        raise DataError(
            f"{objects.source}: all {count} centres are {distance.min():.0f} m or more from the vehicle; expected"
            " center_x and center_y in metres in the vehicle frame"
        )
    if far:
        _say(f"{objects.source}: {far} of {count} centres are more than {_FAR:.0f} m from the vehicle")
    turned = np.abs(objects.boxes[:, 6])
    beyond = int((turned > 2 * np.pi + 1e-3).sum())
    if beyond > 0.01 * count:
        _say(
            f"{objects.source}: heading is beyond 2 pi in {beyond} of {count} objects, as far as {turned.max():.1f};"
            " expected radians"
        )


def check_predictions(predictions: Objects) -> None:
    """:func:`check_side`, and what only predictions have: scores and marks of no-label zones."""
    check_side(predictions)
    count, source = len(predictions), predictions.source
    if not count:
        _say(f"{source}: holds no object, every score is 0")
        return
    low, high = float(predictions.scores.min()), float(predictions.scores.max())
    if low == high and (count >= _MANY or high == 0):
        _say(f"{source}: score is {low:g} in all {count} predictions, so that nothing ranks them")
    if count >= _MANY and predictions.excused.all():
        _say(f"{source}: overlap_with_nlz is set in all {count} predictions, none can be a false alarm")


def check_sides(predictions: Objects, truth: Objects, points_field: str) -> None:
    """Look at both sides, see the module.

    Args:
        truth: As read, not yet graded.
        points_field: Where the number of LiDAR points comes from, for sentences.

    Raises:
        DataError: see :func:`check_side`; also sides that are exchanged, and ground truth of which no box has a
            LiDAR point.
    """
    _check_exchange(predictions, truth)
    counted = _check_points(truth, points_field)
    check_side(truth)
    check_predictions(predictions)
    if len(predictions):
        _check_types(predictions, counted)
        rows = np.flatnonzero(np.bincount(counted.frames, minlength=len(counted.keys)))
        say_missing_frames(predictions, [counted.keys[row] for row in rows], "labelled frames")
        _compare_boxes(predictions, counted)


def _say(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


def _check_exchange(predictions: Objects, truth: Objects) -> None:
    """Labels have no score, which reads as 1."""
    if len(truth) < _MANY or float(np.ptp(truth.scores)) == 0:
        return
    if len(predictions) >= _MANY and (predictions.scores == 1).all():
        raise DataError(
            f"{truth.source}: holds scores and {predictions.source} holds none; expected it the other way round: the"
            " two seem to be exchanged"
        )
    _say(f"{truth.source}: score differs from object to object, as in predictions; expected labels")


def _check_points(truth: Objects, field: str) -> Objects:
    """The ground truth that counts: with a LiDAR point, or all of it where the numbers are not known."""
    if truth.points is None:
        return truth
    hit = truth.points > 0
    if not hit.any():
        raise DataError(
            f"{truth.source}: none of {len(truth)} objects has a LiDAR point, so that none counts; expected numbers"
            f" above 0 in {field}"
        )
    objects, hits = (np.bincount(rows, minlength=len(truth.keys)) for rows in (truth.frames, truth.frames[hit]))
    bare = np.flatnonzero((objects >= _MANY) & (hits == 0))
    if len(bare):
        _say(
            f"{truth.source}: in {len(bare)} of {int((objects > 0).sum())} frames no object has a LiDAR point, so that"
            f" none counts, the first is {truth.keys[bare[0]]}; expected numbers above 0 in {field}"
        )
    return truth.rows(hit)


def _check_types(predictions: Objects, truth: Objects) -> None:
    found, known = (np.bincount(side.types, minlength=len(TYPES)) for side in (predictions, truth))
    for kind in np.flatnonzero((known > 0) & (found == 0)):
        if kind == _SIGN:  # hardly anyone detects signs
            continue
        odd = np.flatnonzero((known == 0) & (found > 0))
        hint = f"; {found[odd[0]]} are {TYPES[odd[0]]} (type {odd[0]})" if len(odd) else ""
        _say(
            f"{predictions.source}: holds no {TYPES[kind]} (type {kind}), of which {truth.source} has {known[kind]};"
            f" its scores are 0{hint}"
        )
    for kind in np.flatnonzero((known == 0) & (found > 0)):
        _say(
            f"{truth.source}: holds no {TYPES[kind]} (type {kind}) that counts, of which {predictions.source} predicts"
            f" {found[kind]}; its scores are 0"
        )


def say_missing_frames(predictions: Objects, frames: Sequence[FrameKey], what: str) -> None:
    """Say how many of ``frames`` the predictions do not name; those made from an info file name empty frames too."""
    named = set(predictions.keys)
    lacking = [key for key in frames if key not in named]
    if lacking:
        _say(
            f"{predictions.source}: {len(lacking)} of {len(frames)} {what} hold no prediction, all objects in them"
            f" count as missed, the first is {lacking[0]}"
        )


def _compare_boxes(predictions: Objects, truth: Objects) -> None:
    """Compare each object with the nearest prediction of its type, in some frames."""
    pairs, total = [np.empty((0, 2), np.int64)], 0
    for found, known in _some_frames(predictions, truth):
        offset = truth.boxes[known, None, :2] - predictions.boxes[None, found, :2]
        distance = np.hypot(offset[..., 0], offset[..., 1])
        distance[truth.types[known, None] != predictions.types[None, found]] = np.inf
        close = np.flatnonzero(distance.min(1) < _NEAR)
        pairs.append(np.stack([found[distance.argmin(1)[close]], known[close]], 1))
        total += len(known)
    rows = np.concatenate(pairs)
    if total >= _MANY and len(rows) < _FOUND * total:
        _say(
            f"{predictions.source}: only {len(rows)} of {total} objects looked at have a prediction of their type"
            f" within {_NEAR:.0f} m; expected centres in metres in the vehicle frame, x forward and y left"
        )
    rows = rows[truth.types[rows[:, 1]] == _VEHICLE]
    if len(rows) >= _MANY:
        _compare_vehicles(predictions.source, predictions.boxes[rows[:, 0]], truth.boxes[rows[:, 1]])


def _some_frames(predictions: Objects, truth: Objects) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of both sides in frames in which both hold objects, evenly spread."""
    sides = []
    for side in (predictions, truth):
        order = np.argsort(side.frames, kind="stable")
        starts = np.searchsorted(side.frames[order], np.arange(len(side.keys) + 1))
        rows = {key: row for row, key in enumerate(side.keys) if starts[row] < starts[row + 1]}
        sides.append((order, starts, rows))
    common = [key for key in sides[1][2] if key in sides[0][2]]
    for key in common[:: -(-len(common) // _FRAMES_COMPARED) or 1]:
        yield tuple(order[starts[rows[key]] : starts[rows[key] + 1]] for order, starts, rows in sides)


def _compare_vehicles(source: str, found: np.ndarray, truth: np.ndarray) -> None:
    """Say what pairs of boxes ``[N, 7]`` differ in as a rule."""
    where = f"{source}: as a rule (median of {len(found)} vehicles near a predicted one)"
    higher = float(np.median(found[:, 2] - truth[:, 2]))
    if abs(higher) > _OFF_Z:
        _say(f"{where} center_z is {higher:+.2f} m off; expected the middle of the box in the vehicle frame")
    for column in (3, 4, 5):
        factor = float(np.median(found[:, column] / np.maximum(truth[:, column], 1e-6)))
        if not 1 / _OFF_SIZE < factor < _OFF_SIZE:
            _say(f"{where} {BOX_FIELDS[column]} is {factor:.2g} times that of the object; expected length along x")
    turned = np.abs((found[:, 6] - truth[:, 6] + np.pi) % (2 * np.pi) - np.pi)
    if (middle := float(np.median(turned))) > np.pi / 4:
        _say(f"{where} heading is {middle:.2f} rad off; expected the angle from x to the front, counter-clockwise")

"""Waymo's ``Objects`` files: read into columns, and written from them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bevkd.errors import DataError

from .messages import BOX_FIELDS, message, read_chunks
from .objects import FrameKey, Objects


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
    _refuse_repeated_frames(objects)
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


def _refuse_repeated_frames(objects: Objects) -> None:
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

"""Boxes of a made-up scene as columns, the form in which scenes travel to the official implementation.

All numbers that enter the metrics are float32 values, because the official op takes float32 tensors: the same values
written as doubles into ``Objects`` files then mean the same boxes to either implementation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Columns = dict[str, np.ndarray]
Kind = Callable[[np.random.Generator], tuple[Columns, Columns]]
KINDS: dict[str, Kind] = {}

TYPES = (1, 2, 3, 4)  # vehicle, pedestrian, sign, cyclist
SIZES = {1: (4.6, 2.0, 1.7), 2: (0.9, 0.8, 1.75), 3: (0.3, 0.7, 0.7), 4: (1.8, 0.8, 1.75)}  # length, width, height
#: Centre (x, y, z) in metres in the vehicle frame from which the official tool measures camera-only detections.
SENSOR = np.array([1.43, 0.0, 2.18])
UNSET = -1  # a difficulty that the label does not carry
HALF_FIELD_OF_VIEW, CAMERA_AZIMUTHS = 25.2, (0.0, 45.0, -45.0, 90.0, -90.0)  # degrees, cameras 1 to 5
START, PERIOD = 1_550_000_000_000_000, 100_000  # microseconds
FRAMES_PER_SEGMENT = 4


def kind(function: Kind) -> Kind:
    """Register a function from a random generator to (predictions, ground truth) under its name."""
    KINDS[function.__name__] = function
    return function


@dataclass
class Scene:
    """One case: predictions with columns frame, box, type, score, nlz; ground truth with frame, box, type, difficulty,
    points, top_points, synced_box, camera. ``keys`` are the frames' segments and times, made up where not given."""

    name: str
    predictions: Columns
    ground_truth: Columns
    keys: list[tuple[str, int]] | None = None

    def columns(self) -> Columns:
        """Both sides in one flat dictionary, as the official side reads them, with the frames' keys."""
        flat = {f"pd.{k}": v for k, v in self.predictions.items()}
        flat |= {f"gt.{k}": v for k, v in self.ground_truth.items()}
        for side in ("pd", "gt"):
            frame = flat.pop(f"{side}.frame")
            keys = [self._key(int(f)) for f in frame]
            flat[f"{side}.context"] = np.array([context for context, _ in keys], dtype=str)
            flat[f"{side}.time"] = np.array([time for _, time in keys], dtype=np.int64)
        return flat

    def _key(self, frame: int) -> tuple[str, int]:
        if self.keys is not None:
            return self.keys[frame]
        return f"{self.name}-{frame // FRAMES_PER_SEGMENT}", START + PERIOD * frame


def first_camera(box: np.ndarray) -> np.ndarray:
    """box [N, 7] -> [N] the first of the cameras 1..5 whose field of view holds the centre, 0 for none."""
    azimuth = np.arctan2(box[:, 1].astype(float), box[:, 0].astype(float)) * (180.0 / np.pi)
    seen = np.abs(azimuth[:, None] - np.array(CAMERA_AZIMUTHS)) < HALF_FIELD_OF_VIEW
    return np.where(seen.any(1), seen.argmax(1) + 1, 0).astype(np.uint8)


def truth(rng: np.random.Generator, box: np.ndarray, kind: np.ndarray, frame: np.ndarray, **columns) -> Columns:
    """Ground truth of boxes [N, 7], types [N], frames [N]; columns not given are drawn as a dataset has them."""
    n = len(box)
    points = np.round(rng.lognormal(2.5, 1.2, n)).astype(np.int32)
    drawn = {
        "box": np.asarray(box, np.float32).reshape(n, 7),
        "type": np.asarray(kind, np.uint8),
        "frame": np.asarray(frame, np.int64),
        "difficulty": rng.choice(np.array([UNSET, 0, 1, 2], np.int8), n, p=[0.5, 0.1, 0.25, 0.15]),
        "points": points,
        "top_points": np.maximum(points - rng.integers(0, 4, n), 0).astype(np.int32),
    } | columns
    if "synced_box" not in drawn:  # the camera fires after the sweep, by when half of the objects have moved on
        heading = drawn["box"][:, 6]
        ahead = (rng.uniform(-0.5, 0.5, n) * rng.integers(0, 2, n)).astype(np.float32)
        drawn["synced_box"] = drawn["box"].copy()
        drawn["synced_box"][:, 0] += ahead * np.cos(heading)
        drawn["synced_box"][:, 1] += ahead * np.sin(heading)
    return drawn | {"camera": first_camera(drawn["synced_box"])}


def found(rng: np.random.Generator, box: np.ndarray, kind: np.ndarray, frame: np.ndarray, **columns) -> Columns:
    """Predictions of boxes [N, 7], types [N], frames [N]; scores uniform in [0, 1) unless given."""
    n = len(box)
    return {
        "box": np.asarray(box, np.float32).reshape(n, 7),
        "type": np.asarray(kind, np.uint8),
        "frame": np.asarray(frame, np.int64),
        "score": rng.random(n, np.float32),
        "nlz": np.zeros(n, bool),
    } | columns


def street(
    rng: np.random.Generator,
    frames: int = 5,
    objects: int = 8,
    types: tuple[int, ...] = TYPES,
    reach: float = 75.0,
    **columns,
) -> Columns:
    """Ground truth of ``frames`` frames with ``objects`` upright boxes each within ``reach`` metres of the car."""
    n = frames * objects
    kind = rng.choice(np.array(types, np.uint8), n)
    radius, azimuth = reach * np.sqrt(rng.random(n)), rng.uniform(-np.pi, np.pi, n)
    box = np.zeros((n, 7), np.float32)
    box[:, 0], box[:, 1], box[:, 2] = radius * np.cos(azimuth), radius * np.sin(azimuth), rng.normal(0.9, 0.4, n)
    box[:, 3:6] = np.array([SIZES[int(k)] for k in kind]).reshape(n, 3) * rng.lognormal(0.0, 0.15, (n, 3))
    box[:, 6] = rng.uniform(-np.pi, np.pi, n)
    return truth(rng, box, kind, np.repeat(np.arange(frames), objects), **columns)


def detect(
    rng: np.random.Generator, gt: Columns, noise: float = 1.0, depth: float = 0.0, recall: float = 0.85, **columns
) -> Columns:
    """What a detector would report of ``gt``: shaken boxes, some headings reversed, misses, doubles and phantoms.

    ``depth`` is the standard deviation of the relative error along the line of sight from the cameras.
    """
    picked = np.flatnonzero(rng.random(len(gt["box"])) < recall)
    picked = np.concatenate([picked, picked[rng.random(len(picked)) < 0.1]])
    n = len(picked)
    box = gt["synced_box" if depth else "box"][picked].astype(float)
    box[:, :3] += rng.normal(0.0, 0.12 * noise, (n, 3)) * np.minimum(box[:, 3:6], 2.0)
    box[:, 3:6] *= rng.lognormal(0.0, 0.05 * noise, (n, 3))
    box[:, 6] += rng.normal(0.0, 0.1 * noise, n) + np.pi * (rng.random(n) < 0.1)
    box[:, :3] = SENSOR + (box[:, :3] - SENSOR) * (1.0 + rng.normal(0.0, depth, (n, 1)))
    phantoms = street(rng, 1, n // 3)
    frames = rng.integers(0, gt["frame"].max(initial=0) + 1, n // 3)
    pd = found(
        rng,
        np.concatenate([box, phantoms["box"]]),
        np.concatenate([gt["type"][picked], phantoms["type"]]),
        np.concatenate([gt["frame"][picked], frames]),
    )
    pd["score"][:n] = np.sqrt(pd["score"][:n])  # true ones tend to score higher
    order = rng.permutation(len(pd["box"]))
    return {k: v[order] for k, v in (pd | columns).items()}

"""The groups that scores are broken down into, by the official names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .messages import TYPES
from .objects import Objects


@dataclass(frozen=True)
class Breakdown:
    """Groups of objects, matched each on its own; ``names`` in the order of their bits.

    ``members`` maps objects to [N] int64, bit g set for a member of group g. Where predictions need not know their
    group, all that could belong to it are members and ``counted`` tells the ground truths that really do.
    """

    names: tuple[str, ...]
    members: Callable[[Objects], np.ndarray]
    counted: Callable[[Objects], np.ndarray] | None = None


def by_type(objects: Objects) -> np.ndarray:
    return np.left_shift(1, objects.types.astype(np.int64) - 1)


def by_range(objects: Objects) -> np.ndarray:
    """Distance of the centre from the vehicle's origin, in 3D; a border belongs to the farther group."""
    x, y, z = objects.boxes[:, 0], objects.boxes[:, 1], objects.boxes[:, 2]
    distance = np.sqrt(x * x + y * y + z * z)
    return np.left_shift(1, 3 * (objects.types.astype(np.int64) - 1) + np.digitize(distance, (30.0, 50.0)))


OBJECT_TYPE = Breakdown(tuple(f"OBJECT_TYPE_{name}" for name in TYPES[1:]), by_type)
RANGE = Breakdown(
    tuple(f"RANGE_{name}_{span}" for name in TYPES[1:] for span in ("[0, 30)", "[30, 50)", "[50, +inf)")), by_range
)


def group_bits(breakdowns: Sequence[Breakdown], objects: Objects, counted: bool = False) -> np.ndarray:
    """[N] int64 over all groups of ``breakdowns``, one breakdown's bits after the other's."""
    bits, shift = np.zeros(len(objects), np.int64), 0
    for breakdown in breakdowns:
        choose = breakdown.counted if counted and breakdown.counted else breakdown.members
        bits |= choose(objects) << shift
        shift += len(breakdown.names)
    return bits

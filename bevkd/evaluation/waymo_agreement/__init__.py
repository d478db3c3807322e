"""Agreement with the official Waymo metrics: scenes on which to compare, official numbers for them, the comparison.

The official package needs TensorFlow and runs in an environment of its own (:mod:`.environment`); nothing here is
needed to evaluate.
"""

import zlib

import numpy as np

from . import geometry, scenes
from .columns import KINDS, Scene

__all__ = ["KINDS", "Scene", "geometry", "make_scenes", "scenes"]


def make_scenes(per_kind: int = 7, seed: int = 0) -> list[Scene]:
    """``per_kind`` scenes of every registered kind; the first ones are the same whatever ``per_kind``."""
    drawn = []
    for name, function in KINDS.items():
        for k in range(per_kind):
            rng = np.random.default_rng([seed, zlib.crc32(name.encode()), k])
            drawn.append(Scene(f"{name}-{k}", *function(rng)))
    return drawn

"""Box sizes of the ten detection classes, in the range that nuScenes annotations show.

Means and spreads are rounded class statistics; every draw stays within 2 spreads of its mean, so that size errors of
a detector (mASE) mean the same as on real data.
"""

import numpy as np

# class: mean (length, width, height), spread (length, width, height), metres
SIZES = {
    "car": ((4.6, 1.95, 1.72), (0.35, 0.12, 0.16)),
    "truck": ((6.9, 2.5, 2.85), (1.2, 0.22, 0.42)),
    "trailer": ((11.0, 2.75, 3.7), (1.6, 0.2, 0.3)),
    "bus": ((11.0, 2.9, 3.45), (1.2, 0.12, 0.2)),
    "construction_vehicle": ((6.4, 2.6, 3.15), (0.9, 0.25, 0.35)),
    "bicycle": ((1.72, 0.62, 1.3), (0.12, 0.08, 0.2)),
    "motorcycle": ((2.1, 0.78, 1.45), (0.2, 0.1, 0.15)),
    "pedestrian": ((0.72, 0.66, 1.77), (0.1, 0.08, 0.12)),
    "traffic_cone": ((0.41, 0.41, 1.07), (0.05, 0.05, 0.14)),
    "barrier": ((0.5, 2.5, 1.0), (0.08, 0.22, 0.08)),
}
CLASSES = tuple(SIZES)


def draw_size(name: str, rng: np.random.Generator, shrink: float = 1.0) -> tuple[float, float, float]:
    """(length x, width y, height z) of one object of class ``name``, in centimetres' steps, times ``shrink``."""
    mean, spread = (np.array(row) for row in SIZES[name])
    size = mean + spread * np.clip(rng.normal(size=3), -2.0, 2.0)
    return tuple(float(value) for value in np.round(size * shrink, 2))

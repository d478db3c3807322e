"""Cones and barriers (annotated), and what fills a street without being annotated: buildings, trees, poles, signs."""

import numpy as np

from bevkd.datasets.synthetic.solids import FACADE, GRIME, LEAVES, PLAIN, RINGS, STRIPES, Body
from bevkd.datasets.synthetic.vehicles import pick

ORANGE = (0.95, 0.35, 0.04)
WALLS = ((0.55, 0.35, 0.28), (0.62, 0.6, 0.55), (0.75, 0.7, 0.6), (0.42, 0.44, 0.48), (0.7, 0.5, 0.4), (0.5, 0.55, 0.5))


def traffic_cone(size: tuple, rng: np.random.Generator) -> Body:
    """Orange cone with white rings on a square foot, sometimes a slim post."""
    body = Body(size)
    l, w, h = size
    body.box((0, 0, 0.03), (l, w, 0.06), (0.08, 0.08, 0.08) if rng.random() < 0.5 else ORANGE, "rubber")
    taper = 0.75 if rng.random() < 0.75 else 0.25
    body.cylinder((0, 0, (0.06 + h) / 2), 0.42 * min(l, w), h - 0.06, ORANGE, "reflector", RINGS, taper)
    return body


def barrier(size: tuple, rng: np.random.Generator) -> Body:
    """Its long side is its width (y), as nuScenes annotates it: plastic segment, concrete block or striped board."""
    body = Body(size)
    l, w, h = size
    style = rng.choice(["plastic", "concrete", "board"], p=[0.45, 0.2, 0.35])
    if style == "board":
        for z in (0.32 * h, 0.82 * h):
            body.box((0, 0, z), (0.08, w, 0.3 * h), (0.85, 0.12, 0.08), "reflector", STRIPES)
        for side in (-1, 1):
            body.box((0, side * (w / 2 - 0.15), h * 0.48), (0.1, 0.1, 0.96 * h), (0.85, 0.85, 0.85), "metal")
            body.box((0, side * (w / 2 - 0.15), 0.06), (l, 0.12, 0.12), (0.2, 0.2, 0.2), "metal")
        return body
    color = ORANGE if style == "plastic" else (0.6, 0.6, 0.58)
    if style == "plastic" and rng.random() < 0.4:
        color = (0.9, 0.9, 0.88)
    body.box(
        (0, 0, 0.15 * h),
        (l, w, 0.3 * h),
        color,
        "plastic" if style == "plastic" else "concrete",
        GRIME,
        (0.25, 0.25, 0.0),
    )
    body.box(
        (0, 0, 0.65 * h),
        (l * 0.6, w * 0.98, 0.7 * h),
        color,
        "plastic" if style == "plastic" else "concrete",
        STRIPES if style == "plastic" else GRIME,
        (0.3, 0.3, 0.02),
    )
    return body


def building(size: tuple, rng: np.random.Generator) -> Body:
    """Facade with windows and a plainer roof line."""
    body = Body(size)
    l, w, h = size
    color = pick(rng, WALLS)
    body.box((0, 0, h / 2), size, color, "concrete", FACADE)
    body.box((0, 0, h + 0.25), (l + 0.5, w + 0.5, 0.5), tuple(0.7 * c for c in color), "concrete")
    return body


def tree(size: tuple, rng: np.random.Generator) -> Body:
    """Trunk and two clumps of leaves above head height."""
    body = Body(size)
    l, w, h = size
    green = pick(rng, ((0.16, 0.32, 0.1), (0.25, 0.36, 0.12), (0.35, 0.34, 0.1)))
    body.cylinder((0, 0, 0.25 * h), 0.16, 0.5 * h, (0.25, 0.18, 0.12), "wood", GRIME)
    body.sphere((0, 0, 0.68 * h), (l, w, 0.6 * h), green, "leaves", LEAVES)
    body.sphere((0.2 * l, -0.2 * w, 0.6 * h), (0.8 * l, 0.8 * w, 0.45 * h), green, "leaves", LEAVES)
    return body


def pole(size: tuple, rng: np.random.Generator) -> Body:
    """Street lamp, traffic light or sign on a post; the arm points to +y."""
    body = Body(size)
    h = size[2]
    body.cylinder((0, 0, h / 2), 0.09, h, (0.3, 0.32, 0.32), "metal")
    style = rng.choice(["lamp", "light", "sign"])
    if style == "lamp":
        body.box((0, 1.1, h - 0.1), (0.12, 2.2, 0.1), (0.3, 0.32, 0.32), "metal")
        body.box((0, 2.1, h - 0.15), (0.25, 0.6, 0.12), (0.9, 0.9, 0.8), "plastic")
    elif style == "light":
        body.box((0, 0.25, 3.2), (0.3, 0.3, 0.9), (0.05, 0.05, 0.05), "plastic")
        body.box((-0.16, 0.25, 3.5), (0.02, 0.18, 0.18), (0.95, 0.1, 0.05), "plastic")
    else:
        body.box(
            (-0.1, 0, 2.5),
            (0.04, 0.7, 0.7),
            pick(rng, ((0.1, 0.3, 0.7), (0.8, 0.1, 0.1), (0.9, 0.8, 0.1))),
            "reflector",
            PLAIN,
        )
    return body

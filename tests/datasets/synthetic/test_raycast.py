"""Rays against solids: values drawn by hand, then a slow search along random rays."""

import numpy as np
import pytest

from bevkd.datasets.synthetic.bounds import camera_bounds
from bevkd.datasets.synthetic.raycast import cast_ground, hit_box, hit_round
from bevkd.datasets.synthetic.rig import camera_rays
from bevkd.datasets.synthetic.solids import BOX, CYLINDER, SPHERE

INF = np.inf


def meet(kind, origin, direction, taper=(0.0, 0.0, 0.0)):
    o, d, k = np.array(origin, float), np.array(direction, float), np.array(taper, float)
    return hit_box(o, d, k) if kind == BOX else hit_round(o, d, kind, k[0])


@pytest.mark.parametrize(
    ("kind", "origin", "direction", "taper", "expected"),
    [
        (BOX, (-3, 0, 0), (1, 0, 0), (0, 0, 0), 2.0),
        (BOX, (-3, 1.01, 0), (1, 0, 0), (0, 0, 0), INF),
        (BOX, (0, 0, 0), (1, 0, 0), (0, 0, 0), INF),  # from inside nothing is met
        (BOX, (3, 0, 0), (-1, 0, 0), (1, 0, 0), 2.5),  # the front leans to the centre line: x = 0.5 half way up
        (BOX, (3, 0, 0.99), (-1, 0, 0), (1, 0, 0), 2.995),
        (BOX, (-3, 0, 0.9), (1, 0, 0), (1, 0, 0), 2.0),  # the back does not lean
        (CYLINDER, (-3, 0, 0), (1, 0, 0), (0, 0, 0), 2.0),
        (CYLINDER, (-3, 0, 0), (1, 0, 0), (1, 0, 0), 2.5),  # a cone is half as wide half way up
        (CYLINDER, (0, 0, 3), (0, 0.1, -1), (0, 0, 0), 2.0),
        (CYLINDER, (-3, 0, 1.01), (1, 0, 0), (0, 0, 0), INF),
        (SPHERE, (-3, 0, 0), (2, 0, 0), (0, 0, 0), 1.0),  # t counts directions, not metres
        (SPHERE, (-3, 0.8, 0), (1, 0, 0), (0, 0, 0), 2.4),
    ],
)
def test_hand_drawn_hits(kind, origin, direction, taper, expected):
    assert meet(kind, origin, direction, taper) == pytest.approx(expected, abs=1e-9)


def inside(kind, p, taper):
    x, y, z = p.T
    up = (z + 1) / 2
    flat = np.abs(z) <= 1
    if kind == BOX:
        return flat & (x <= 1 - taper[0] * up) & (-x <= 1 - taper[1] * up) & (np.abs(y) <= 1 - taper[2] * up)
    if kind == CYLINDER:
        return flat & (np.hypot(x, y) <= 1 - taper[0] * up)
    return (p**2).sum(1) <= 1


@pytest.mark.parametrize("kind", [BOX, CYLINDER, SPHERE])
def test_random_rays_against_a_search(kind):
    rng = np.random.default_rng(kind)
    steps = np.linspace(0, 8, 8001)
    for _ in range(150):
        origin = rng.normal(size=3)
        origin *= rng.uniform(2.2, 4) / np.linalg.norm(origin)
        direction = rng.uniform(-0.9, 0.9, 3) - origin
        direction /= np.linalg.norm(direction)
        taper = rng.uniform(0, 0.8, 3)
        found = np.nonzero(inside(kind, origin + steps[:, None] * direction, taper))[0]
        expected = steps[found[0]] if len(found) else INF
        got = meet(kind, origin, direction, taper)
        if len(found) < 4:
            continue  # grazes an edge: the search is too coarse to say
        assert got == pytest.approx(expected, abs=2e-3)


def test_ground_of_a_constant_slope():
    # World z = 0.1 x; a ray that looks forward and down 45 degrees from 2 m: 2 - t = 0.1 t.
    heights = np.tile(np.arange(0, 40, 2) * 0.1, (20, 1))
    depth, solid = np.full((1, 1), INF, np.float32), np.full((1, 1), -1, np.int32)
    pose = np.eye(4)
    pose[:3, 3] = 10, 10, 1 + 2  # the ground is at 1 m there
    cast_ground(np.array([[[1, 0, -1]]], np.float32), pose, heights, np.zeros(2), 2.0, 75.0, depth, solid)
    assert depth[0, 0] == pytest.approx(2 / 1.1, abs=1e-3)
    assert solid[0, 0] == -2


def test_camera_bounds_hold_every_hit_pixel():
    rng = np.random.default_rng(3)
    intrinsic = np.array([[60.0, 0, 48], [0, 60, 32], [0, 0, 1]])
    rays = camera_rays(intrinsic, (64, 96)).astype(float)
    count = 0
    for _ in range(60):
        matrix = np.concatenate([rng.normal(size=(3, 3)), rng.uniform([-4, -3, -1], [4, 3, 8])[:, None]], 1)
        linear = np.linalg.inv(matrix[:, :3])
        rects, nearest = camera_bounds(matrix[None], 60.0, 48.0, 32.0, 64, 96, 100.0)
        r0, r1, c0, c1 = rects[0]
        origin = -linear @ matrix[:, 3]
        for row in range(0, 64, 3):
            for col in range(0, 96, 3):
                t = hit_box(origin, linear @ rays[row, col], np.zeros(3))
                if t < INF:
                    count += 1
                    assert r0 <= row < r1
                    assert c0 <= col < c1
                    assert t >= nearest[0] - 1e-6
    assert count > 1000

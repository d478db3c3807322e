"""The spinning LiDAR: first hits of 32 beams, their echo strength, range noise and missing echoes."""

import numpy as np
from numba import njit

from bevkd.datasets.synthetic.bounds import lidar_bounds
from bevkd.datasets.synthetic.raycast import cast, cast_ground
from bevkd.datasets.synthetic.rig import BEAMS, ELEVATIONS, FIRST_AZIMUTH
from bevkd.datasets.synthetic.solids import MATERIAL_TABLE
from bevkd.datasets.synthetic.streets import HEIGHT_CELL, PAVEMENT, ROAD, VERGE, WHITE, YELLOW
from bevkd.datasets.synthetic.world import View, World

REACH = 75.0  # metres; no echo comes from farther away
RANGE_NOISE = 0.018  # metres, one standard deviation
GROUND_ECHO = {VERGE: 0.22, ROAD: 0.10, PAVEMENT: 0.2, WHITE: 0.55, YELLOW: 0.45}  # reflectivity
GROUND_MISS = 0.02


def trace(world: World, view: View, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Range [32, A] metres (inf = no hit) and solid [32, A] (row of ``view``; -2 ground, -1 nothing)."""
    shape = rays.shape[:2]
    rects, nearest = lidar_bounds(
        view.sensor_from_unit, FIRST_AZIMUTH, shape[1], ELEVATIONS[0], ELEVATIONS[1] - ELEVATIONS[0], BEAMS, REACH
    )
    depth, solid = np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int32)
    table = world.solids
    cast(
        rays,
        view.unit_from_sensor,
        table.kind[view.rows],
        table.taper[view.rows],
        table.owner[view.rows],
        rects,
        nearest,
        0,
        depth,
        solid,
        np.full(shape, -1, np.int32),
        np.zeros(len(world.sizes), np.int64),
    )
    ground = world.ground
    cast_ground(rays, view.world_from_sensor, ground.heights, ground.origin, HEIGHT_CELL, REACH, depth, solid)
    return depth, solid


def sweep(world: World, view: View, rays: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 5] float32 (x, y, z, intensity 0..255, ring) in the LiDAR frame; body of each ([N], -1 ground).

    All rays are cast from one place at one instant: points need no correction for motion during the turn.
    Order is firing order: azimuth step after azimuth step, beams from the lowest up.
    """
    depth, solid = (array.T.ravel() for array in trace(world, view, rays))  # column by column: firing order
    directions = rays.transpose(1, 0, 2).reshape(-1, 3)
    hit = solid >= 0
    reflect, miss = np.zeros(len(depth)), np.full(len(depth), GROUND_MISS)
    reflect[hit], miss[hit] = MATERIAL_TABLE[world.solids.material[view.rows][solid[hit]], :2].T
    flat = np.nonzero(solid == -2)[0]
    where = (directions[flat] * depth[flat, None]) @ view.world_from_sensor[:3, :3].T + view.world_from_sensor[:3, 3]
    kinds = world.ground.kind(where[:, 0], where[:, 1])
    reflect[flat] = np.array([GROUND_ECHO[kind] for kind in range(5)])[kinds]
    noise = rng.normal(size=(2, len(depth)))
    chance = rng.random(len(depth))
    distance = depth + RANGE_NOISE * noise[0]
    with np.errstate(invalid="ignore", over="ignore"):
        # Weak echoes from far away fade below the receiver's threshold.
        lost = miss + (1 - miss) * np.clip((depth / REACH) ** 4 * 0.12 / np.maximum(reflect, 0.02), 0, 0.97)
        strength = np.clip(255 * reflect**1.6 * (0.85 + 0.15 * noise[1]) * (1 - 0.4 * depth / REACH), 0, 255)
    keep = (solid != -1) & (depth < REACH) & (chance >= lost)
    points = np.empty((int(keep.sum()), 5), np.float32)
    points[:, :3] = directions[keep] * distance[keep, None]
    points[:, 3] = np.floor(strength[keep])
    points[:, 4] = np.tile(np.arange(BEAMS), rays.shape[1])[keep]
    bodies = np.where(hit, world.solids.owner[view.rows][np.maximum(solid, 0)], -1)
    return points, bodies[keep].astype(np.int32)


@njit(cache=True, nogil=True)
def points_in_boxes(points, centers, sizes, rotations):
    """[B] number of points [N, 3] inside or on boxes: centers [B, 3], sizes [B, 3] (l, w, h), rotations [B, 3, 3]."""
    counts = np.zeros(len(centers), np.int64)
    for b in range(len(centers)):
        half, r = sizes[b] / 2, rotations[b]
        reach = half[0] ** 2 + half[1] ** 2 + half[2] ** 2
        for k in range(len(points)):
            x, y, z = points[k, 0] - centers[b, 0], points[k, 1] - centers[b, 1], points[k, 2] - centers[b, 2]
            if x * x + y * y > reach:
                continue
            inside = True
            for axis in range(3):
                inside = inside and abs(x * r[0, axis] + y * r[1, axis] + z * r[2, axis]) <= half[axis]
            counts[b] += inside
    return counts

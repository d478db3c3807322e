"""The spinning LiDAR: first hits of 32 beams, their echo strength, range noise and missing echoes."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from bevkd.datasets.synthetic.bounds import lidar_bounds
from bevkd.datasets.synthetic.raycast import cast, cast_ground
from bevkd.datasets.synthetic.rig import ELEVATIONS, FIRST_AZIMUTH, lidar_rays
from bevkd.datasets.synthetic.solids import MATERIAL_TABLE
from bevkd.datasets.synthetic.streets import HEIGHT_CELL, PAVEMENT, ROAD, VERGE, WHITE, YELLOW
from bevkd.datasets.synthetic.world import View, World

REACH = 75.0  # metres; no echo comes from farther away
RANGE_NOISE = 0.018  # metres, one standard deviation
GROUND_ECHO = {VERGE: 0.22, ROAD: 0.10, PAVEMENT: 0.2, WHITE: 0.55, YELLOW: 0.45}  # reflectivity
GROUND_MISS = 0.02


@dataclass(frozen=True)
class Beams:
    """How a spinning LiDAR scans: ``rays`` [R, C, 3] float32 unit directions in its frame, row by row of ``elevations``
    [R] (radians, rising), columns ``start`` to ``start + C`` of a turn of ``steps``, clockwise from ``first``."""

    rays: np.ndarray
    elevations: np.ndarray
    first: float
    steps: int
    start: int = 0
    reach: float = REACH

    @classmethod
    def on_roof(cls, azimuths: int) -> "Beams":
        """The whole turn of the 32-beam LiDAR."""
        return cls(lidar_rays(azimuths), ELEVATIONS, FIRST_AZIMUTH, azimuths)

    def bounds(self, sensor_from_unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rectangles of solids in these rays, and their nearest range, see ``lidar_bounds``."""
        rects, nearest = lidar_bounds(sensor_from_unit, self.first, self.steps, self.elevations, self.reach)
        columns = self.rays.shape[1]
        if columns == self.steps:
            return rects, nearest
        # A rectangle may lap over the end of the turn, so that it covers these columns from either side.
        low, high = (rects[:, k : k + 1] - self.start - np.array([0, self.steps]) for k in (2, 3))
        low, high = low.clip(0, columns), high.clip(0, columns)
        met = low < high
        rects[:, 2] = np.where(met, low, columns).min(1)
        rects[:, 3] = np.where(met, high, 0).max(1)
        return rects, nearest


@dataclass(frozen=True)
class Echoes:
    """What comes back along N rays: ``distance`` (metres, with noise), ``strength`` 0..255, ``kept`` where
    an echo was found, ``body`` it came from (-1 ground), and the ground's ``kind`` at that place."""

    distance: np.ndarray
    strength: np.ndarray
    kept: np.ndarray
    body: np.ndarray
    kind: np.ndarray


def trace(world: World, view: View, beams: Beams) -> tuple[np.ndarray, np.ndarray]:
    """Range [R, C] metres (inf = no hit) and solid [R, C] (row of ``view``; -2 ground, -1 nothing)."""
    shape = beams.rays.shape[:2]
    rects, nearest = beams.bounds(view.sensor_from_unit)
    depth, solid = np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int32)
    table = world.solids
    cast(
        beams.rays,
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
    cast_ground(
        beams.rays, view.world_from_sensor, ground.heights, ground.origin, HEIGHT_CELL, beams.reach, depth, solid
    )
    return depth, solid


def echoes(
    world: World,
    view: View,
    directions: np.ndarray,
    depth: np.ndarray,
    solid: np.ndarray,
    rng: np.random.Generator,
    reach: float = REACH,
) -> Echoes:
    """Echoes of N traced rays: ``directions`` [N, 3] in the sensor's frame, ``depth`` [N] and ``solid`` [N]."""
    hit = solid >= 0
    reflect, miss = np.zeros(len(depth)), np.full(len(depth), GROUND_MISS)
    reflect[hit], miss[hit] = MATERIAL_TABLE[world.solids.material[view.rows][solid[hit]], :2].T
    found = np.nonzero(solid != -1)[0]
    where = (directions[found] * depth[found, None]) @ view.world_from_sensor[:3, :3].T + view.world_from_sensor[:3, 3]
    kind = np.full(len(depth), VERGE)
    kind[found] = world.ground.kind(where[:, 0], where[:, 1])
    flat = solid == -2
    reflect[flat] = np.array([GROUND_ECHO[kind] for kind in range(5)])[kind[flat]]
    noise = rng.normal(size=(2, len(depth)))
    chance = rng.random(len(depth))
    with np.errstate(invalid="ignore", over="ignore"):
        # Weak echoes from far away fade below the receiver's threshold.
        lost = miss + (1 - miss) * np.clip((depth / reach) ** 4 * 0.12 / np.maximum(reflect, 0.02), 0, 0.97)
        strength = np.clip(255 * reflect**1.6 * (0.85 + 0.15 * noise[1]) * (1 - 0.4 * depth / reach), 0, 255)
    kept = (solid != -1) & (depth < reach) & (chance >= lost)
    body = np.where(hit, world.solids.owner[view.rows][np.maximum(solid, 0)], -1)
    return Echoes(depth + RANGE_NOISE * noise[0], strength, kept, body.astype(np.int32), kind)


def sweep(world: World, view: View, beams: Beams, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 5] float32 (x, y, z, intensity 0..255, ring) in the LiDAR frame; body of each ([N], -1 ground).

    All rays are cast from one place at one instant: points need no correction for motion during the turn.
    Order is firing order: azimuth step after azimuth step, beams from the lowest up.
    """
    depth, solid = (array.T.ravel() for array in trace(world, view, beams))  # column by column: firing order
    directions = beams.rays.transpose(1, 0, 2).reshape(-1, 3)
    echo = echoes(world, view, directions, depth, solid, rng, beams.reach)
    points = np.empty((int(echo.kept.sum()), 5), np.float32)
    points[:, :3] = directions[echo.kept] * echo.distance[echo.kept, None]
    points[:, 3] = np.floor(echo.strength[echo.kept])
    points[:, 4] = np.tile(np.arange(len(beams.elevations)), beams.rays.shape[1])[echo.kept]
    return points, echo.body[echo.kept]


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

"""A synthetic LiDAR cloud for timing: ten sweeps of 32 beams from a moving car, about 320,000 points.

    python benchmarks/clouds.py --seed 0

prints how full the voxels of the usual grids are. Timings of a voxelizer depend on that and on the order of the points,
so the street (road, parked and moving cars, poles, house fronts) is drawn such that the figures resemble those of
nuScenes: at 0.075 m, +-54 m, about 300,000 points lie in 130,000 voxels; 0.2 m pillars hold ten points on average and
some hold thousands.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np

BEAMS, COLUMNS, SWEEPS = 32, 1084, 10
SENSOR_HEIGHT = 1.84  # metres above the road
SWEEP_SECONDS = 0.05
EGO_SPEED = 5.0  # m/s along +y
REACH = 90.0  # metres
RANGE_NOISE = 0.02  # metres, standard deviation
LOST_ECHOES = 0.045

# name -> voxel size, range and points a voxel keeps
GRIDS = {
    "voxel 0.075": ((0.075, 0.075, 0.2), (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0), 10),
    "voxel 0.1": ((0.1, 0.1, 0.2), (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), 10),
    "pillar 0.2": ((0.2, 0.2, 8.0), (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), 20),
}


@dataclass(frozen=True)
class Solid:
    """An axis-parallel box; foliage and balconies let the beam in, by ``depth`` metres on average."""

    centre: np.ndarray
    half: np.ndarray
    speed: float = 0.0  # m/s along +y
    depth: float = 0.0

    def seen_from(self, sensor: np.ndarray, lag: float) -> Solid:
        """The box ``lag`` seconds ago, in the frame of a sensor at that place."""
        return replace(self, centre=self.centre - (0.0, self.speed * lag, 0.0) - sensor)


# The car under the sensor: its echoes are as dense as a cloud gets.
_ROOF = [Solid(np.array([0.0, -1.35, -0.75]), np.array([0.7, 0.3, 0.2]))]


def cloud(seed: int = 0, order: str = "shuffled") -> np.ndarray:
    """[N, 5] float32: x, y, z in metres in the frame of the newest sweep, intensity 0 to 255, time lag in seconds.

    Args:
        seed: the street, the noise and the permutation.
        order: "scan" is firing order, newest sweep first; "shuffled" a permutation of the same points.
    """
    if order not in ("scan", "shuffled"):
        raise ValueError(f"order is {order!r}, expected 'scan' or 'shuffled'")
    rng = np.random.default_rng(seed)
    street = _street(rng)
    sweeps = []
    for number in range(SWEEPS):
        lag = number * SWEEP_SECONDS
        sensor = np.array([0.0, -EGO_SPEED * lag, 0.0])
        points = _sweep([solid.seen_from(sensor, lag) for solid in street] + _ROOF, rng)
        points[:, :3] += sensor
        sweeps.append(np.column_stack((points, np.full(len(points), lag))))
    points = np.concatenate(sweeps).astype(np.float32)
    return rng.permutation(points) if order == "shuffled" else points


def _street(rng: np.random.Generator) -> list[Solid]:
    solids = []

    def add(x: float, y: float, size: tuple, foot: float = 0.0, **traits: float) -> None:
        centre = np.array([x, y, foot + size[2] / 2 - SENSOR_HEIGHT])
        solids.append(Solid(centre, np.array(size) / 2, **traits))

    for y in np.arange(-85, 85, 7.0):  # parked cars
        for side in (-6.5, 6.5):
            if rng.random() < 0.6:
                add(side + rng.normal(0, 0.2), y + rng.normal(0, 0.5), rng.normal((1.9, 4.6, 1.65), 0.1))
    for y in rng.uniform(-70, 70, 8):  # traffic
        lane = rng.choice((-3.4, 3.4))
        if abs(y) > 6:
            add(lane, y, rng.normal((1.9, 4.7, 1.7), 0.1), speed=rng.uniform(3, 9) * np.sign(lane))
    for y in np.arange(-80, 80, 11.0):  # trees
        for side in (-9.5, 9.5):
            at = y + rng.normal(0, 2)
            add(side, at, (0.35, 0.35, 3.0))
            add(side, at, (5.0, 5.0, 5.0), foot=2.5, depth=1.5)
    for x, y in rng.uniform((-1, -60), (1, 60), (40, 2)):  # hedges and bushes
        add(np.sign(x) * rng.uniform(8.5, 12), y, rng.uniform((0.6, 1.0, 0.8), (1.5, 4.0, 1.8)), depth=0.5)
    for side in (-1, 1):  # house fronts with gaps
        y = -95.0
        while y < 95:
            length = rng.uniform(8, 24)
            add(side * (rng.uniform(14, 30) + 6), y + length / 2, (12.0, length, rng.uniform(7, 16)), depth=0.15)
            y += length + rng.choice((0.0, rng.uniform(3, 14)))
    return solids


def _sweep(solids: list[Solid], rng: np.random.Generator) -> np.ndarray:
    """One turn, in firing order: [N, 4] x, y, z, intensity of the echoes, in the frame of the sensor."""
    azimuth = (np.arange(COLUMNS) + rng.random()) * (2 * np.pi / COLUMNS)
    elevation = np.deg2rad(np.linspace(-30.67, 10.67, BEAMS))
    rays = np.stack(
        np.broadcast_arrays(
            np.cos(azimuth)[:, None] * np.cos(elevation),
            np.sin(azimuth)[:, None] * np.cos(elevation),
            np.sin(elevation),
        ),
        -1,
    )
    with np.errstate(divide="ignore"):
        road = np.where(rays[..., 2] < 0, -SENSOR_HEIGHT / rays[..., 2], np.inf)
    depth = road * (1 + rng.normal(0, 0.002, road.shape))  # the road is not quite flat
    strength = np.full(depth.shape, 12.0)
    soft = np.zeros(depth.shape)
    for number, solid in enumerate(solids):
        columns = _columns_of(solid, azimuth)
        with np.errstate(divide="ignore", invalid="ignore"):
            faces = np.stack([(solid.centre + side * solid.half) / rays[columns] for side in (-1, 1)])
        near, far = faces.min(0).max(-1), faces.max(0).min(-1)
        hit = (near <= far) & (near > 0) & (near < depth[columns])
        depth[columns] = np.where(hit, near, depth[columns])
        strength[columns] = np.where(hit, 20 + number * 37 % 100, strength[columns])
        soft[columns] = np.where(hit, solid.depth, soft[columns])
    depth += rng.exponential(1, depth.shape) * soft
    seen = (depth < REACH) & (rng.random(depth.shape) >= LOST_ECHOES)
    depth = depth + rng.normal(0, RANGE_NOISE, depth.shape)
    intensity = np.clip(strength + rng.normal(0, 4, depth.shape), 0, 255).round()
    return np.concatenate((rays * depth[..., None], intensity[..., None]), -1)[seen]


def _columns_of(solid: Solid, azimuth: np.ndarray) -> np.ndarray:
    """Numbers of the azimuth steps that can meet a box."""
    middle = np.arctan2(solid.centre[1], solid.centre[0])
    turn = azimuth - middle
    corners = solid.centre[:2] + solid.half[:2] * np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
    along = np.arctan2(corners[:, 1], corners[:, 0]) - middle
    reach = np.abs((along + np.pi) % (2 * np.pi) - np.pi).max()
    return np.flatnonzero(np.abs((turn + np.pi) % (2 * np.pi) - np.pi) <= reach)


def occupancy(points: np.ndarray, size: tuple, bounds: tuple, keep: int) -> dict[str, float]:
    """How full the voxels of a grid are."""
    low, high = np.array(bounds[:3], np.float32), np.array(bounds[3:], np.float32)
    xyz = points[((points[:, :3] >= low) & (points[:, :3] < high)).all(1), :3]
    cells = np.floor((xyz - low) / np.array(size, np.float32)).astype(np.int64)
    counts = np.unique(cells @ np.array([1, 1 << 20, 1 << 40]), return_counts=True)[1]
    return {
        "points": len(points),
        "kept": len(xyz),
        "voxels": len(counts),
        "mean": counts.mean(),
        "p99": np.percentile(counts, 99),
        "max": counts.max(),
        "voxels over K %": 100 * (counts > keep).mean(),
        "padded fill %": 100 * np.minimum(counts, keep).sum() / (keep * len(counts)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    points = cloud(parser.parse_args().seed)
    for name, (size, bounds, keep) in GRIDS.items():
        figures = occupancy(points, size, bounds, keep)
        print(f"{name:12}", "  ".join(f"{key} {value:,.6g}" for key, value in figures.items()))


if __name__ == "__main__":
    main()

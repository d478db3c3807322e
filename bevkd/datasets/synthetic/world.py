"""A scene as a function of time: where every body is, and what a sensor sees of it."""

from dataclasses import dataclass

import numpy as np

from bevkd.datasets.synthetic import scenery, streets, traffic
from bevkd.datasets.synthetic.actors import Actor
from bevkd.datasets.synthetic.motion import LEAD, TICK, clock
from bevkd.datasets.synthetic.rig import rigid, tilt
from bevkd.datasets.synthetic.seeds import stream
from bevkd.datasets.synthetic.solids import SolidTable
from bevkd.datasets.synthetic.weather import Weather, draw_weather

SIGHT = 85.0  # metres within which actors are handed to the sensors
FAR_SIGHT = 170.0  # the same for buildings, trees and poles


@dataclass(frozen=True)
class View:
    """What one sensor may meet at one instant: solids in its own frame."""

    world_from_sensor: np.ndarray  # [4, 4]
    rows: np.ndarray  # [S] rows of World.solids
    sensor_from_unit: np.ndarray  # [S, 3, 4]
    unit_from_sensor: np.ndarray  # [S, 3, 4]


@dataclass(frozen=True)
class World:
    """Bodies 0 .. len(actors) - 1 are the annotated actors; the rest is scenery."""

    name: str
    street: streets.Street
    ground: streets.Ground
    weather: Weather
    actors: list[Actor]
    solids: SolidTable
    unit_from_body: np.ndarray  # [S, 3, 4]
    sizes: np.ndarray  # [B, 3]
    tracks: np.ndarray  # [actors, T, 4]
    still: np.ndarray  # [scenery, 4]
    ego: np.ndarray  # [T, 4] of the rear axle
    sway: np.ndarray  # [3, 3]: amplitude, period, phase of ego roll, pitch, heave

    @classmethod
    def build(cls, seed: int, name: str, kind: str, tone: str, hand: int, frames: int) -> "World":
        """The world of scene ``name``; every part draws from its own stream of the seed."""
        rng = stream(seed, name, "layout")
        times = clock(frames)
        speed = rng.uniform(6.0, 9.5)
        street = streets.build_street(kind, hand, speed * times[-1], rng)
        ground = streets.build_ground(street, stream(seed, name, "ground"))
        actors, ego, taken = traffic.populate(street, ground, times, speed, stream(seed, name, "traffic"))
        bodies, still = scenery.dress(street, ground, taken, stream(seed, name, "scenery"))
        near = [k for k, actor in enumerate(actors) if np.hypot(*(actor.track - ego)[:, :2].T).min() < SIGHT]
        actors = [actors[k] for k in near]
        everything = [actor.body for actor in actors] + bodies
        solids = SolidTable.of(everything)
        shake = stream(seed, name, "sway")
        sway = np.stack(
            [
                shake.uniform([0.002, 0.003, 0.01], [0.006, 0.010, 0.03]),
                shake.uniform(1.5, 4.0, 3),
                shake.uniform(0, 6.28, 3),
            ]
        )
        return cls(
            name,
            street,
            ground,
            draw_weather(tone, stream(seed, name, "weather")),
            actors,
            solids,
            affine_inverse(solids.body_from_unit),
            np.array([actor.size for actor in actors] + [body.size for body in bodies]).reshape(-1, 3),
            np.stack([actor.track for actor in actors]),
            still,
            ego,
            sway,
        )

    def poses(self, time: float) -> np.ndarray:
        """[B, 4] (x, y, z, yaw) of every body at ``time`` seconds since the first key frame."""
        k, f = _tick(time, self.tracks.shape[1])
        return np.concatenate([self.tracks[:, k] * (1 - f) + self.tracks[:, k + 1] * f, self.still])

    def speeds(self, time: float) -> np.ndarray:
        """[actors] ground speed in m/s around ``time``."""
        k, _ = _tick(time, self.tracks.shape[1])
        return np.hypot(*(self.tracks[:, k + 1] - self.tracks[:, k])[:, :2].T) / TICK

    def world_from_ego(self, time: float) -> np.ndarray:
        """4x4 pose of the ego frame, with the small roll, pitch and heave of a car on its springs."""
        k, f = _tick(time, len(self.ego))
        x, y, z, yaw = self.ego[k] * (1 - f) + self.ego[k + 1] * f
        roll, pitch, heave = self.sway[0] * np.sin(2 * np.pi * time / self.sway[1] + self.sway[2])
        return rigid(tilt(np.array([roll, pitch, yaw])), np.array([x, y, z + heave]))

    def view(self, time: float, ego_from_sensor: np.ndarray) -> View:
        """The solids near a sensor at ``time``, in the sensor's frame."""
        world_from_sensor = self.world_from_ego(time) @ ego_from_sensor
        poses = self.poses(time)
        away = np.hypot(*(poses[:, :2] - world_from_sensor[:2, 3]).T)
        limit = np.where(np.arange(len(poses)) < len(self.actors), SIGHT, FAR_SIGHT)
        rows = np.nonzero((away < limit)[self.solids.owner])[0]
        sensor_from_body = np.linalg.inv(world_from_sensor) @ pose_matrices(poses)
        body_from_sensor = affine_inverse(sensor_from_body[:, :3])
        owner = self.solids.owner[rows]
        return View(
            world_from_sensor,
            rows,
            compose(sensor_from_body[owner, :3], self.solids.body_from_unit[rows]),
            compose(self.unit_from_body[rows], body_from_sensor[owner]),
        )


def _tick(time: float, ticks: int) -> tuple[int, float]:
    where = (time + LEAD) / TICK
    k = min(max(int(np.floor(where + 1e-9)), 0), ticks - 2)
    return k, where - k


def pose_matrices(poses: np.ndarray) -> np.ndarray:
    """[B, 4, 4] matrices of poses [B, 4] (x, y, z, yaw)."""
    matrices = np.zeros((len(poses), 4, 4))
    c, s = np.cos(poses[:, 3]), np.sin(poses[:, 3])
    matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1] = c, -s, s, c
    matrices[:, 2, 2] = matrices[:, 3, 3] = 1.0
    matrices[:, :3, 3] = poses[:, :3]
    return matrices


def affine_inverse(matrices: np.ndarray) -> np.ndarray:
    """[..., 3, 4] inverse of affine maps [..., 3, 4]."""
    linear = np.linalg.inv(matrices[..., :3])
    return np.concatenate([linear, -linear @ matrices[..., 3:]], axis=-1)


def compose(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[..., 3, 4] map "first b, then a" of affine maps [..., 3, 4]."""
    linear = a[..., :3] @ b[..., :3]
    return np.concatenate([linear, a[..., :3] @ b[..., 3:] + a[..., 3:]], axis=-1)

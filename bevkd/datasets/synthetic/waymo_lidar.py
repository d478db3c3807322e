"""Range images of the five LiDARs in one frame, cast from the moving car."""

from dataclasses import dataclass

import numpy as np

from bevkd.datasets.synthetic import lidar
from bevkd.datasets.synthetic.lidar import Beams
from bevkd.datasets.synthetic.streets import VERGE
from bevkd.datasets.synthetic.waymo_rig import PERIOD_US, TOP, Rig, short_beams, top_beams
from bevkd.datasets.synthetic.world import View, World

SECTORS = 20  # of the roof LiDAR's turn: 5 ms each, in which the car moves a few centimetres
DIVERGENCE = 0.003  # radians; width of a laser beam
SECOND = 0.4  # share of the beams at an outline that return a second echo from behind it
NO_ECHO = -1.0  # all four numbers of a pixel without an echo, as in Waymo's range images
IN_ZONE, OUTSIDE = 1.0, -1.0  # the marks of an echo in a no-label zone and of any other


@dataclass(frozen=True)
class Scan:
    """What one LiDAR measured.

    ``returns``: two range images [H, W, 4]. ``pixel_pose``: [H, W, 6] of the LiDAR on the roof, else None. ``points``:
    the ray caster's own, one array [N, 3] for each return, in the vehicle frame of the frame, in order of pixels.
    """

    returns: tuple[np.ndarray, np.ndarray]
    pixel_pose: np.ndarray | None
    points: tuple[np.ndarray, np.ndarray]


def sector_leads() -> np.ndarray:
    """[SECTORS] seconds by which each sector of the turn comes before the frame's middle."""
    return ((SECTORS - 1) / 2 - np.arange(SECTORS)) / SECTORS * PERIOD_US * 1e-6


def scan_top(world: World, rig: Rig, time: float, size: tuple[int, int], rng: np.random.Generator) -> Scan:
    """The turn around ``time`` (seconds) of the LiDAR on the roof; ``size`` (rows, columns) of its range images."""
    calibration = rig.lasers[TOP]
    vehicle = world.world_from_ego(time)
    parts, poses = [], []
    for beams, lead in zip(top_beams(calibration, *size, SECTORS), sector_leads()):
        view = world.view(time - lead, calibration.extrinsic)
        pose = world.world_from_ego(time - lead)
        parts.append(_cast(world, view, beams, rng, np.linalg.inv(vehicle) @ view.world_from_sensor))
        poses.append(np.broadcast_to(euler(pose), (*beams.rays.shape[:2], 6)))
    returns, points = (tuple(np.concatenate(half, 1) for half in zip(*pairs)) for pairs in zip(*parts))
    return Scan(returns, np.concatenate(poses, 1).astype(np.float32), _listed(returns, points))


def scan_short(
    world: World, rig: Rig, laser: int, time: float, size: tuple[int, int], rng: np.random.Generator
) -> Scan:
    """A LiDAR at the car's side at ``time``: its range images are those of one instant."""
    rows, steps = size
    beams, columns = short_beams(rig.lasers[laser], rows, steps)
    view = world.view(time, rig.lasers[laser].extrinsic)
    cast = _cast(world, view, beams, rng, rig.lasers[laser].extrinsic)
    returns = tuple(np.full((rows, steps, 4), NO_ECHO, np.float32) for _ in range(2))
    points = tuple(np.zeros((rows, steps, 3)) for _ in range(2))
    for whole, part in zip((*returns, *points), (*cast[0], *cast[1])):
        whole[:, columns] = part
    return Scan(returns, None, _listed(returns, points))


def euler(pose: np.ndarray) -> np.ndarray:
    """[6] roll, pitch, yaw (radians) and x, y, z of a 4x4 pose; turned about x first, then y, then z."""
    r = pose[:3, :3]
    return np.array([np.arctan2(r[2, 1], r[2, 2]), -np.arcsin(r[2, 0]), np.arctan2(r[1, 0], r[0, 0]), *pose[:3, 3]])


def _cast(
    world: World, view: View, beams: Beams, rng: np.random.Generator, vehicle_from_sensor: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Two returns [R, C, 4] and their points [R, C, 3] in the vehicle frame, highest beam first.

    A beam is wider than a ray: at an outline, part of it goes on to what the next ray meets.
    """
    first = lidar.trace(world, view, beams)
    second = tuple(np.roll(array, -1, 1) for array in first)
    behind = (second[0] > first[0] + 1.0) & (rng.random(first[0].shape) < SECOND)
    behind[:, -1] = False
    returns, points = [], []
    for (depth, solid), possible in ((first, np.ones(behind.shape, bool)), (second, behind)):
        rays = beams.rays.reshape(-1, 3)
        echo = lidar.echoes(world, view, rays, depth.ravel(), solid.ravel(), rng, beams.reach)
        kept = echo.kept & possible.ravel()
        if returns:
            kept &= returns[0][..., 0].ravel() > 0
        image = np.full((len(rays), 4), NO_ECHO, np.float32)
        distance = echo.distance[kept].astype(np.float32)
        image[kept, 0], image[kept, 1] = distance, echo.strength[kept] / 255
        image[kept, 2] = elongation(distance, rays[kept] @ view.world_from_sensor[2, :3], rng)
        nobody = (echo.body[kept] < 0) | (echo.body[kept] >= len(world.actors))
        unlabelled = nobody & (echo.kind[kept] == VERGE)  # nothing is labelled behind the pavements
        image[kept, 3] = np.where(unlabelled, IN_ZONE, OUTSIDE)
        place = np.zeros((len(rays), 3))
        place[kept] = rays[kept] * distance[:, None].astype(np.float64)
        place = place @ vehicle_from_sensor[:3, :3].T + vehicle_from_sensor[:3, 3]
        returns.append(image.reshape(*behind.shape, 4))
        points.append(place.reshape(*behind.shape, 3))
    return tuple(image[::-1] for image in returns), tuple(place[::-1] for place in points)


def elongation(distance: np.ndarray, slope: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[N] how much longer than sent the pulses return: grows with the angle to the ground, 0 to 1.5."""
    spread = distance * DIVERGENCE / np.maximum(np.abs(slope), 0.02)
    return np.clip(0.05 * np.abs(rng.normal(size=len(distance))) + 0.2 * spread, 0.0, 1.5)


def _listed(returns: tuple, points: tuple) -> tuple[np.ndarray, np.ndarray]:
    return tuple(place[image[..., 0] > 0] for image, place in zip(returns, points))

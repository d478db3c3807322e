"""One key frame: its LiDAR sweeps and camera images written to disk, its annotations measured on them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bevkd.datasets.synthetic import cameras, lidar
from bevkd.datasets.synthetic.motion import KEY_PERIOD
from bevkd.datasets.synthetic.rig import LIDAR, Mount, camera_rays
from bevkd.datasets.synthetic.seeds import stream
from bevkd.datasets.synthetic.solids import turn
from bevkd.datasets.synthetic.weather import shadow_map
from bevkd.datasets.synthetic.world import World

SWEEP_PERIOD_US = 50_000
KEY_PERIOD_US = round(KEY_PERIOD * 1e6)
ANNOTATED = 56.0  # metres from the ego vehicle within which objects are annotated


@dataclass(frozen=True)
class Scene:
    """A world with its sensors and the clock and file names of its recording."""

    world: World
    mounts: list[Mount]
    frames: int
    sweeps: int
    start_us: int

    @property
    def log(self) -> str:
        """Name of the recording, the first part of every file name."""
        return f"synthetic-{self.world.name}"

    def stamp(self, frame: int, lead_us: int = 0) -> int:
        """Time stamp in microseconds of a reading ``lead_us`` before key frame ``frame``."""
        return self.start_us + frame * KEY_PERIOD_US - lead_us

    def sweep_leads(self, frame: int) -> list[int]:
        """Leads of the sweeps recorded before key frame ``frame``, oldest first; the first key frame has none."""
        return [k * SWEEP_PERIOD_US for k in range(self.sweeps, 0, -1)] if frame else []

    def file(self, mount: Mount, frame: int, lead_us: int, key: bool) -> str:
        """Path of a reading relative to the data root."""
        ending = "pcd.bin" if mount.channel == LIDAR else "jpg"
        folder = "samples" if key else "sweeps"
        return f"{folder}/{mount.channel}/{self.log}__{mount.channel}__{self.stamp(frame, lead_us)}.{ending}"

    def world_from_ego(self, frame: int, lead_us: int) -> np.ndarray:
        """Ego pose at that reading, in the scene's own world frame."""
        return self.world.world_from_ego(frame * KEY_PERIOD - lead_us * 1e-6)


@dataclass(frozen=True)
class Annotations:
    """What the sensors of one key frame say about each actor ([actors] arrays)."""

    poses: np.ndarray  # [actors, 4] x, y, z (bottom), yaw
    speeds: np.ndarray
    points: np.ndarray  # LiDAR points inside the box
    visible: np.ndarray  # share of its pixels that nothing hides; 0 outside every image
    annotated: np.ndarray  # bool


def record_frame(
    scene: Scene, frame: int, root: Path, image_size: tuple[int, int], azimuths: int, seed: int
) -> Annotations:
    """Write the readings of key frame ``frame`` and the sweeps before it under ``root``; measure its annotations."""
    world, time = scene.world, frame * KEY_PERIOD
    beams = lidar.Beams.on_roof(azimuths)
    laser = scene.mounts[0]
    for lead in [*scene.sweep_leads(frame), 0]:
        view = world.view(time - lead * 1e-6, laser.ego_from_sensor)
        points, _ = lidar.sweep(world, view, beams, stream(seed, world.name, "lidar", frame, lead))
        (root / scene.file(laser, frame, lead, key=lead == 0)).write_bytes(points.astype("<f4").tobytes())
    poses = world.poses(time)[: len(world.actors)]
    center = world.world_from_ego(time)[:2, 3]
    shadow = shadow_map(world.weather, center, world.poses(time), world.sizes)
    seen, outline = np.zeros(len(poses), int), np.zeros(len(poses), int)
    for k, mount in enumerate(scene.mounts[1:]):
        view_camera = world.view(time - mount.lead_us * 1e-6, mount.ego_from_sensor)
        rays = camera_rays(mount.intrinsic, image_size)
        depth, solid, pixels = cameras.trace(world, view_camera, mount, rays)
        salt = int(stream(seed, world.name, "pixels", frame, k).integers(1 << 30))
        image = cameras.shade(world, view_camera, rays, depth, solid, shadow, salt)
        (root / scene.file(mount, frame, mount.lead_us, key=True)).write_bytes(cameras.encode(image))
        outline += pixels
        seen += cameras.visible_pixels(world, view_camera, solid)
    inside = count_points(view.world_from_sensor, points, poses, world.sizes[: len(poses)])
    near = np.hypot(*(poses[:, :2] - center).T) < ANNOTATED
    return Annotations(poses, world.speeds(time), inside, seen / np.maximum(outline, 1), near & (inside > 0))


def count_points(world_from_sensor: np.ndarray, points: np.ndarray, poses: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """[B] LiDAR points [N, 5] (sensor frame) inside the boxes with bottom poses [B, 4] and sizes [B, 3] (l, w, h)."""
    centers = poses[:, :3] + np.array([0, 0, 0.5]) * sizes
    rotation = world_from_sensor[:3, :3]
    local = (centers - world_from_sensor[:3, 3]) @ rotation
    turns = np.stack([rotation.T @ turn(yaw) for yaw in poses[:, 3]])
    return lidar.points_in_boxes(points[:, :3].astype(float), local, sizes, turns)

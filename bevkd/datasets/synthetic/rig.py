"""The sensors on the ego vehicle: where they sit, how they look, when they fire.

Ego frame: origin at the rear axle on the ground, x forward, y left, z up. Camera frame: x right, y down, z forward.
LiDAR frame as LIDAR_TOP of nuScenes: x right, y forward, z up. Values are round numbers near those of the nuScenes
cars; each scene's car differs by fractions of a degree and a centimetre, as real cars do.
"""

import math
from dataclasses import dataclass

import numpy as np

from bevkd.datasets.synthetic.seeds import stream
from bevkd.datasets.synthetic.solids import turn

# channel: (x, y, z in metres, heading in degrees CCW from ego forward, focal length at 1600 px, fires before LiDAR, us)
CAMERAS = {
    "CAM_FRONT": (1.70, 0.00, 1.51, 0.0, 1262.0, 35_000),
    "CAM_FRONT_RIGHT": (1.55, -0.49, 1.50, -56.0, 1262.0, 27_500),
    "CAM_FRONT_LEFT": (1.52, 0.49, 1.51, 55.0, 1262.0, 43_000),
    "CAM_BACK": (0.03, 0.00, 1.57, 180.0, 808.0, 10_500),
    "CAM_BACK_LEFT": (1.04, 0.48, 1.57, 108.5, 1262.0, 500),
    "CAM_BACK_RIGHT": (1.02, -0.48, 1.56, -110.5, 1262.0, 20_000),
}
LIDAR = "LIDAR_TOP"
BEAMS = 32
ELEVATIONS = np.radians(np.linspace(-30.67, 10.67, BEAMS))
FIRST_AZIMUTH = math.pi  # the scan starts at -x of the LiDAR frame (left of the car) and turns clockwise
CAMERA_AXES = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # ego from a camera that looks forward


@dataclass(frozen=True)
class Mount:
    """One calibrated sensor: 4x4 ego_from_sensor, intrinsic [3, 3] (None for LiDAR), trigger lead in microseconds."""

    channel: str
    ego_from_sensor: np.ndarray
    intrinsic: np.ndarray | None
    lead_us: int


def rigid(rotation: np.ndarray, translation: tuple | np.ndarray) -> np.ndarray:
    """4x4 matrix of a rotation [3, 3] and a translation [3]."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def tilt(angles: np.ndarray) -> np.ndarray:
    """[3, 3] rotation by roll, pitch and yaw in radians (x, then y, then z axis)."""
    (cr, sr), (cp, sp) = ((math.cos(a), math.sin(a)) for a in angles[:2])
    roll = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    pitch = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    return turn(angles[2]) @ pitch @ roll


def quaternion(rotation: np.ndarray) -> list[float]:
    """[w, x, y, z] of a rotation matrix, w >= 0; by the largest of the four squares, so it never divides by zero."""
    m = rotation
    squares = [
        1 + m[0, 0] + m[1, 1] + m[2, 2],
        1 + m[0, 0] - m[1, 1] - m[2, 2],
        1 - m[0, 0] + m[1, 1] - m[2, 2],
        1 - m[0, 0] - m[1, 1] + m[2, 2],
    ]
    k = int(np.argmax(squares))
    a, b, c = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    d, e, f = m[1, 0] + m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2]
    q = np.array([[squares[0], a, b, c], [a, squares[1], d, e], [b, d, squares[2], f], [c, e, f, squares[3]]][k])
    q /= np.linalg.norm(q) * (-1 if q[0] < 0 else 1)
    return [float(value) for value in q]


def build_rig(seed: int, scene: str, image_size: tuple[int, int]) -> list[Mount]:
    """LiDAR first, then six cameras. Images of ``image_size`` (H, W) are the real 1600x900 view scaled to width W with
    rows cut from the top (or sky added there), so the focal lengths and the look of the view stay those of nuScenes."""
    rng = stream(seed, scene, "rig")
    height, width = image_size
    scale = width / 1600.0
    turned = tilt(np.radians([0.0, 0.0, -90.0]) + rng.normal(0, math.radians(0.3), 3))
    mounts = [Mount(LIDAR, rigid(turned, np.array([0.94, 0.0, 1.84]) + rng.normal(0, 0.01, 3)), None, 0)]
    for channel, (x, y, z, heading, focal, lead) in CAMERAS.items():
        rotation = turn(math.radians(heading)) @ tilt(rng.normal(0, math.radians(0.35), 3)) @ CAMERA_AXES
        place = np.array([x, y, z]) + rng.normal(0, 0.01, 3)
        cu, cv = np.array([808.0, 490.0]) + rng.normal(0, 6.0, 2)
        focal = (focal + rng.normal(0, 4.0)) * scale
        intrinsic = np.array([[focal, 0, cu * scale], [0, focal, cv * scale - (900 * scale - height)], [0, 0, 1.0]])
        mounts.append(Mount(channel, rigid(rotation, place), intrinsic, lead))
    return mounts


def camera_rays(intrinsic: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """[H, W, 3] float32 directions with z = 1 through pixel centres; a pixel's centre has whole coordinates."""
    height, width = image_size
    rays = np.ones((height, width, 3), np.float32)
    rays[..., 0] = (np.arange(width) - intrinsic[0, 2]) / intrinsic[0, 0]
    rays[..., 1] = ((np.arange(height) - intrinsic[1, 2]) / intrinsic[1, 1])[:, None]
    return rays


def lidar_rays(azimuths: int) -> np.ndarray:
    """[32, azimuths, 3] float32 unit directions; row = ring from the lowest beam up, column = step of the turn."""
    azimuth = FIRST_AZIMUTH - np.arange(azimuths) * (2 * math.pi / azimuths)
    elevation = ELEVATIONS[:, None]
    level = np.cos(elevation)
    rays = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation) + 0 * azimuth], -1)
    return rays.astype(np.float32)

"""The sensors of a Waymo-like car: five LiDARs and five cameras, with their calibrations in Waymo's conventions.

The ego frame of ``rig.py`` is Waymo's vehicle frame. Values are round numbers near those of the Waymo cars; each
scene's car differs by fractions of a degree and a centimetre.
"""

import math
from dataclasses import dataclass

import numpy as np

from bevkd.datasets.synthetic.lidar import Beams
from bevkd.datasets.synthetic.rig import CAMERA_AXES, Mount, rigid, tilt
from bevkd.datasets.synthetic.seeds import stream
from bevkd.datasets.synthetic.solids import turn
from bevkd.datasets.waymo.range_images import LaserCalibration

PERIOD_US = 100_000  # of a turn of the LiDAR on the roof, and so of a frame
TOP = 1
# number: x, y, z in metres, heading in degrees
SHORT = {
    2: (3.65, 0.0, 0.69, 0.0),
    3: (2.9, 0.97, 0.98, 90.0),
    4: (2.9, -0.97, 0.98, -90.0),
    5: (-0.85, 0.0, 0.46, 180.0),
}
SHORT_INCLINATION = tuple(np.radians([-90.0, 30.0]))
SHORT_VIEW = math.radians(95.0)  # to either side; behind it the sensor sees the car that it is mounted on
SHORT_REACH = 20.0
REAL_STEPS, REAL_SHORT = 2650, (200, 600)  # sizes of Waymo's range images
CAMERAS = {1: (1.54, 0.0, 2.11, 0.0), 2: (1.5, 0.1, 2.11, 45.0), 3: (1.5, -0.1, 2.11, -45.0),
           4: (1.43, 0.11, 2.11, 90.0), 5: (1.43, -0.11, 2.11, -90.0)}  # fmt: skip
FOCAL, CENTER, REAL_SIZE = 2060.0, (947.0, 641.0), (1280, 1920)
SIDE_ROWS = 886  # of the images to the sides, whose lower part is not read out


@dataclass(frozen=True)
class Rig:
    """LiDAR calibrations and camera mounts by Waymo's numbers, and the size (H, W) of each camera's images."""

    lasers: dict[int, LaserCalibration]
    cameras: dict[int, Mount]
    sizes: dict[int, tuple[int, int]]


def build_rig(seed: int, scene: str, image_size: tuple[int, int], beams: int) -> Rig:
    """The car of one scene. Images of ``image_size`` (H, W) to the front are the real view scaled to width W with rows
    cut from the top (or sky added there); those to the sides are cut at the bottom as Waymo's are."""
    rng = stream(seed, scene, "waymo rig")
    share = (np.arange(beams) + 0.5) / beams
    # The beams lie closer together towards the horizon, as those of the real LiDAR.
    angles = np.radians(2.4 - 20.0 * (1 - share) ** 1.5)
    heading = np.radians([0.0, 0.0, 148.0]) + rng.normal(0, math.radians(0.3), 3)
    lasers = {
        TOP: LaserCalibration(
            TOP, rigid(tilt(heading), _place((1.43, 0.0, 2.18), rng)), (angles[0], angles[-1]), angles
        )
    }
    for number, (x, y, z, yaw) in SHORT.items():
        turned = tilt(np.radians([0.0, 0.0, yaw]) + rng.normal(0, math.radians(0.3), 3))
        lasers[number] = LaserCalibration(number, rigid(turned, _place((x, y, z), rng)), SHORT_INCLINATION)
    height, width = image_size
    scale = width / REAL_SIZE[1]
    cut = REAL_SIZE[0] * scale - height
    cameras, sizes = {}, {}
    for number, (x, y, z, yaw) in CAMERAS.items():
        rotation = turn(math.radians(yaw)) @ tilt(rng.normal(0, math.radians(0.35), 3)) @ CAMERA_AXES
        cu, cv = np.array(CENTER) + rng.normal(0, 6.0, 2)
        focal = (FOCAL + rng.normal(0, 4.0)) * scale
        # Centres of pixels have whole coordinates here.
        intrinsic = np.array([[focal, 0, cu * scale - 0.5], [0, focal, cv * scale - cut - 0.5], [0, 0, 1.0]])
        lead = round(yaw / 360 * PERIOD_US)  # when the LiDAR on the roof looks the same way, before the frame's middle
        cameras[number] = Mount(str(number), rigid(rotation, _place((x, y, z), rng)), intrinsic, lead)
        sizes[number] = (max(round(SIDE_ROWS * scale - cut), 16), width) if abs(yaw) == 90.0 else (height, width)
    return Rig(lasers, cameras, sizes)


def _place(position: tuple, rng: np.random.Generator) -> np.ndarray:
    return np.array(position) + rng.normal(0, 0.01, 3)


def rays_of(calibration: LaserCalibration, rows: int, columns: np.ndarray, steps: int) -> np.ndarray:
    """[rows, C, 3] float32 unit directions in the sensor's frame of the pixels in ``columns``, lowest beam first."""
    elevation = calibration.inclinations(rows)[::-1, None]
    azimuth = calibration.azimuths(steps)[columns]
    level = np.cos(elevation)
    rays = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation) + 0 * azimuth], -1)
    return rays.astype(np.float32)


def top_beams(calibration: LaserCalibration, rows: int, steps: int, sectors: int) -> list[Beams]:
    """The turn of the LiDAR on the roof in sectors, each short enough to be cast from one place at one instant."""
    azimuths, elevations = calibration.azimuths(steps), calibration.inclinations(rows)[::-1].copy()
    parts = np.array_split(np.arange(steps), sectors)
    return [
        Beams(rays_of(calibration, rows, part, steps), elevations, float(azimuths[0]), steps, int(part[0]))
        for part in parts
    ]


def short_beams(calibration: LaserCalibration, rows: int, steps: int) -> tuple[Beams, np.ndarray]:
    """The half circle that a LiDAR at the car's side sees, and the columns [C] of its range image in that order."""
    azimuths = calibration.azimuths(steps)
    ahead = (azimuths + np.pi) % (2 * np.pi) - np.pi
    columns = np.nonzero(np.abs(ahead) < SHORT_VIEW)[0]
    columns = columns[np.argsort(-ahead[columns])]
    elevations = calibration.inclinations(rows)[::-1].copy()
    rays = rays_of(calibration, rows, columns, steps)
    return Beams(rays, elevations, float(ahead[columns[0]]), steps, 0, SHORT_REACH), columns

"""What one frame of a segment holds."""

from dataclasses import dataclass, field

import numpy as np

from bevkd.errors import DataError

from . import schema
from .names import LASERS
from .range_images import LaserCalibration, range_image_points

POINT_FEATURES = ("x", "y", "z", "intensity", "elongation", "in_no_label_zone")
"""Columns of a frame's points. The last is 1 in a no-label zone and -1 (in some older sets 0) outside."""


@dataclass(frozen=True)
class CameraCalibration:
    """One camera. Its own frame is x forward, y left, z up; pixel 0 begins at the image's edge, its centre is 0.5.

    Attributes:
        name: Waymo's number of the camera.
        intrinsic: f_u, f_v, c_u, c_v in pixels, then the distortion k1, k2, p1, p2, k3 as in OpenCV.
        extrinsic: ``[4, 4]`` vehicle from camera, metres.
        size: (height, width) in pixels.
        rolling_shutter: Waymo's number of the direction in which rows or columns are read out.
    """

    name: int
    intrinsic: np.ndarray
    extrinsic: np.ndarray
    size: tuple[int, int]
    rolling_shutter: int


@dataclass(frozen=True)
class CameraImage:
    """One image: ``jpeg`` as stored, ``pose`` ``[4, 4]`` world from vehicle at ``pose_time`` (seconds since 1970).

    ``velocity`` holds metres a second along x, y, z and radians a second about them, in the world's axes; ``shutter``
    the exposure, the trigger and the end of readout, in seconds.
    """

    jpeg: bytes
    pose: np.ndarray
    pose_time: float
    velocity: np.ndarray
    shutter: tuple[float, float, float]


@dataclass(frozen=True)
class LidarBoxes:
    """The 3D labels of a frame, M of them, in its vehicle frame.

    Attributes:
        ids: ``[M]`` names that stay with an object through the segment.
        boxes: ``[M, 7]`` x, y, z of the centre, length, width, height, heading; metres and radians.
        types: ``[M]`` Waymo's object types, see ``names.TYPES``.
        num_points: ``[M]`` LiDAR points inside, of all LiDARs. num_top_points: of the one on the roof.
        difficulty: ``[M]`` of detection: 0 unset, 1 LEVEL_1, 2 LEVEL_2. tracking_difficulty: of tracking.
        speed: ``[M, 3]`` m/s in the world's axes, NaN where there is none. acceleration: m/s^2.
        synced_boxes: ``[M, 7]`` as ``boxes``, at the moment when the camera that sees the object best exposes it; NaN
            where no camera sees it, or without the component lidar_camera_synced_box.
        synced_cameras: ``[M]`` that camera's number, 0 where there is none.
    """

    ids: np.ndarray
    boxes: np.ndarray
    types: np.ndarray
    num_points: np.ndarray
    num_top_points: np.ndarray
    difficulty: np.ndarray
    tracking_difficulty: np.ndarray
    speed: np.ndarray
    acceleration: np.ndarray
    synced_boxes: np.ndarray
    synced_cameras: np.ndarray


@dataclass(frozen=True)
class CameraBoxes:
    """The 2D labels of one image: ``boxes`` ``[M, 4]`` centre u, v and size along u, v, in pixels."""

    ids: np.ndarray
    boxes: np.ndarray
    types: np.ndarray
    difficulty: np.ndarray
    tracking_difficulty: np.ndarray


@dataclass(frozen=True)
class Stats:
    """What is known of the surroundings, and how many objects of each type the segment has."""

    time_of_day: str
    location: str
    weather: str
    lidar_object_counts: dict[int, int]
    camera_object_counts: dict[int, int]


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        segment: context name. timestamp: its start, microseconds since 1970.
        pose: ``[4, 4]`` world from vehicle, about the middle of the frame; boxes and points are in this vehicle frame.
        lasers: calibrations by number; cameras: likewise.
        range_images: by LiDAR, first and second return ``[H, W, 4]`` float32: range (metres), intensity, elongation,
            in a no-label zone (1) or not (-1). Without an echo all four are -1. A second return may be None.
        pixel_poses: by LiDAR, ``[H, W, 6]``, see :func:`range_image_points`; only of LiDARs that have them.
        projections: by LiDAR and return, ``[H, W, 6]``: two times camera, u, v of each pixel's echo, 0 for no camera.
        images: by camera. boxes: 3D labels. camera_boxes: 2D labels by camera. What was not asked for is empty or None.
    """

    segment: str
    timestamp: int
    pose: np.ndarray
    lasers: dict[int, LaserCalibration]
    cameras: dict[int, CameraCalibration]
    range_images: dict[int, tuple[np.ndarray, np.ndarray | None]] = field(default_factory=dict)
    pixel_poses: dict[int, np.ndarray] = field(default_factory=dict)
    projections: dict[int, tuple[np.ndarray, np.ndarray | None]] = field(default_factory=dict)
    images: dict[int, CameraImage] = field(default_factory=dict)
    boxes: LidarBoxes | None = None
    camera_boxes: dict[int, CameraBoxes] = field(default_factory=dict)
    stats: Stats | None = None

    def points_of(self, laser: int, echo: int) -> tuple[np.ndarray, np.ndarray]:
        """Points ``[N, 6]`` float32 of one LiDAR and return (1 or 2), and their pixels ``[N, 2]`` (row, column).

        Columns: see ``POINT_FEATURES``; metres in the vehicle frame, intensity and elongation as stored.

        Raises:
            DataError: poses of another shape than the range image, or one that is not finite at an echo.
        """
        image = self.range_images[laser][echo - 1]
        if image is None:
            return np.empty((0, 6), np.float32), np.empty((0, 2), np.int64)
        poses = self.pixel_poses.get(laser)
        where = f"segment {self.segment}, frame {self.timestamp}, laser {LASERS[laser]}: component lidar_pose"
        if poses is not None and poses.shape[:2] != image.shape[:2]:
            raise DataError(f"{where} has shape {poses.shape}, expected {(*image.shape[:2], 6)} as the range image")
        xyz, pixels = range_image_points(image[..., 0], self.lasers[laser], poses, self.pose)
        if not np.isfinite(xyz.sum()):
            raise DataError(f"{where} is not finite at an echo of return {echo}, expected roll, pitch, yaw, x, y, z")
        return np.concatenate([xyz, image[pixels[:, 0], pixels[:, 1], 1:]], 1).astype(np.float32), pixels

    def points(self) -> np.ndarray:
        """Points ``[N, 6]`` float32 of all LiDARs: first returns, then second ones, each from LiDAR 1 to 5."""
        return np.concatenate(
            [self.points_of(laser, echo)[0] for echo in (1, 2) for laser in sorted(self.range_images)]
        )


def check_range_image(values: np.ndarray, shape: np.ndarray, depth: int, where: str) -> np.ndarray:
    """``[H, W, depth]`` out of a column of numbers and its shape.

    Raises:
        DataError: another shape or number of values, or, in the range images of LiDARs, an echo (a range that is
            neither 0 nor negative) of which a value is not finite. What stands in pixels without one does not matter.
    """
    shape = tuple(int(size) for size in shape)
    if len(shape) != 3 or shape[2] != depth or len(values) != np.prod(shape):
        raise DataError(f"{where} has {len(values)} values and shape {shape}, expected H x W x {depth} of them")
    image = values.astype(np.float32, copy=False).reshape(shape)
    if depth == schema.LIDAR.channels and not np.isfinite(values.sum()):  # one value that is not finite makes it so
        bad = ~np.isfinite(image).all(-1) & ~(image[..., 0] <= 0)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise DataError(
                f"{where}: row {row}, column {column} is {image[row, column].tolist()}, expected finite numbers"
            )
    return image

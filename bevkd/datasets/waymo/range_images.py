"""Range images to points and back: which ray a pixel is, and where along it the laser met something.

Rows are beams from the highest down. Columns are azimuths: seen in a frame whose axes are the vehicle's but for the
sensor's own tilt, column c of W looks at azimuth pi (2 (W - c - 0.5) / W - 1), so that the first column looks back,
the middle one forward, and the scan turns clockwise. (Waymo Open Dataset, ``range_image_utils``.)
"""

from dataclasses import dataclass

import numpy as np

from bevkd.errors import DataError


@dataclass(frozen=True)
class LaserCalibration:
    """Where one LiDAR sits and where its beams point.

    Attributes:
        name: Waymo's number of the LiDAR.
        extrinsic: ``[4, 4]`` vehicle from sensor, metres.
        inclination: (lowest, highest) bound of the beams' angles to the sensor's xy plane, radians.
        values: angles of the beams from the lowest up, where they are not evenly spread between the bounds.
    """

    name: int
    extrinsic: np.ndarray
    inclination: tuple[float, float]
    values: np.ndarray | None = None

    def inclinations(self, height: int) -> np.ndarray:
        """``[height]`` angles in radians, in row order: the highest beam first.

        Raises:
            DataError: a list of another length.
        """
        if self.values is None:
            low, high = self.inclination
            return (low + (np.arange(height) + 0.5) / height * (high - low))[::-1]
        if len(self.values) != height:
            raise DataError(
                f"laser {self.name}: beam_inclination.values has {len(self.values)} angles, expected {height}, one for "
                "each row of its range image"
            )
        return self.values[::-1]

    def azimuths(self, width: int) -> np.ndarray:
        """``[width]`` angles in radians about the sensor's z axis, in column order."""
        turned = np.arctan2(self.extrinsic[1, 0], self.extrinsic[0, 0])
        return ((width - np.arange(width) - 0.5) / width * 2 - 1) * np.pi - turned


def range_image_points(
    ranges: np.ndarray,
    calibration: LaserCalibration,
    pixel_pose: np.ndarray | None = None,
    frame_pose: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Points of one return, in the order of pixels: row by row.

    Worked number: a sensor at (1, 0, 2) with the vehicle's axes and one beam at inclination 0 has, in a range image of
    1 x 4, azimuths 135, 45, -45 and -135 degrees; range sqrt(2) in column 1 is the point (2, 1, 2).

    The LiDAR on the roof turns while the vehicle moves. Its ``pixel_pose`` says where the vehicle was at each pixel;
    points are moved to where it is at ``frame_pose``. Computed in float64, the translations' difference first: the
    official float32 code loses millimetres where coordinates of the world are kilometres.

    Args:
        ranges: ``[H, W]`` metres; a pixel without an echo is 0 or negative.
        calibration: the LiDAR's.
        pixel_pose: ``[H, W, 6]`` roll, pitch, yaw (radians) and x, y, z (metres) of the vehicle in the world.
        frame_pose: ``[4, 4]`` world from vehicle, together with ``pixel_pose``.

    Returns:
        ``[N, 3]`` float64 in the vehicle frame, and ``[N, 2]`` their (row, column).
    """
    rows, columns = np.nonzero(ranges > 0)
    distance = ranges[rows, columns].astype(np.float64)
    inclination, azimuth = calibration.inclinations(ranges.shape[0]), calibration.azimuths(ranges.shape[1])
    level = distance * np.cos(inclination)[rows]
    points = np.stack(
        [level * np.cos(azimuth)[columns], level * np.sin(azimuth)[columns], distance * np.sin(inclination)[rows]], 1
    )
    points = points @ calibration.extrinsic[:3, :3].T + calibration.extrinsic[:3, 3]
    if pixel_pose is not None:
        pose = pixel_pose[rows, columns].astype(np.float64)
        away = rotate_zyx(pose[:, :3], points) + (pose[:, 3:] - frame_pose[:3, 3])
        points = away @ np.linalg.inv(frame_pose[:3, :3]).T
    return points, np.stack([rows, columns], 1)


def rotate_zyx(angles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``[N, 3]`` points, each turned by its own roll, pitch and yaw ``[N, 3]``: about x first, then y, then z."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(angles).T, np.sin(angles).T
    x, y, z = points.T
    y, z = cr * y - sr * z, sr * y + cr * z
    x, z = cp * x + sp * z, cp * z - sp * x
    return np.stack([cy * x - sy * y, sy * x + cy * y, z], 1)

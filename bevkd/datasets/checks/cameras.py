"""Can the cameras of an info file be real: their intrinsics, how they hang, and where annotated objects fall?"""

import numpy as np

from .columns import Column, rectangle

_UPRIGHT = np.cos(np.radians(60.0))
_LEVEL = np.sin(np.radians(30.0))
_ENOUGH = 30
_NEAR, _FAR = 10.0, 60.0  # metres: objects that a level camera sees between its upper and lower edge


def check_intrinsics(column: Column, sizes: np.ndarray) -> np.ndarray:
    """``cam2img`` of all images as ``[M, 3, 3]``.

    Args:
        column: their ``[3, 3]`` (or ``[3, 4]``, ``[4, 4]``) matrices.
        sizes: ``[M, 2]`` height and width of the images as stored, NaN where the file does not say.

    Raises:
        DataError: not finite, singular or transposed; a focal length that is not in pixels; a principal point outside
            of the image, which shows that the image was resized and ``cam2img`` was not.
    """
    if rectangle(column.values, 3, 3) is None:  # some are larger, or none
        column.values = [_corner(value) for value in column.values]
    matrices = column.matrices(3, 3).values
    focal, centre = matrices[:, (0, 1), (0, 1)], matrices[:, :2, 2]
    singular = (focal <= 0).any(1) | (np.abs(np.linalg.det(matrices)) < 1e-6)
    text = ": singular camera matrix (focal lengths {x:.4g} and {y:.4g})"
    column.refuse(singular, text, x=focal[:, 0], y=focal[:, 1])
    last = np.abs(matrices[:, 2] - (0, 0, 1)).max(1) > 1e-6
    if last.any():
        rows = np.array([" ".join(f"{number:.4g}" for number in matrix[2]) for matrix in matrices])
        transposed = np.where((centre == 0).all(1), "; it looks transposed", "")
        column.refuse(last, ": its last row is {row}, expected 0 0 1{why}", row=rows, why=transposed)
    height, width = sizes.T
    tiny = (focal[:, 0] < np.where(np.isfinite(width), width / 20, 10.0)) | (focal[:, 1] < 10.0)
    text = ": its focal lengths are {x:.4g} and {y:.4g}, expected pixels of the stored image"
    column.refuse(tiny, text, x=focal[:, 0], y=focal[:, 1])
    outside = principal_point_outside(centre[:, 0], centre[:, 1], height, width)
    text = (
        ": its principal point ({u:.0f}, {v:.0f}) lies outside of the image of {w:.0f}x{h:.0f} pixels; expected "
        "cam2img of the image as stored"
    )
    column.refuse(outside, text, u=centre[:, 0], v=centre[:, 1], w=width, h=height)
    return matrices


def principal_point_outside(u: np.ndarray, v: np.ndarray, height: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Whether principal points lie outside of their images; above and below, where images are cropped, with a margin.

    Unknown sizes (NaN) say no.
    """
    return (u < 0) | (u > width) | (v < -height / 4) | (v > height * 5 / 4)


def check_upright(column: Column, confirmed: np.ndarray) -> None:
    """Refuse cameras that hang on their side or upside down, as a camera does whose pose is inverted.

    Where the record's other fields confirm the pose, it may hang as it likes.

    Args:
        column: ``lidar2cam``, ``[M, 4, 4]`` into axes x right, y down, z ahead; the LiDAR frame's z is up.
        confirmed: ``[M]`` whether other fields agree with it.

    Raises:
        DataError: naming the first.
    """
    up = -column.values[:, 1, 2]
    text = (
        ": the camera's upper edge would be {angle:.0f} degrees from upright, expected at most 60 (x right, y down, z "
        "ahead), or a cam2ego that agrees; it looks inverted or in other axes"
    )
    column.refuse((up < _UPRIGHT) & ~confirmed, text, angle=np.degrees(np.arccos(np.clip(up, -1, 1))))


def check_views(
    column: Column, chosen: np.ndarray, cam2img: np.ndarray, sizes: np.ndarray, boxes: dict[int, np.ndarray]
) -> None:
    """Refuse cameras whose images miss, above or below, most of the annotated objects that they look at.

    Judged by camera name over many samples; a camera that looks up or down by more than 30 degrees says nothing.

    Args:
        column: ``lidar2cam``, ``[M, 4, 4]``. chosen: ``[C]`` rows of it to look at.
        cam2img: ``[M, 3, 3]``. sizes: ``[M, 2]`` height and width, NaN where unknown.
        boxes: ``[B, 3]`` centres by sample, of objects with LiDAR points.

    Raises:
        DataError: naming a camera.
    """
    counts: dict[str, np.ndarray] = {}
    for row in chosen:
        centres = boxes[column.samples[row]]
        if len(centres) and abs(column.values[row, 2, 2]) < _LEVEL:
            counts[column.fields[row]] = counts.get(column.fields[row], 0) + _ahead(
                centres, column.values[row], cam2img[row], sizes[row]
            )
    for row in chosen:
        ahead, inside = counts.get(column.fields[row], (0, 0))
        if ahead >= _ENOUGH and inside < ahead / 2:
            text = f": {inside} of {ahead} objects in front of this camera lie within its image, expected most of them"
            column.refuse(np.arange(len(column)) == row, text)


def _ahead(centres: np.ndarray, lidar2cam: np.ndarray, cam2img: np.ndarray, size: np.ndarray) -> np.ndarray:
    """How many centres lie within the camera's horizontal field, and how many of these in the image."""
    height, width = np.where(np.isfinite(size), size, 2 * cam2img[(1, 0), 2])
    x, y, depth = lidar2cam[:3, :3] @ centres.T + lidar2cam[:3, 3:]
    near = (depth > _NEAR) & (depth < _FAR)
    depth = np.where(near, depth, 1.0)
    u = (cam2img[0, 0] * x + cam2img[0, 1] * y) / depth + cam2img[0, 2]
    v = cam2img[1, 1] * y / depth + cam2img[1, 2]
    ahead = near & (u > 0) & (u < width)
    return np.array([ahead.sum(), (ahead & (v > 0) & (v < height)).sum()])


def _corner(value: object) -> object:
    """The upper left 3x3 of a larger matrix as nested lists."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list) and len(value) in (3, 4) and all(isinstance(row, list) for row in value):
        return [row[:3] for row in value[:3]]
    return value

"""Twin of :mod:`bevkd.ops.points_in_boxes`."""

from torch import Tensor


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """[T, M] bool: rotate every point into the frame of every box and compare with half its sizes."""
    x, y, bottom, dx, dy, dz, yaw = (column[:, None] for column in boxes.T)
    px, py, pz = points.T
    along = (px - x) * yaw.cos() + (py - y) * yaw.sin()
    across = (py - y) * yaw.cos() - (px - x) * yaw.sin()
    return ((pz - (bottom + dz / 2)).abs() <= dz / 2) & (along.abs() < dx / 2) & (across.abs() < dy / 2)

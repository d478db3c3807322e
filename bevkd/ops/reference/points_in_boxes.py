"""Twin of :mod:`bevkd.ops.points_in_boxes`."""

import torch
from torch import Tensor


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """[T, M] bool: rotate every point into the frame of every box and compare with half its sizes."""
    return points_in_boxes_all(points[None], boxes[None])[0].T


def points_in_boxes_all(points: Tensor, boxes: Tensor) -> Tensor:
    """[B, M, T] bool."""
    x, y, bottom, dx, dy, dz, yaw = boxes[:, None].unbind(-1)
    px, py, pz = points[:, :, None].unbind(-1)
    along = (px - x) * yaw.cos() + (py - y) * yaw.sin()
    across = (py - y) * yaw.cos() - (px - x) * yaw.sin()
    return ((pz - (bottom + dz / 2)).abs() <= dz / 2) & (along.abs() < dx / 2) & (across.abs() < dy / 2)


def points_in_boxes_part(points: Tensor, boxes: Tensor) -> Tensor:
    """[B, M] int32: the first box that holds a point, -1 for none."""
    inside = points_in_boxes_all(points, boxes)
    index = torch.arange(inside.shape[-1], dtype=torch.int32)
    none = torch.full((*inside.shape[:2], 1), inside.shape[-1], dtype=torch.int32)
    first = torch.cat((index.where(inside, none), none), -1).amin(-1)
    return first.where(first < inside.shape[-1], -1)

"""Boxes to points in bird's-eye view, and feature maps sampled at them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bevkd.structures.bev_grid import BEVGrid

# Corner signs counter-clockwise from front-left, in units of half sizes along (dx, dy).
_CORNERS = ((1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0))


def box_corners_bev(boxes: Tensor) -> Tensor:
    """The four BEV corners of each box, counter-clockwise from the front-left one.

    Args:
        boxes: [M, >=7] x, y, z, dx, dy, dz, yaw (metres, radians, yaw counter-clockwise from +x).

    Returns:
        [M, 4, 2] (x, y) in metres. A box at the origin with dx 4, dy 2 and yaw 0 starts at (2, 1).
    """
    half = boxes[:, None, 3:5] / 2 * boxes.new_tensor(_CORNERS)
    cos, sin = boxes[:, 6].cos()[:, None], boxes[:, 6].sin()[:, None]
    x = half[..., 0] * cos - half[..., 1] * sin
    y = half[..., 0] * sin + half[..., 1] * cos
    return torch.stack((x, y), -1) + boxes[:, None, :2]


def nine_keypoints(boxes: Tensor) -> Tensor:
    """The nine points of UniDistill: four corners, their mean (the centre), four edge midpoints.

    Args:
        boxes: [M, >=7], see :func:`box_corners_bev`.

    Returns:
        [M, 9, 2] (x, y) in metres.
    """
    corners = box_corners_bev(boxes)
    midpoints = (corners + corners.roll(-1, dims=1)) / 2
    return torch.cat((corners, corners.mean(1, keepdim=True), midpoints), 1)


def sample_bev(feature: Tensor, points: Tensor, grid: BEVGrid) -> Tensor:
    """Bilinear samples of one BEV map, zero outside the grid.

    Args:
        feature: [C, Y, X] over ``grid``.
        points: [..., 2] (x, y) in metres.

    Returns:
        [..., C].
    """
    where = grid.normalise(points.to(feature.dtype)).reshape(1, -1, 1, 2)
    samples = F.grid_sample(feature[None], where, mode="bilinear", padding_mode="zeros", align_corners=False)
    return samples[0, :, :, 0].T.reshape(*points.shape[:-1], feature.shape[0])

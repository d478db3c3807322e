"""Boxes to points and radii in bird's-eye view, and feature maps sampled at them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bevkd.structures.bev_grid import BEVGrid

# The keypoints of a mirrored box by number of what they were: front stays front, left and right change sides.
MIRRORED_KEYPOINTS = (3, 2, 1, 0, 4, 7, 6, 5, 8)


def box_corners_bev(boxes: Tensor) -> Tensor:
    """The four BEV corners of each box, counter-clockwise from the front-left one.

    Args:
        boxes: [M, >=7] x, y, z, dx, dy, dz, yaw (metres, radians, yaw counter-clockwise from +x).

    Returns:
        [M, 4, 2] (x, y) in metres. A box at the origin with dx 4, dy 2 and yaw 0 starts at (2, 1).
    """
    dx, dy = boxes[:, 3] / 2, boxes[:, 4] / 2
    along, across = torch.stack((dx, -dx, -dx, dx), 1), torch.stack((dy, dy, -dy, -dy), 1)
    cos, sin = boxes[:, 6].cos()[:, None], boxes[:, 6].sin()[:, None]
    return torch.stack((along * cos - across * sin, along * sin + across * cos), -1) + boxes[:, None, :2]


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


def gaussian_radius(size: Tensor, min_overlap: float = 0.7) -> Tensor:
    """CornerNet's radius, as CenterNet and CenterPoint use it: the largest shift of the corners of a box that keeps
    ``min_overlap`` IoU, the least of its three cases, each root taken as (b + sqrt(b^2 - 4ac)) / 2.

    Args:
        size: [M, 2] box sides in cells.

    Returns:
        [M] whole cells, rounded down. 4.6 x 1.9 m on 0.6 m cells gives 1, 0.7 x 0.7 m gives 0, 12 x 2.9 m gives 2.
    """
    total, area = size.sum(1), size.prod(1)
    cases = (
        (1.0, total, area * (1 - min_overlap) / (1 + min_overlap)),
        (4.0, 2 * total, area * (1 - min_overlap)),
        (4 * min_overlap, -2 * min_overlap * total, area * (min_overlap - 1)),
    )
    roots = [(b + (b**2 - 4 * a * c).clamp(min=0).sqrt()) / 2 for a, b, c in cases]
    return torch.stack(roots).amin(0).clamp(min=0).floor()


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

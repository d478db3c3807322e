"""Which points lie in which upright boxes.

A box at the origin with sizes (4, 2, 1.5) and yaw 0 holds (1.9, 0, 0) and (0, 0, 1.5), and does not hold (2, 0, 0): top
and bottom belong to a box, its four sides do not. A point or box with a NaN is in nothing and holds nothing.

All forms take points x, y, z (metres) and boxes x, y, z of the centre of the BOTTOM face, dx, dy, dz, yaw (radians)
counter-clockwise from +x, in one dtype, float32 or float64. No gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import library
from bevkd.ops.box_iou_rotated import FLOATS


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Test every point against every box of one sample.

    Args:
        points: [M, 3].
        boxes: [T, 7].

    Returns:
        [T, M] bool.

    Raises:
        ConfigError: a shape, dtype or device that is not as described.
    """
    _require(points, boxes, "")
    inside: Tensor = torch.ops.bevkd.points_in_boxes(points.detach()[None], boxes.detach()[None])[0]
    return inside


def points_in_boxes_all(points: Tensor, boxes: Tensor) -> Tensor:
    """Test every point against every box of its sample; pad boxes with zeros, which hold nothing.

    Args:
        points: [B, M, 3].
        boxes: [B, T, 7].

    Returns:
        [B, M, T] bool.

    Raises:
        ConfigError: a shape, dtype or device that is not as described.
    """
    _require(points, boxes, "B, ")
    inside: Tensor = torch.ops.bevkd.points_in_boxes_all(points.detach(), boxes.detach())
    return inside


def points_in_boxes_part(points: Tensor, boxes: Tensor) -> Tensor:
    """Find one box for every point: the first that holds it.

    Args:
        points: [B, M, 3].
        boxes: [B, T, 7].

    Returns:
        [B, M] int32, index among the T boxes of the sample, -1 for a point in none.

    Raises:
        ConfigError: a shape, dtype or device that is not as described.
    """
    _require(points, boxes, "B, ")
    first: Tensor = torch.ops.bevkd.points_in_boxes_part(points.detach(), boxes.detach())
    return first


def _require(points: Tensor, boxes: Tensor, batch: str) -> None:
    dims = 3 if batch else 2
    for name, tensor, rows, width in (("points", points, "M", 3), ("boxes", boxes, "T", 7)):
        library.require_tensor(name, tensor, f"[{batch}{rows}, {width}]", dims, FLOATS)
        if tensor.shape[-1] != width:
            raise ConfigError(f"{name} has shape {tuple(tensor.shape)}, expected [{batch}{rows}, {width}]")
    if points.dtype != boxes.dtype:
        raise ConfigError(f"boxes are {boxes.dtype}, expected {points.dtype} like points")
    if batch and len(points) != len(boxes):
        raise ConfigError(f"boxes hold {len(boxes)} samples, expected {len(points)} like points")


def _register() -> None:
    library.load()

    def pairs(points: Tensor, boxes: Tensor) -> Tensor:
        return points.new_empty(len(points), boxes.shape[1], points.shape[1], dtype=torch.bool)

    def pairs_of_points(points: Tensor, boxes: Tensor) -> Tensor:
        return points.new_empty(len(points), points.shape[1], boxes.shape[1], dtype=torch.bool)

    def first(points: Tensor, boxes: Tensor) -> Tensor:
        return points.new_empty(points.shape[:2], dtype=torch.int32)

    torch.library.register_fake("bevkd::points_in_boxes", pairs)
    torch.library.register_fake("bevkd::points_in_boxes_all", pairs_of_points)
    torch.library.register_fake("bevkd::points_in_boxes_part", first)


_register()

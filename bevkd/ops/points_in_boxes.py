"""Which points lie in which upright boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import library
from bevkd.ops.box_iou_rotated import require_boxes


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Test every point against every box.

    A box at the origin with sizes (4, 2, 1.5) and yaw 0 holds (1.9, 0, 0) and (0, 0, 1.5), and does not hold
    (2, 0, 0): top and bottom belong to a box, its four sides do not.

    Args:
        points: [M, 3] float, x, y, z metres.
        boxes: [T, 7], x, y, z of the centre of the BOTTOM face, dx, dy, dz, yaw counter-clockwise from +x (radians),
            of the same dtype.

    Returns:
        [T, M] bool.

    Raises:
        ConfigError: a shape, dtype or device that is not as described.
    """
    require_boxes(3, points=points)
    require_boxes(7, boxes=boxes)
    if points.dtype != boxes.dtype:
        raise ConfigError(f"boxes are {boxes.dtype}, expected {points.dtype} like points")
    with torch.no_grad():
        return torch.ops.bevkd.points_in_boxes(points, boxes).bool()


def _register() -> None:
    library.load()
    torch.library.register_fake(
        "bevkd::points_in_boxes",
        lambda points, boxes: points.new_empty(len(boxes), len(points), dtype=torch.int32),
    )


_register()

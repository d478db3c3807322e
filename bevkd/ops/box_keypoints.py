"""The points of a box at which features are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bevkd.ops import library
from bevkd.ops.rotated_box_mask import require_padded_boxes

if TYPE_CHECKING:
    from bevkd.structures import BEVGrid


def box_keypoints(boxes: Tensor, valid: Tensor, grid: BEVGrid) -> Tensor:
    """The nine points of UniDistill on a map: four corners counter-clockwise from the front-left one, the centre, the
    middles of the four edges, as :func:`bevkd.structures.nine_keypoints` has them in metres.

    On a map of 16 x 16 m around the origin a box at the origin with sizes (4, 2) and yaw 0 starts at (0.25, 0.125).
    No gradient, no host synchronisation; float32 boxes stay float32, and autocast changes nothing.

    Args:
        boxes: [B, M, >=7] x, y, z, dx, dy, dz, yaw (metres, radians), float32 or float64; padded to one M.
        valid: [B, M] bool, False for padding rows; their points are (2, 2), off the map.
        grid: the map, in the frame of the boxes.

    Returns:
        [B, M, 9, 2] (x, y) from -1 to 1 between the outer edges of the map, for
        :func:`bevkd.ops.sample_keypoints`; NaN where the box is.

    Raises:
        ConfigError: a shape, dtype or device that is not as described.
    """
    require_padded_boxes(boxes, valid)
    low, high = zip(grid.x_range, grid.y_range, strict=True)
    with torch.no_grad():
        points: Tensor = torch.ops.bevkd.box_keypoints(boxes, valid, list(low), list(high))
    return points


def _register() -> None:
    library.load()
    torch.library.register_fake(
        "bevkd::box_keypoints", lambda boxes, valid, low, high: boxes.new_empty(*boxes.shape[:2], 9, 2)
    )


_register()

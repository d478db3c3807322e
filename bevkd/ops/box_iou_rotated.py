"""Overlap of rotated rectangles on the ground plane."""

from __future__ import annotations

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import library

FLOATS = (torch.float32, torch.float64)


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor, aligned: bool = False, over_first: bool = False) -> Tensor:
    """Intersection over union of rotated boxes, by exact polygon clipping in float64. No gradient.

    A unit square and the same square turned by pi/4 share a regular octagon of area 2 sqrt(2) - 2 = 0.828427, so their
    IoU is 0.828427 / 1.171573 = 0.707107.

    Args:
        boxes1: [M, 5] x, y, w, h, angle (metres, radians, the same turning sense in both sets).
        boxes2: [K, 5], of the same dtype.
        aligned: pair row i with row i (M = K) instead of all with all.
        over_first: divide by the area of the first box instead of by the union.

    Returns:
        [M, K], or [M] when aligned. A box with a side <= 0 or a value that is not finite overlaps nothing.

    Raises:
        ConfigError: a shape, dtype or device that is not as described.
    """
    require_boxes(boxes1=boxes1, boxes2=boxes2)
    if boxes1.dtype != boxes2.dtype:
        raise ConfigError(f"boxes2 are {boxes2.dtype}, expected {boxes1.dtype} like boxes1")
    if aligned and len(boxes1) != len(boxes2):
        raise ConfigError(f"aligned boxes number {len(boxes1)} and {len(boxes2)}, expected as many of both")
    with torch.no_grad():
        overlaps: Tensor = torch.ops.bevkd.box_iou_rotated(boxes1, boxes2, aligned, over_first)
    return overlaps


def require_boxes(width: int = 5, **boxes: Tensor) -> None:
    """Raise ConfigError unless every tensor is [M, width] float on a device with a kernel."""
    for name, tensor in boxes.items():
        library.require_tensor(name, tensor, f"[M, {width}]", 2, FLOATS)
        if tensor.shape[1] != width:
            raise ConfigError(f"{name} has shape {tuple(tensor.shape)}, expected [M, {width}]")


def _register() -> None:
    library.load()

    def fake(boxes1: Tensor, boxes2: Tensor, aligned: bool, over_first: bool) -> Tensor:
        return boxes1.new_empty(len(boxes1)) if aligned else boxes1.new_empty(len(boxes1), len(boxes2))

    torch.library.register_fake("bevkd::box_iou_rotated", fake)


_register()

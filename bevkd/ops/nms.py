"""Greedy non-maximum suppression of rotated and of axis-aligned boxes.

A box that is not valid (a side <= 0, a value that is not finite) overlaps nothing: it suppresses nothing and is kept.
A NaN score ranks last, so that it hides no box whose score is known.

The compiled ops work on boxes in descending score order and answer with a mask [N]: static shapes, and on a GPU no wait
for the host. The functions here turn the mask into indices, which takes one such wait to learn their number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import library
from bevkd.ops.box_iou_rotated import require_boxes


def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None) -> Tensor:
    """Keep the best of every group of rotated boxes that overlap by more than ``iou_threshold``.

    Args:
        boxes: [N, 5] x, y, w, h, angle (metres, radians).
        scores: [N]; equal scores keep the earlier box.
        iou_threshold: an IoU above it suppresses; at least 0.
        labels: [N] integers; boxes of different labels never suppress each other.

    Returns:
        [K] int64 indices into ``boxes``, best score first.

    Raises:
        ConfigError: a shape, dtype, device or threshold that is not as described.
    """
    order = _order(boxes, 5, scores, iou_threshold)
    if labels is not None and labels.shape != scores.shape:
        raise ConfigError(f"labels have shape {tuple(labels.shape)}, expected [{len(boxes)}]")
    sorted_labels = None if labels is None else labels.long()[order]
    return order[torch.ops.bevkd.nms_rotated(boxes.detach()[order], sorted_labels, float(iou_threshold))]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: float = 0.0) -> Tensor:
    """As :func:`nms_rotated` for axis-aligned boxes [N, 4] (x1, y1, x2, y2).

    ``offset`` is added to widths and heights; 1 is the older convention of inclusive pixel corners.
    """
    order = _order(boxes, 4, scores, iou_threshold)
    return order[torch.ops.bevkd.nms(boxes.detach()[order], float(iou_threshold), float(offset))]


def _order(boxes: Tensor, width: int, scores: Tensor, iou_threshold: float) -> Tensor:
    """Check the arguments; indices by descending score."""
    require_boxes(width, boxes=boxes)
    if scores.shape != boxes.shape[:1]:
        raise ConfigError(f"scores have shape {tuple(scores.shape)}, expected [{len(boxes)}]")
    if not iou_threshold >= 0:
        raise ConfigError(f"iou_threshold is {iou_threshold}, expected at least 0")
    ranked = scores.detach().nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    return torch.sort(ranked, stable=True, descending=True).indices


def _register() -> None:
    library.load()

    def fake(boxes: Tensor, *_: object) -> Tensor:
        return boxes.new_empty(len(boxes), dtype=torch.bool)

    torch.library.register_fake("bevkd::nms_rotated", fake)
    torch.library.register_fake("bevkd::nms", fake)


_register()

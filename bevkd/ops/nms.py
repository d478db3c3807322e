"""Greedy non-maximum suppression of rotated and of axis-aligned boxes."""

from __future__ import annotations

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
        iou_threshold: an IoU above it suppresses.
        labels: [N] integers; boxes of different labels never suppress each other.

    Returns:
        [K] int64 indices into ``boxes``, best score first.

    Raises:
        ConfigError: a shape, dtype or device that is not as described.
    """
    require_boxes(boxes=boxes)
    order = _order(boxes, scores)
    if labels is not None and labels.shape != scores.shape:
        raise ConfigError(f"labels have shape {tuple(labels.shape)}, expected [{len(boxes)}]")
    sorted_labels = None if labels is None else labels.long()[order]
    return order[torch.ops.bevkd.nms_rotated(boxes.detach()[order], sorted_labels, float(iou_threshold))]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: float = 0.0) -> Tensor:
    """As :func:`nms_rotated` for axis-aligned boxes [N, 4] (x1, y1, x2, y2).

    ``offset`` is added to widths and heights; 1 is the older convention of inclusive pixel corners.
    """
    require_boxes(4, boxes=boxes)
    order = _order(boxes, scores)
    return order[torch.ops.bevkd.nms(boxes.detach()[order], float(iou_threshold), float(offset))]


def _order(boxes: Tensor, scores: Tensor) -> Tensor:
    if scores.shape != boxes.shape[:1]:
        raise ConfigError(f"scores have shape {tuple(scores.shape)}, expected [{len(boxes)}]")
    return torch.sort(scores.detach(), stable=True, descending=True).indices


def _register() -> None:
    library.load()

    def fake(boxes: Tensor, *_) -> Tensor:
        return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)

    torch.library.register_fake("bevkd::nms_rotated", fake)
    torch.library.register_fake("bevkd::nms", fake)


_register()

"""Twin of :mod:`bevkd.ops.nms`: walk the boxes by score, keep one that overlaps no kept one too much."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bevkd.ops.reference.box_iou_rotated import box_iou_rotated


def greedy(scores: Tensor, suppresses: Callable[[int, int], bool]) -> Tensor:
    """Indices kept, best first; equal scores in input order, NaN last."""

    def rank(i: int) -> float:
        score = float(scores[i])
        return -math.inf if math.isnan(score) else score

    kept: list[int] = []
    for j in sorted(range(len(scores)), key=lambda i: -rank(i)):
        if not any(suppresses(i, j) for i in kept):
            kept.append(j)
    return torch.tensor(kept, dtype=torch.int64)


def nms_rotated(boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None) -> Tensor:
    """[K] int64."""
    iou = box_iou_rotated(boxes.double(), boxes.double())
    same = torch.ones_like(iou, dtype=torch.bool) if labels is None else labels[:, None] == labels
    return greedy(scores, lambda i, j: bool(same[i, j] and iou[i, j] > iou_threshold))


def plain_iou(boxes: Tensor, offset: float = 0.0) -> Tensor:
    """[N, N]; 0 or NaN for a pair with a box that has no area or is not finite."""
    size = boxes[:, 2:] - boxes[:, :2] + offset
    areas = size.prod(1)
    low = torch.maximum(boxes[:, None, :2], boxes[:, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (high - low + offset).clamp(min=0).prod(-1)
    return shared / (areas[:, None] + areas - shared)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: float = 0.0) -> Tensor:
    """[K] int64."""
    iou = plain_iou(boxes, offset)
    return greedy(scores, lambda i, j: bool(iou[i, j] > iou_threshold))

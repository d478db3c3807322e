"""Tiny bird's-eye-view features for :meth:`bevkd.distill.method.Method.example`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bevkd.structures import BEVGrid
from bevkd.structures.targets import Targets

GRID = BEVGrid((-6, 6), (-6, 6), 0.5)
_BOXES = ((1.0, 2.0, 0.0, 3.0, 1.5, 1.0, 0.3, 0.0, 0.0), (-3.0, -2.5, 0.0, 2.0, 1.0, 1.0, -2.0, 0.5, 0.0))
_HEAD = {"heatmap": 2, "reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}


def bev_example(student: int = 4, teacher: int = 6, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any], Targets]:
    """Taps ``low``, ``high`` and ``head`` of two samples over 24 x 24 cells, and three boxes.

    Args:
        student: channels of its ``low``; ``high`` has twice as many.
        teacher: likewise.
        seed: of the random maps.

    Returns:
        The student's taps, which require gradients, the teacher's, and the targets.
    """
    draw = torch.Generator().manual_seed(seed)

    def taps(channels: int, trained: bool) -> dict[str, Any]:
        def some(count: int) -> Tensor:
            return torch.randn(2, count, *GRID.shape, generator=draw).requires_grad_(trained)

        head = [{key: some(count) for key, count in _HEAD.items()} for _ in range(2)]
        return {"low": some(channels), "high": some(2 * channels), "head": head}

    boxes = torch.tensor(_BOXES)
    labels = [torch.tensor([0, 1]), torch.tensor([2])]
    return taps(student, True), taps(teacher, False), Targets([boxes, boxes[:1]], labels, GRID)

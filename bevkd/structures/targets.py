"""What a distillation method may know about the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bevkd.errors import DataError
from bevkd.structures.bev_grid import BEVGrid


@dataclass
class Targets:
    """Ground truth of a batch over one BEV grid.

    Attributes:
        boxes: per sample [M_b, >=7] x, y, z, dx, dy, dz, yaw[, vx, vy] in metres and radians, LiDAR frame.
        labels: per sample [M_b] int64.
        grid: the grid that teacher and student share.
    """

    boxes: list[Tensor]
    labels: list[Tensor]
    grid: BEVGrid

    @classmethod
    def from_data_samples(
        cls, data_samples: Sequence[Any], grid: BEVGrid, device: torch.device | None = None
    ) -> Targets:
        """Read ``gt_instances_3d`` of mmdet3d data samples.

        Raises:
            DataError: a sample without ``gt_instances_3d.bboxes_3d`` and ``labels_3d``, or a different number of each.
        """
        boxes, labels = [], []
        for index, sample in enumerate(data_samples):
            truth = getattr(sample, "gt_instances_3d", None)
            if truth is None or not hasattr(truth, "bboxes_3d") or not hasattr(truth, "labels_3d"):
                raise DataError(f"sample {index} of the batch has no gt_instances_3d with bboxes_3d and labels_3d")
            box = truth.bboxes_3d
            boxes.append(getattr(box, "tensor", box).to(device))
            labels.append(truth.labels_3d.to(device))
            if len(boxes[-1]) != len(labels[-1]):
                found = f"{len(boxes[-1])} boxes and {len(labels[-1])} labels"
                raise DataError(f"sample {index} of the batch has {found}, expected as many of each")
        return cls(boxes, labels, grid)

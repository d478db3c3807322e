"""Foreground masks and feature losses the way distillation code writes them: NumPy on the host, many torch passes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def eager_masked_loss(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Squared difference of two maps, both masked, weighted per cell and summed.

    Args:
        student: [B, C, Y, X]; teacher: [B, C, Y, X]; weight: [B, Y, X].
    """
    mask = (weight > 0).to(student.dtype)[:, None]
    difference = F.mse_loss(student * mask, teacher * mask, reduction="none")
    return (difference * weight[:, None]).sum()


def numpy_masks_and_keypoints(
    boxes: Tensor, student: Tensor, teacher: Tensor, low: tuple[float, float], cell: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Every cell centre against every box in NumPy, nine points per box from the host, two ``grid_sample`` calls.

    Args:
        boxes: [M, >=7] of one sample, metres and radians.
        student: [1, C, Y, X]; teacher: [1, C, Y, X]; low: (x, y) of the map's outer corner; cell: metres.

    Returns:
        mask [Y, X] bool, student [M, 9, C], teacher [M, 9, C].
    """
    rows, columns = student.shape[-2:]
    centre_x = low[0] + (np.arange(columns, dtype=np.float32) + 0.5) * cell
    centre_y = low[1] + (np.arange(rows, dtype=np.float32) + 0.5) * cell
    cells = np.stack(np.meshgrid(centre_x, centre_y), -1).reshape(-1, 2)
    mask = np.zeros(rows * columns, bool)
    keypoints = []
    for box in boxes.cpu().numpy():
        cos, sin = np.cos(box[6]), np.sin(box[6])
        offset = cells - box[:2]
        along, across = offset[:, 0] * cos + offset[:, 1] * sin, offset[:, 1] * cos - offset[:, 0] * sin
        mask |= (np.abs(along) <= box[3] / 2) & (np.abs(across) <= box[4] / 2)
        steps = [(i, j) for i in (-0.5, 0, 0.5) for j in (-0.5, 0, 0.5)]
        keypoints.append(
            [
                (box[0] + i * box[3] * cos - j * box[4] * sin, box[1] + i * box[3] * sin + j * box[4] * cos)
                for i, j in steps
            ]
        )
    where = torch.tensor(np.asarray(keypoints, np.float32), device=student.device)
    extent = where.new_tensor([columns * cell, rows * cell])
    normal = 2 * (where - where.new_tensor(low)) / extent - 1
    sampled = [F.grid_sample(m, normal[None], align_corners=False)[0].permute(1, 2, 0) for m in (student, teacher)]
    return torch.from_numpy(mask).reshape(rows, columns), *sampled

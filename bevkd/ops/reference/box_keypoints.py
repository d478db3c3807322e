"""Twin of :mod:`bevkd.ops.box_keypoints`."""

import torch
from torch import Tensor

from bevkd.structures import BEVGrid, nine_keypoints


def box_keypoints(boxes: Tensor, valid: Tensor, grid: BEVGrid) -> Tensor:
    """[B, M, 9, 2]."""
    points = grid.normalise(nine_keypoints(boxes.flatten(0, 1))).view(*boxes.shape[:2], 9, 2)
    return torch.where(valid[..., None, None], points, 2.0)

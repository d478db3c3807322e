"""Twin of :mod:`bevkd.ops.bev_pool`: materialise depth x feature, then add every point to its cell."""

import torch
from torch import Tensor

from bevkd.ops.reference.cells import axis_cell
from bevkd.structures import BEVGrid


def lift_cells(frustum: Tensor, grid: BEVGrid, z_range: tuple[float, float], rounding: str = "floor") -> Tensor:
    """[B, N, D, H, W] int64, the cell ``(b Y + y) X + x`` of each frustum point, -1 outside."""
    rows, columns = grid.shape
    x = axis_cell(frustum[..., 0], grid.x_range[0], grid.x_range[1], grid.cell, rounding)
    y = axis_cell(frustum[..., 1], grid.y_range[0], grid.y_range[1], grid.cell, rounding)
    z = axis_cell(frustum[..., 2], z_range[0], z_range[1], z_range[1] - z_range[0], rounding)
    sample = torch.arange(frustum.shape[0]).reshape(-1, 1, 1, 1, 1)
    inside = (x >= 0) & (y >= 0) & (z >= 0) & frustum.isfinite().all(-1)
    return torch.where(inside, (sample * rows + y) * columns + x, -1)


def bev_pool(depth: Tensor, feat: Tensor, cell: Tensor, shape: tuple[int, int]) -> Tensor:
    """[B, C, Y, X] from depth [B, N, D, H, W], feat [B, N, H, W, C] and the cells of :func:`lift_cells`."""
    lifted = depth[..., None] * feat[:, :, None]
    inside = cell >= 0
    pooled = feat.new_zeros(depth.shape[0] * shape[0] * shape[1], feat.shape[-1])
    pooled = pooled.index_add(0, cell[inside], lifted[inside])
    return pooled.reshape(depth.shape[0], *shape, feat.shape[-1]).permute(0, 3, 1, 2)

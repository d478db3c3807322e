"""Twin of :mod:`bevkd.ops.rotated_box_mask`: every cell against every box at once."""

import torch
from torch import Tensor

from bevkd.structures import BEVGrid, gaussian_radius


def rotated_box_mask(
    boxes: Tensor, valid: Tensor, grid: BEVGrid, min_overlap: float | None = None, min_radius: int = 0
) -> tuple[Tensor, Tensor, Tensor | None]:
    """index [B, Y, X] int32, counts [B, M] int32, gaussian [B, Y, X] float32 or None."""
    rows, columns = grid.shape
    x = (grid.x_range[0] + (torch.arange(columns, dtype=torch.float64) + 0.5) * grid.cell).float()
    y = (grid.y_range[0] + (torch.arange(rows, dtype=torch.float64) + 0.5) * grid.cell).float()
    wide = boxes[..., :7].double()
    numbers = [wide[..., 0], wide[..., 1], wide[..., 3] / 2, wide[..., 4] / 2, wide[..., 6].cos(), wide[..., 6].sin()]
    centre_x, centre_y, half_x, half_y, cos, sin = (n.float()[..., None, None] for n in numbers)
    dx, dy = x - centre_x, y[:, None] - centre_y
    usable = wide.isfinite().all(-1) & (wide[..., 3:6] > 0).all(-1)
    drawn = valid & usable
    inside = ((dx * cos + dy * sin).abs() < half_x) & ((dy * cos - dx * sin).abs() < half_y)
    inside = inside & drawn[..., None, None]

    counts = torch.where(valid & ~usable, -1, inside.sum((2, 3)))
    # A row that always holds the cell stands for "no box".
    first = torch.cat((inside, inside.new_ones(len(boxes), 1, rows, columns)), 1).int().argmax(1)
    index = torch.where(first == boxes.shape[1], -1, first)
    gaussian = None if min_overlap is None else _gaussians(wide, drawn, grid, min_overlap, min_radius)
    return index.int(), counts.int(), gaussian


def _gaussians(boxes: Tensor, drawn: Tensor, grid: BEVGrid, min_overlap: float, min_radius: int) -> Tensor:
    rows, columns = grid.shape
    column, row = ((boxes[..., a] - low[0]) / grid.cell for a, low in ((0, grid.x_range), (1, grid.y_range)))
    drawn = drawn & (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    sizes = torch.where(drawn[..., None], boxes[..., 3:5] / grid.cell, 1)
    radius = gaussian_radius(sizes.flatten(0, 1), min_overlap).view(drawn.shape).clamp(min=min_radius)[..., None, None]
    down = torch.arange(rows)[:, None] - row.floor()[..., None, None]
    right = torch.arange(columns) - column.floor()[..., None, None]
    value = (-(down**2 + right**2) / (2 * ((2 * radius + 1) / 6) ** 2)).exp().float()
    cut = (down.abs() <= radius) & (right.abs() <= radius) & drawn[..., None, None]
    value = torch.where(cut, value, 0)
    return torch.cat((value, value.new_zeros(len(boxes), 1, rows, columns)), 1).amax(1)

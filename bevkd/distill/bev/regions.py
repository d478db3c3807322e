"""A BEV map split into foreground, false positives of the teacher and the rest, with a weight for every cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import rotated_box_mask
from bevkd.structures import BEVGrid
from bevkd.structures.targets import Targets

# Objects on the heat map that a centre head learns from: CenterPoint's overlap and least radius in cells.
_MIN_OVERLAP, _MIN_RADIUS = 0.1, 2


@dataclass(frozen=True)
class Regions:
    """Weights [B, Y, X] float32 of three disjoint regions that cover the map; a cell's weight is 0 outside its region.

    Attributes:
        foreground: cells whose CENTRE lies in a ground-truth box, z ignored: sqrt(cell area / box area) of the first
            such box, or 1 / (number of background cells) where that is larger. A box's total grows like the root of
            its area, so large objects are damped, not equalised.
        false_positive: cells without an object where the teacher sees one: 1 / (their number in the sample).
        background: all others: 1 / (their number in the sample).
    """

    foreground: Tensor
    false_positive: Tensor
    background: Tensor


@torch.no_grad()
def split_regions(
    targets: Targets, teacher_heat: Tensor | None = None, threshold: float = 0.1, grid: BEVGrid | None = None
) -> Regions:
    """The regions of DistillBEV.

    Args:
        targets: the boxes.
        teacher_heat: [B, Y, X] probability of the teacher's likeliest class; None leaves no false positives.
        threshold: a false positive has a teacher heat above it, and a heat drawn from the ground truth below it.
        grid: of a coarser level over the targets' range; None takes the targets' own.
    """
    grid = grid or targets.grid
    mask = rotated_box_mask(targets.padded, targets.valid, grid, _MIN_OVERLAP, _MIN_RADIUS)
    inside, scale = mask.foreground, mask.spread(grid.cell / targets.padded[..., 3:5].prod(-1).clamp(min=1e-12).sqrt())
    false_positive = torch.zeros_like(inside)
    if teacher_heat is not None and mask.gaussian is not None:
        false_positive = ~inside & (teacher_heat > threshold) & (mask.gaussian < threshold)
    background = ~(inside | false_positive)
    rest = background / background.sum((1, 2), keepdim=True).clamp(min=1)
    least = rest.amax((1, 2), keepdim=True)
    return Regions(
        foreground=inside * torch.maximum(scale, least),
        false_positive=false_positive / false_positive.sum((1, 2), keepdim=True).clamp(min=1),
        background=rest,
    )


def level_grid(grid: BEVGrid, shape: Sequence[int], what: str) -> BEVGrid:
    """The grid of a feature level: the range of ``grid`` in ``shape`` (Y, X) cells.

    Raises:
        ConfigError: cells of that shape would not be square.
    """
    (x0, x1), (y0, y1) = grid.x_range, grid.y_range
    rows, columns = shape
    if (x1 - x0) * rows != (y1 - y0) * columns:
        raise ConfigError(
            f"{what} has {rows} x {columns} cells (Y, X) on x {grid.x_range} y {grid.y_range} m, expected square cells"
        )
    return BEVGrid(grid.x_range, grid.y_range, (x1 - x0) / columns)

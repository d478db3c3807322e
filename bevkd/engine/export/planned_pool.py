"""BEV pooling over one fixed plan, in operators that every ONNX runtime has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkd.errors import ConfigError
from bevkd.ops import LiftPlan
from bevkd.ops.lift_plan import PointLists

_WIDTH = 8  # points of a cell that one row of a table adds up


class PlannedPool(nn.Module):
    """:func:`bevkd.ops.bev_pool` of one sample, by gathers and small matrix products.

    The points of each cell are cut into rows of eight, the last one padded with points of weight zero. One matrix
    product per row adds its points up; the sums of a cell's rows are cut and added in the same way until one is left.
    Nothing is scattered: runtimes do not agree on what a scatter onto one place twice means, and some that add in
    parallel give other digits, or lose a term, from run to run.

    Args:
        plan: of one sample, on any device.

    Raises:
        ConfigError: a plan of several samples.
    """

    def __init__(self, plan: LiftPlan) -> None:
        super().__init__()
        if len(plan.cell) != 1:
            raise ConfigError(f"the plan is of {len(plan.cell)} samples, expected one for a fixed geometry")
        self.shape = plan.shape
        lists = PointLists.build(plan.cell.cpu(), plan.shape)
        rows, offsets = _cut(lists.offsets.long(), len(lists.point))
        none = lists.point.new_tensor([plan.cell.numel()])  # the place of the weight zero, behind the last one
        self.register_buffer("point", torch.cat((lists.point, none)).long()[rows])
        self.register_buffer("pixel", F.pad(lists.pixel, (0, 1)).long()[rows])
        self.levels, count = 0, len(rows)
        while len(offsets) > 1 and int(offsets.diff().max()) > 1:
            rows, offsets = _cut(offsets, count)
            self.register_buffer(f"rows{self.levels}", rows)
            self.levels, count = self.levels + 1, len(rows)
        self.register_buffer("row", torch.where(offsets.diff() > 0, offsets[:-1], count))

    def forward(self, depth: Tensor, feat: Tensor) -> Tensor:
        """
        Args:
            depth: [1, N, D, H, W] float, the weight of each depth bin.
            feat: [1, N, H, W, C] float.

        Returns:
            [1, C, Y, X].
        """
        weights = F.pad(depth.reshape(-1), (0, 1))[self.point]
        sums = (weights[:, None] @ feat.reshape(-1, feat.shape[-1])[self.pixel])[:, 0]
        for level in range(self.levels):
            sums = _with_zero(sums)[getattr(self, f"rows{level}")].sum(1)
        return _with_zero(sums)[self.row].reshape(1, *self.shape, -1).permute(0, 3, 1, 2)


def _cut(offsets: Tensor, nothing: int) -> tuple[Tensor, Tensor]:
    """Cut segments into rows: [R, 8] places, ``nothing`` where a segment ends, and the rows' own offsets [S + 1].

    Segments of 9 and 0 places make the rows 0 to 7 and 8, nothing, nothing ...; the offsets are 0, 2, 2.
    """
    counts = (offsets.diff() + _WIDTH - 1) // _WIDTH
    ends = torch.repeat_interleave(offsets[1:], counts)
    own = F.pad(counts.cumsum(0), (1, 0))
    index = torch.arange(len(ends)) - torch.repeat_interleave(own[:-1], counts)
    places = (torch.repeat_interleave(offsets[:-1], counts) + index * _WIDTH)[:, None] + torch.arange(_WIDTH)
    return torch.where(places < ends[:, None], places, nothing), own


def _with_zero(rows: Tensor) -> Tensor:
    """[R, C] and one row of zeros, which stands for nothing."""
    return F.pad(rows, (0, 0, 0, 1))

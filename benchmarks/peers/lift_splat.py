"""Lift-splat pooling in plain torch, as its authors wrote it, and as one index_add."""

from __future__ import annotations

import torch
from torch import Tensor


def sort_and_prefix_sum(depth: Tensor, feat: Tensor, cell: Tensor, shape: tuple[int, int]) -> Tensor:
    """Philion and Fidler (ECCV 2020): outer product, sort by cell, running sum, difference at the ends of the cells.

    Args:
        depth: [B, N, D, H, W]; feat: [B, N, H, W, C]; cell: [B, N, D, H, W] int, -1 outside; shape: (Y, X).

    Returns:
        [B, Y, X, C].
    """
    frustum = depth[..., None] * feat[:, :, None]
    flat = cell.flatten()
    inside = flat >= 0
    rows, ranks = frustum.flatten(0, 4)[inside], flat[inside]
    order = ranks.argsort()
    rows, ranks = rows[order], ranks[order]
    total = rows.cumsum(0)
    last = torch.ones_like(ranks, dtype=torch.bool)
    last[:-1] = ranks[1:] != ranks[:-1]
    total, ranks = total[last], ranks[last]
    total = torch.cat((total[:1], total[1:] - total[:-1]))
    out = feat.new_zeros(len(depth) * shape[0] * shape[1], feat.shape[-1]).index_put((ranks.long(),), total)
    return out.reshape(len(depth), *shape, -1)


def index_add(depth: Tensor, feat: Tensor, cell: Tensor, shape: tuple[int, int]) -> Tensor:
    """Outer product and one ``index_add_``: the shortest way to write it. Arguments and result as above."""
    rows = (depth[..., None] * feat[:, :, None]).flatten(0, 4)
    flat = cell.flatten().long()
    inside = flat >= 0
    out = feat.new_zeros(len(depth) * shape[0] * shape[1], feat.shape[-1])
    return out.index_add(0, flat[inside], rows[inside]).reshape(len(depth), *shape, -1)

"""Sums over the processes of a data-parallel run, for losses that are those of the joined batch.

On one process a loss is S / d(N), with S a sum over objects and N their number in the batch. Over W ranks DDP takes the
mean of the gradients of each rank's own loss, and S is the sum of the ranks' S_r. So every rank must divide its S_r by
d(N) / W with the N of all ranks: then the mean of the ranks is S / d(N) again, however the objects are spread. With a
rank's own number in its place, the objects of poor ranks would count more than those of rich ones.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def rank_count() -> int:
    """The number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def rank_sum(counts: Tensor) -> Tensor:
    """The sum over ranks of tensors of one shape, in float32 or wider, without gradient.

    One all-reduce, however many counts, and no wait of the host; nothing without a process group. Every rank must call
    it, one without an object too.
    """
    counts = counts.detach().to(torch.promote_types(counts.dtype, torch.float32), copy=True)
    if rank_count() > 1:
        dist.all_reduce(counts)
    return counts


@torch.no_grad()
def rank_gather(values: Tensor) -> Tensor:
    """The values of all ranks along the first axis: [B, ...] to [W B, ...], without gradient.

    Every rank must call it, with one shape; themselves without a process group.
    """
    values, ranks = values.detach(), rank_count()
    if ranks == 1:
        return values
    everyone = values.new_empty((ranks * len(values), *values.shape[1:]))
    dist.all_gather_into_tensor(everyone, values.contiguous())
    return everyone

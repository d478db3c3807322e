"""What the losses of several methods share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bevkd.structures.ranks import rank_count, rank_sum


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it is that already: losses in half precision lose small differences."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def batch_mean(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """The weighted sum over samples, divided by their number in the batch of all ranks.

    A weight scales what its sample counts, and 0 leaves a sample out; the others then count as much as before.

    >>> batch_mean(torch.tensor([1.0, 3.0])), batch_mean(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 0.0]))
    (tensor(2.), tensor(0.5000))

    Args:
        values: [B].
        weights: [B]; None makes each 1.

    Returns:
        A scalar. The mean over ranks is that of the joined batch, see :mod:`bevkd.structures.ranks`.
    """
    total = values.sum() if weights is None else (values * weights).sum()
    count = rank_sum(torch.full((), float(len(values)), device=values.device)).clamp(min=1)
    return total / (count / rank_count())


def sample_weights(targets: Any, like: Tensor) -> Tensor:
    """The targets' ``weights`` [B], each 1 where they have none, for a feature [B, ...]."""
    weights = getattr(targets, "weights", None)
    return like.new_ones(len(like)) if weights is None else weights.to(like)


def kept_share(weights: Tensor) -> Tensor:
    """The share of samples whose weight is not 0."""
    return (weights > 0).float().mean()

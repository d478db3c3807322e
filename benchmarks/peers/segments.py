"""Reductions over the points of a voxel in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def scatter_reduce(features: Tensor, voxel_of_point: Tensor, voxels: int, reduce: str) -> Tensor:
    """``Tensor.scatter_reduce_`` with an expanded index; reduce is "amax", "mean" or "sum"; the rest is row V."""
    index = torch.where(voxel_of_point < 0, voxels, voxel_of_point).long()[:, None].expand_as(features)
    start = features.new_zeros(voxels + 1, features.shape[1])
    return start.scatter_reduce(0, index, features, reduce, include_self=False)[:voxels]


def index_add(features: Tensor, voxel_of_point: Tensor, voxels: int) -> Tensor:
    """Sums by ``index_add``."""
    index = torch.where(voxel_of_point < 0, voxels, voxel_of_point).long()
    return features.new_zeros(voxels + 1, features.shape[1]).index_add(0, index, features)[:voxels]

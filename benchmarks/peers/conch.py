"""conch (stackav-oss/conch), Triton kernels from PyPI: ``pip install --no-deps conch-triton-kernels``. Needs a GPU.

Its voxelizer fills every cell of the grid before it packs them, so it fits coarse grids alone, and takes four columns;
which points a full voxel keeps is up to atomics. Its pooling is of the first kind (BEVFusion's): intervals over a
frustum tensor that is built in each call, float32 alone.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks.peers.v2_style import Ranks

COLUMNS = 4


def is_installed() -> bool:
    return find_spec("conch") is not None


def pool(kernel: Callable[..., Tensor] | None = None) -> Callable[[Tensor, Tensor, Ranks, tuple[int, int]], Tensor]:
    """Pooling over intervals of equal cell; ``kernel`` stands for conch's own ``bev_pool``.

    The function takes depth [B, N, D, H, W], feat [B, N, H, W, C], ranks sorted by cell and (Y, X), and returns
    [B, Y, X, C].
    """
    if kernel is None:
        from conch.ops.vision.bev_pool import bev_pool as kernel

    def run(depth: Tensor, feat: Tensor, ranks: Ranks, shape: tuple[int, int]) -> Tensor:
        rows = depth.flatten()[ranks.point.long(), None] * feat.flatten(0, 3)[ranks.pixel.long()]
        place = ranks.cell % (shape[0] * shape[1])
        sample = ranks.cell // (shape[0] * shape[1])
        where = torch.stack((place // shape[1], place % shape[1], torch.zeros_like(place), sample), 1).int()
        return kernel(rows, where, ranks.start, ranks.length, len(depth), 1, *shape)[:, 0]

    return run


def voxelizer(
    size: tuple[float, ...], bounds: tuple[float, ...], max_points: int
) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Points [N, 4] to (features [V, K, 4], cells [V, 3] as x, y, z, points in each [V])."""
    from conch.ops.vision.voxelization import VoxelizationParameter, generate_voxels

    parameters = VoxelizationParameter(bounds[:3], bounds[3:], size, max_points)

    def run(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count, features, cells, num_points = generate_voxels(points, parameters)
        return features[: int(count)], cells[: int(count), :3], num_points[: int(count)]

    return run

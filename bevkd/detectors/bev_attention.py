"""Attention of bird's-eye-view queries: to a few places of a map, and to where the cameras see their cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from torch import Tensor, nn

from bevkd.errors import ConfigError
from bevkd.structures import BEVGrid


class DeformableAttention(nn.Module):
    """Attention that looks at a few places around reference points, after Deformable DETR (Zhu et al., ICLR 2021).

    ``points`` places are looked at on each level; where a query has R reference points, points / R of them belong to
    each. It is plain PyTorch (mmcv's twin of its compiled op, on ``grid_sample``), so it runs and differentiates
    everywhere.

    Args:
        channels: C of queries, values and output.
        heads, levels, points: how often, on how many maps and at how many places to look.
        query_channels: channels of the queries that decide where to look; None for ``channels``.

    Raises:
        ConfigError: ``channels`` is no multiple of ``heads``.
    """

    def __init__(self, channels: int, heads: int, levels: int, points: int, query_channels: int | None = None) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(f"attention has {channels} channels and {heads} heads, expected a multiple of the heads")
        self.heads, self.levels, self.points = heads, levels, points
        self.offsets = nn.Linear(query_channels or channels, heads * levels * points * 2)
        self.weights = nn.Linear(query_channels or channels, heads * levels * points)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self._start()

    def _start(self) -> None:
        """At first each head looks into a direction of its own, point k about k + 1 cells away, all alike."""
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack((angle.cos(), angle.sin()), -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1)[:, None]
        start = (direction[:, None, None] * steps).expand(-1, self.levels, -1, -1)
        nn.init.zeros_(self.offsets.weight)
        self.offsets.bias.data = start.reshape(-1).clone()
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        for layer in (self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, queries: Tensor, values: Tensor, reference: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
        """
        Args:
            queries: [M, Q, query_channels].
            values: [M, S, C], the cells of all levels one after the other, row by row.
            reference: [M, Q, R, 2] (x, y) in [0, 1] between the outer edges of the maps; R divides ``points``.
            shapes: (rows, columns) of each level.

        Returns:
            [M, Q, C].
        """
        kinds = (*queries.shape[:2], self.heads, self.levels)
        values = self.value(values).unflatten(-1, (self.heads, -1))
        weights = self.weights(queries).view(*kinds[:3], -1).softmax(-1).view(*kinds, self.points)
        count = reference.shape[2]
        # Offsets are in cells of the level they belong to.
        size = queries.new_tensor([(columns, rows) for rows, columns in shapes])[:, None, None]
        offsets = self.offsets(queries).view(*kinds, count, self.points // count, 2) / size
        places = (reference[:, :, None, None, :, None] + offsets).flatten(4, 5)
        found = multi_scale_deformable_attn_pytorch(values.float(), shapes, places.float(), weights.float())
        return self.output(found.to(queries.dtype))


@dataclass(frozen=True)
class Views:
    """Which cells each camera sees, and where; the L cells that any one camera may see are padded.

    Attributes:
        cell: [B, N, L] int64, cell of the grid, row by row; all different for one camera.
        real: [B, N, L] bool, False for padding.
        pixel: [B, N, L, Z, 2] (x, y) in [0, 1] between the outer edges of the image, for Z heights over the cell.
        seen_by: [B, Y X] int64, how many cameras see a cell.
    """

    cell: Tensor
    real: Tensor
    pixel: Tensor
    seen_by: Tensor

    @classmethod
    def build(
        cls, matrices: Tensor, grid: BEVGrid, heights: Sequence[float], image: Sequence[int], device: torch.device
    ) -> Views:
        """Project Z points over the centre of each cell into N cameras.

        A camera sees a cell when one of its points lies before the camera and inside the image.

        Args:
            matrices: [B, N, 4, 4] float64 lidar2img.
            heights: Z heights in the LiDAR frame, metres.
            image: (H, W) of the images.
        """
        x, y = grid.centres(device).flatten(1)
        z = torch.tensor(heights, device=device, dtype=x.dtype)
        columns = (x[:, None].expand(-1, len(z)), y[:, None].expand(-1, len(z)), z.expand(len(x), -1))
        points = torch.stack((*columns, torch.ones_like(columns[0])), -1)
        seen = torch.einsum("bnij,qzj->bnqzi", matrices[:, :, :3].to(device, torch.float32), points)
        depth = seen[..., 2:]
        size = seen.new_tensor([image[1], image[0]])
        pixel = (seen[..., :2] / depth.clamp(min=1e-3) + 0.5) / size
        inside = ((depth > 1e-3) & (pixel >= 0) & (pixel < 1)).all(-1).any(-1)  # [B, N, Q]
        length = max(int(inside.sum(-1).max()), 1)
        cell = inside.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[..., :length]
        index = cell[..., None, None].expand(-1, -1, -1, *pixel.shape[-2:])
        return cls(cell, inside.gather(-1, cell), pixel.gather(2, index), inside.sum(1))


class SpatialCrossAttention(nn.Module):
    """Each cell's query attends, in every camera that sees it, to where its column of points is seen; then the mean.

    The spatial cross-attention of BEVFormer (Li et al., ECCV 2022).

    Args:
        channels, heads, levels, points: see :class:`DeformableAttention`; ``points`` is a multiple of the heights.
    """

    def __init__(self, channels: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(channels, heads, levels, points)

    def forward(self, queries: Tensor, values: Tensor, shapes: Sequence[tuple[int, int]], views: Views) -> Tensor:
        """
        Args:
            queries: [B, Y X, C].
            values: [B, N, S, C], the cells of all levels one after the other.
            shapes: (rows, columns) of each level.

        Returns:
            [B, Y X, C], zero for a cell that no camera sees.
        """
        index = views.cell[..., None].expand(-1, -1, -1, queries.shape[-1])
        asking = queries[:, None].expand(-1, values.shape[1], -1, -1).gather(2, index)
        flat = [part.flatten(0, 1) for part in (asking, values, views.pixel)]
        found = self.attention(*flat, shapes).unflatten(0, values.shape[:2]) * views.real[..., None]
        total = torch.zeros_like(queries, dtype=found.dtype)
        for camera in range(values.shape[1]):  # the cells of one camera are different, so the order of sums is fixed
            total = total.scatter_add(1, index[:, camera], found[:, camera])
        return total / views.seen_by.clamp(min=1)[..., None]

"""LiDAR points to a bird's-eye-view map through pillars."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevkd.detectors.layers import PointBatchNorm, conv_block
from bevkd.detectors.lidar import LidarEncoder
from bevkd.errors import ConfigError
from bevkd.ops import Segments, Voxels, segment_max, segment_mean, voxelize
from bevkd.structures import BEVGrid

# x, y, z, intensity, time lag; then offsets to the pillar's mean point (3) and to its centre (2).
POINT_FEATURES = 10


@MODELS.register_module()
class PillarEncoder(LidarEncoder):
    """Pillars, one point-wise layer, a maximum per pillar, and a convolution down to the grid.

    After PointPillars (Lang et al., CVPR 2019), with two differences. Batch statistics are taken over real points
    only, not over padding, and inputs are scaled, see :class:`LidarEncoder`.

    Args:
        grid: the grid of the output.
        out_channels: channels of the output.
        pillar_channels: channels of a pillar.
        downsample: 1, 2 or 4; pillars have sides of ``grid.cell / downsample``.
        z_range: (min, max) in metres.
        max_points: points kept per pillar.
        max_pillars: pillars kept per sample, in (training, evaluation).
        intensity_max: largest intensity of the sensor (nuScenes: 255).
        momentum: momentum of the batch normalisation.

    Raises:
        ConfigError: a ``downsample`` other than 1, 2 or 4, or an empty ``z_range``.
    """

    def __init__(
        self,
        grid: BEVGrid,
        out_channels: int = 64,
        pillar_channels: int = 64,
        downsample: int = 2,
        z_range: tuple[float, float] = (-5.0, 3.0),
        max_points: int = 20,
        max_pillars: tuple[int, int] = (30000, 40000),
        intensity_max: float = 255.0,
        momentum: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(grid, z_range, intensity_max, init_cfg)
        if downsample not in (1, 2, 4):
            raise ConfigError(f"PillarEncoder downsample is {downsample!r}, expected 1, 2 or 4")
        self.out_channels = out_channels
        self.downsample = downsample
        self.max_points, self.max_pillars = max_points, tuple(max_pillars)
        self.side = grid.cell / downsample
        self.shape = tuple(n * downsample for n in grid.shape)
        self.linear = nn.Linear(POINT_FEATURES, pillar_channels, bias=False)
        self.norm = PointBatchNorm(pillar_channels, eps=1e-3, momentum=momentum)
        strides = {1: (1,), 2: (2,), 4: (2, 2)}[downsample]
        widths = (pillar_channels, *(out_channels,) * len(strides))
        self.stem = nn.Sequential(
            *(conv_block(a, b, stride=s, momentum=momentum) for a, b, s in zip(widths, widths[1:], strides))
        )

    def forward(self, points: list[Tensor]) -> Tensor:
        """
        Args:
            points: B tensors [N_b, 5] of x, y, z (metres), intensity, time lag (seconds); any may be empty.

        Returns:
            [B, out_channels, Y, X] on the grid.
        """
        voxels = [self.pillars(cloud) for cloud in points]
        cells = self.shape[0] * self.shape[1]
        cell = [b * cells + v.coords[:, 1].long() * self.shape[1] + v.coords[:, 2] for b, v in enumerate(voxels)]
        coords, counts = (torch.cat([getattr(v, name) for v in voxels]) for name in ("coords", "num_points"))
        real = torch.arange(self.max_points, device=counts.device) < counts[:, None]
        rows = torch.cat([v.features for v in voxels])[real]
        segments = self._segments(coords, counts)
        features = self.norm(self.linear(self._point_features(rows, segments))).relu()
        pillars = segment_max(features, segments)
        canvas = pillars.new_zeros(len(points) * cells, pillars.shape[1]).index_copy(0, torch.cat(cell), pillars)
        return self.stem(canvas.view(len(points), *self.shape, -1).permute(0, 3, 1, 2))

    def pillars(self, cloud: Tensor) -> Voxels:
        """The pillars of one cloud [N, 5], as many as training or evaluation keeps."""
        size = (self.side, self.side, self.point_range[5] - self.point_range[2])
        limit = self.max_pillars[0 if self.training else 1]
        return voxelize(self.checked(cloud), size, self.point_range, self.max_points, limit)

    def _segments(self, coords: Tensor, counts: Tensor) -> Segments:
        """Pillars of ``counts`` points each, one after the other, as segments."""
        owner = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        point = torch.arange(len(owner), device=counts.device)
        none = counts.new_zeros((), dtype=torch.int64)
        return Segments(coords, point.int(), F.pad(counts.cumsum(0), (1, 0)), owner.int(), none, none)

    def _point_features(self, rows: Tensor, segments: Segments) -> Tensor:
        """[P, 5] points to the features [P, 10] of PointPillars."""
        owner = segments.voxel_of_point
        low = rows.new_tensor(self.point_range[:2])
        middle = (segments.coords[:, [2, 1]] + 0.5) * self.side + low
        parts = (
            self.scaled(rows),
            (rows[:, :3] - segment_mean(rows[:, :3], segments)[owner]) / self.side,
            (rows[:, :2] - middle[owner]) / self.side,
        )
        return torch.cat(parts, 1)

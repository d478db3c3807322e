"""LiDAR points to a bird's-eye-view map through sparse 3D convolutions on voxels."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from mmdet3d.models.middle_encoders import SparseEncoder
from mmdet3d.registry import MODELS
from torch import Tensor

from bevkd.detectors.layers import PointBatchNorm
from bevkd.detectors.lidar import LidarEncoder
from bevkd.detectors.sparse import require_spconv, run_anywhere, share_neighbours
from bevkd.errors import ConfigError
from bevkd.ops import MeanVoxels, voxelize_mean
from bevkd.structures import BEVGrid

POINT_FEATURES = 5


@MODELS.register_module()
class VoxelEncoder(LidarEncoder):
    """Mean voxels and mmdet3d's ``SparseEncoder`` of residual blocks, its height folded into the channels.

    After SECOND (Yan et al., Sensors 2018) and CenterPoint (Yin et al., CVPR 2021): one strided sparse convolution
    between stages halves all three axes, so voxels have sides of ``grid.cell / downsample``, and a last one halves the
    height alone. With the defaults and cells of 0.6 m, these are CenterPoint's voxels of 0.075 x 0.075 x 0.2 m,
    16 to 128 channels, and 128 channels at 2 heights = 256 at the output.

    Sizes by ``width``: 1 is also the encoder of RDD's CP-Voxel-S, 0.75 that of -XS, 0.5 that of -XXS (Li et al., ICCV
    2023), which shrink the bird's-eye-view encoder and the head as well.

    Args:
        grid: the grid of the output.
        width: factor of all channels, which start at 16 and double with each stage.
        blocks: residual blocks of each stage.
        downsample: 2, 4 or 8.
        voxel_height: metres.
        z_range: (min, max) in metres, a whole number of voxels.
        max_points: points averaged per voxel.
        max_voxels: voxels kept per sample, in (training, evaluation).
        intensity_max: largest intensity of the sensor (nuScenes: 255).
        momentum: momentum of the batch normalisation.

    Attributes:
        out_channels: channels of the last stage times the heights that are left.

    Raises:
        ConfigError: spconv is missing, a ``downsample`` other than 2, 4 or 8, a height that is no whole number of
            voxels or too low for the stages, or a ``width`` that gives no whole number of channels.
    """

    def __init__(
        self,
        grid: BEVGrid,
        width: float = 1.0,
        blocks: int = 2,
        downsample: int = 8,
        voxel_height: float = 0.2,
        z_range: tuple[float, float] = (-5.0, 3.0),
        max_points: int = 10,
        max_voxels: tuple[int, int] = (120000, 160000),
        intensity_max: float = 255.0,
        momentum: float = 0.01,
        init_cfg: dict | None = None,
    ) -> None:
        require_spconv("VoxelEncoder")
        super().__init__(grid, z_range, intensity_max, init_cfg)
        if downsample not in (2, 4, 8):
            raise ConfigError(f"VoxelEncoder downsample is {downsample!r}, expected 2, 4 or 8")
        self.max_points, self.max_voxels = max_points, tuple(max_voxels)
        side = grid.cell / downsample
        self.voxel_size = (side, side, voxel_height)
        stages = downsample.bit_length()
        base = 16 * width
        if base != int(base) or base < 1:
            raise ConfigError(f"VoxelEncoder width is {width}, which makes 16 channels {base}, expected a whole number")
        widths = [int(base) * 2**stage for stage in range(stages)]
        # One layer more than there are voxels, as in SECOND, so that every stage sees the topmost one.
        depth = self._layers(voxel_height) + 1
        channels = [(here,) * blocks + (there,) for here, there in pairwise(widths)]
        down: list[int | tuple] = [1] * (stages - 2) + [(0, 1, 1)]  # the last strided convolution pads no height
        self.sparse = SparseEncoder(
            POINT_FEATURES,
            [depth, *(n * downsample for n in grid.shape)],
            norm_cfg={"type": PointBatchNorm, "eps": 1e-3, "momentum": momentum},
            base_channels=widths[0],
            output_channels=widths[-1],
            encoder_channels=(*channels, (widths[-1],) * blocks),
            encoder_paddings=(*((0,) * blocks + (padding,) for padding in down), (0,) * blocks),
            block_type="basicblock",
        )
        share_neighbours(self.sparse.conv_input, "stage1")
        for number, stage in enumerate(self.sparse.encoder_layers, 1):
            share_neighbours(stage, f"stage{number}")
        run_anywhere(self.sparse)
        self.out_channels = widths[-1] * self._heights_left(depth, stages)

    def forward(self, points: list[Tensor]) -> Tensor:
        """
        Args:
            points: B tensors [N_b, 5] of x, y, z (metres), intensity, time lag (seconds); any may be empty.

        Returns:
            [B, out_channels, Y, X] on the grid; channel ``c * heights + z``.
        """
        voxels = [self._voxelize(cloud) for cloud in points]
        features = self.scaled(torch.cat([v.features for v in voxels]))
        if not len(features):  # spconv refuses to work on nothing; gradients of nothing are zero
            nothing = features.new_zeros(len(points), self.out_channels, *self.grid.shape)
            return nothing + sum(p.sum() for p in self.parameters()) * 0.0
        coords = torch.cat([F.pad(v.coords, (1, 0), value=b) for b, v in enumerate(voxels)])
        return self.sparse(features, coords, len(points))

    def _voxelize(self, cloud: Tensor) -> MeanVoxels:
        limit = self.max_voxels[0 if self.training else 1]
        return voxelize_mean(self.checked(cloud), self.voxel_size, self.point_range, self.max_points, limit)

    def _layers(self, voxel_height: float) -> int:
        layers = (self.point_range[5] - self.point_range[2]) / voxel_height if voxel_height > 0 else 0.0
        if layers < 0.5 or abs(layers - round(layers)) > 1e-3:
            raise ConfigError(
                f"VoxelEncoder z_range holds {layers:.3f} voxels of {voxel_height} m, expected a whole number of them"
            )
        return round(layers)

    def _heights_left(self, depth: int, stages: int) -> int:
        """Heights at the output: each strided 3-wide convolution leaves floor((n + 2 padding - 3) / 2) + 1."""
        left = depth
        for padding in [1] * (stages - 2) + [0, 0]:
            left = (left + 2 * padding - 3) // 2 + 1
        if left < 1:
            raise ConfigError(
                f"VoxelEncoder has {depth} voxel layers, expected more: none is left after {stages} halvings"
            )
        return left

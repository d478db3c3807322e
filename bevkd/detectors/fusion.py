"""One bird's-eye-view map out of several sensors' maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from bevkd.detectors.layers import conv_block


@MODELS.register_module()
class ChannelAttentionFusion(BaseModule):
    """Concatenate, weigh every channel by what the whole map holds, and convolve.

    The fusion of UniDistill's LiDAR-camera teacher (Zhou et al., CVPR 2023): ``x`` is the concatenation, and the output
    is ReLU(BN(conv3x3(x * sigmoid(conv1x1(mean over cells of x))))).

    Args:
        in_channels: channels of each map.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = 256, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        total = sum(in_channels)
        self.out_channels = out_channels
        self.attention = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(total, total, 1), nn.Sigmoid())
        self.conv = conv_block(total, out_channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [B, C_i, Y, X] on one grid to [B, out_channels, Y, X]."""
        x = torch.cat(list(maps), 1)
        return self.conv(x * self.attention(x))

"""Small layers that more than one encoder uses."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv_block(in_channels: int, out_channels: int, stride: int = 1, momentum: float = 0.1) -> nn.Sequential:
    """A 3x3 convolution, batch normalisation and ReLU; [B, in, Y, X] to [B, out, Y / stride, X / stride]."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels, eps=1e-3, momentum=momentum),
        nn.ReLU(inplace=True),
    )


class PointBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over points or voxels, [P, C], which also takes fewer than two of them.

    Batch statistics need two rows; a cloud with one or none keeps its gradient path through the running ones.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) < 2:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)

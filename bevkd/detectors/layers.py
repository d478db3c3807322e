"""Small layers that more than one encoder uses."""

from __future__ import annotations

from torch import nn


def conv_block(in_channels: int, out_channels: int, stride: int = 1, momentum: float = 0.1) -> nn.Sequential:
    """A 3x3 convolution, batch normalisation and ReLU; [B, in, Y, X] to [B, out, Y / stride, X / stride]."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels, eps=1e-3, momentum=momentum),
        nn.ReLU(inplace=True),
    )

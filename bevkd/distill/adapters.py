"""Small trained layers between a student's map and the teacher's, owned by the method that uses them."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bevkd.errors import ConfigError


class ConvAdapter(nn.Sequential):
    """One convolution, batch norm and ReLU: [B, student, Y, X] to [B, teacher, Y, X].

    Args:
        channels: (student, teacher).
        kernel: side of the kernel in cells, odd.
        field: name of the config field, for the error sentence.

    Raises:
        ConfigError: other channels than two positive numbers; when called, a map of other channels.
    """

    def __init__(self, channels: Sequence[int], kernel: int = 3, field: str = "channels") -> None:
        student, teacher = channel_pair(channels, field)
        convolution = nn.Conv2d(student, teacher, kernel, padding=kernel // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(teacher), nn.ReLU())
        self.field, self.student = field, student

    def forward(self, input: Tensor) -> Tensor:
        """[B, student, Y, X] to [B, teacher, Y, X]."""
        require_channels(input, self.student, self.field)
        adapted: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
        return adapted


class PointwiseAdapter(nn.Module):
    """Upsampling, then 1 x 1 convolutions: [B, student, Y, X] to [B, teacher, scale Y, scale X].

    Args:
        channels: (student, teacher).
        scale: bilinear upsampling factor; corners of the map stay corners (align_corners=False).
        layers: how many times 1 x 1 convolution, batch norm and ReLU; 0 is one bare 1 x 1 convolution.
        field: name of the config field, for the error sentence.

    Raises:
        ConfigError: other channels than two positive numbers, a scale below 1 or a negative number of layers; when
            called, a map of other channels.
    """

    def __init__(self, channels: Sequence[int], scale: int = 1, layers: int = 0, field: str = "channels") -> None:
        super().__init__()
        student, teacher = channel_pair(channels, field)
        if scale < 1 or layers < 0:
            raise ConfigError(f"the adapter of {field} has scale {scale} and {layers} layers, expected >= 1 and >= 0")
        self.scale, self.student, self.field = scale, student, field
        widths = [student, *[teacher] * (layers - 1)] if layers else []
        stack = [ConvAdapter((width, teacher), 1, field) for width in widths]
        self.layers: nn.Module = nn.Sequential(*stack) if stack else nn.Conv2d(student, teacher, 1)

    def forward(self, student: Tensor) -> Tensor:
        """[B, student, Y, X] to [B, teacher, scale Y, scale X]."""
        require_channels(student, self.student, self.field)
        if self.scale != 1:
            student = F.interpolate(student, scale_factor=self.scale, mode="bilinear", align_corners=False)
        adapted: Tensor = self.layers(student)
        return adapted


def channel_pair(channels: Sequence[int], field: str) -> tuple[int, int]:
    """(student, teacher) channels, checked.

    Raises:
        ConfigError: naming ``field``.
    """
    pair = isinstance(channels, Sequence) and len(channels) == 2
    if not pair or not all(isinstance(number, int) and number > 0 for number in channels):
        raise ConfigError(f"{field} is {channels!r}, expected (student channels, teacher channels)")
    return channels[0], channels[1]


def require_channels(feature: Tensor, channels: int, field: str) -> None:
    """Refuse a map [B, C, Y, X] of other channels than the adapter was made for.

    Raises:
        ConfigError: naming ``field`` and both numbers.
    """
    if feature.ndim != 4 or feature.shape[1] != channels:
        raise ConfigError(
            f"{field} begin with {channels}, but the student's map is {tuple(feature.shape)} [B, C, Y, X]"
        )

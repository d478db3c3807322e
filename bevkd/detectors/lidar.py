"""What every LiDAR encoder shares: the range it sees and the scale of a point's features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor

from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid


class LidarEncoder(BaseModule):
    """Base of the LiDAR encoders: B clouds [N_b, 5] of x, y, z, intensity, time lag to [B, out_channels, Y, X].

    Points beyond the grid or ``z_range`` are left out. Features are scaled to about [-1, 1], because intensity up to
    255 beside offsets of centimetres makes short trainings slow.

    Args:
        grid: the grid of the output.
        z_range: (min, max) in metres.
        intensity_max: largest intensity of the sensor (nuScenes: 255).

    Raises:
        ConfigError: an empty ``z_range``.
    """

    out_channels: int

    def __init__(
        self,
        grid: BEVGrid,
        z_range: tuple[float, float] = (-5.0, 3.0),
        intensity_max: float = 255.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if len(z_range) != 2 or not z_range[1] > z_range[0]:
            raise ConfigError(f"{type(self).__name__} z_range is {z_range}, expected (min, max) with min < max")
        (x0, x1), (y0, y1), (z0, z1) = grid.x_range, grid.y_range, z_range
        self.grid, self.point_range = grid, (x0, y0, z0, x1, y1, z1)
        centre = [(x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2, 0.0, 0.0]
        scale = [(x1 - x0) / 2, (y1 - y0) / 2, (z1 - z0) / 2, intensity_max, 0.5]
        self.register_buffer("centre", torch.tensor(centre), persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def sees(self, points: Sequence[Tensor]) -> list[bool]:
        """Whether each cloud has a point inside the range, i.e. anything to detect from."""
        low, high = (self.centre.new_tensor(self.point_range[i : i + 3]) for i in (0, 3))
        return [bool(((cloud[:, :3] >= low) & (cloud[:, :3] < high)).all(1).any()) for cloud in points]

    def scaled(self, features: Tensor) -> Tensor:
        """Point features [..., 5] about zero and of order one."""
        return (features - self.centre) / self.scale

    def checked(self, cloud: Tensor) -> Tensor:
        """One cloud as float32 [N, 5].

        Raises:
            DataError: another number of columns.
        """
        if cloud.dim() != 2 or cloud.shape[1] != len(self.centre):
            raise DataError(f"points have shape {tuple(cloud.shape)}, expected [N, 5]: x, y, z, intensity, time lag")
        return cloud.float()

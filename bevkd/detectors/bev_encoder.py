"""The convolutional part between a sensor's bird's-eye-view map and the head."""

from __future__ import annotations

import copy

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from bevkd.detectors.build import build_part
from bevkd.errors import ConfigError
from bevkd.structures import BEVGrid


@MODELS.register_module()
class BEVEncoder(BaseModule):
    """A backbone and a neck over a bird's-eye-view map, e.g. mmdet3d's SECOND and SECONDFPN.

    Args:
        grid: the grid that goes in and must come out.
        in_channels: channels that go in; the backbone's own ``in_channels`` is filled in with it.
        backbone: config of the backbone.
        neck: config of the neck, which returns one map.

    Attributes:
        out_channels: channels that come out.

    Raises:
        ConfigError: the neck returns another number of maps than one, or its map is not on ``grid``.
    """

    def __init__(
        self, grid: BEVGrid, in_channels: int, backbone: dict, neck: dict, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.backbone = build_part(MODELS, backbone, "bev_encoder.backbone", in_channels=in_channels)
        self.neck = build_part(MODELS, neck, "bev_encoder.neck")
        self.out_channels = self._dry_run(grid, in_channels)

    def forward(self, low: Tensor) -> Tensor:
        """[B, in_channels, Y, X] to [B, out_channels, Y, X]."""
        high = self.neck(self.backbone(low))
        return high[0] if isinstance(high, (list, tuple)) else high

    def _dry_run(self, grid: BEVGrid, in_channels: int) -> int:
        """Try both parts, so that wrong strides or channels are found here and not in the first step.

        Shapes alone show what becomes of the whole grid; a few real cells show whether channels fit, which shapes
        alone do not check for every layer.
        """
        try:
            maps = self._copy("cpu")(torch.zeros(1, in_channels, 32, 32))
            maps = self._copy("meta")(torch.empty(1, in_channels, *grid.shape, device="meta"))
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0] if str(error) else "their stages differ in number"
            raise ConfigError(f"bev_encoder's backbone and neck do not fit each other: {reason}") from error
        maps = maps if isinstance(maps, (list, tuple)) else [maps]
        if len(maps) != 1:
            raise ConfigError(f"bev_encoder.neck returns {len(maps)} maps, expected one")
        if tuple(maps[0].shape[-2:]) != grid.shape:
            found, wanted = "x".join(map(str, maps[0].shape[-2:])), "x".join(map(str, grid.shape))
            raise ConfigError(
                f"bev_encoder returns a map of {found} cells for a grid of {wanted}, expected the same: "
                "layer_strides of the backbone and upsample_strides of the neck must cancel"
            )
        return maps[0].shape[1]

    def _copy(self, device: str) -> nn.Sequential:
        return copy.deepcopy(nn.Sequential(self.backbone, self.neck)).to(device).eval().requires_grad_(False)

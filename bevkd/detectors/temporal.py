"""The key frame before, brought into the current LiDAR frame as the ego moved."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor

from bevkd.detectors.build import build_part
from bevkd.detectors.camera_batch import CameraBatch, CameraEncoder
from bevkd.detectors.camera_rays import stack_matrices
from bevkd.detectors.layers import conv_block
from bevkd.errors import DataError
from bevkd.structures import BEVGrid


def align(low: Tensor, previous_to_current: Tensor, grid: BEVGrid) -> Tensor:
    """A previous bird's-eye-view map as seen from the current LiDAR frame.

    The centre of each current cell is taken to the previous frame on the plane z = 0 and the map is sampled there
    bilinearly; what lies outside it is zero. With the ego 2 m further along +y, a cell at y = 5 m samples y = 7 m.

    Args:
        low: [B, C, Y, X] on ``grid`` in the previous LiDAR frame.
        previous_to_current: [B, 4, 4] float64.
        grid: the grid of both maps.

    Returns:
        [B, C, Y, X] float32.
    """
    back = torch.linalg.inv(previous_to_current)[:, :2].to(low.device, torch.float32)
    x, y = grid.centres(low.device)
    centres = torch.stack((x, y, torch.zeros_like(x), torch.ones_like(x)), -1)
    there = torch.einsum("bij,yxj->byxi", back, centres)
    return F.grid_sample(low.float(), grid.normalise(there), align_corners=False)


def previous_map(encoder: Callable[[CameraBatch], Tensor], batch: CameraBatch, grid: BEVGrid) -> Tensor:
    """The aligned map [B, C, Y, X] of the previous key frame, through the same encoder and without gradient.

    In training the encoder's batch statistics see both frames, as in BEVDet4D.

    Raises:
        DataError: the batch has no previous key frame.
    """
    if batch.previous is None:
        raise DataError(
            "the data samples have no previous key frame, expected previous=True of both LoadCameras and the data set"
        )
    with torch.no_grad():
        low = encoder(batch.previous)
        motion = stack_matrices(batch.previous_to_current, len(low), 1, "previous_to_current")[:, 0]
        return align(low, motion, grid)


@MODELS.register_module()
class TemporalEncoder(CameraEncoder):
    """A camera encoder that also sees the key frame before, after BEVDet4D (Huang and Huang, 2022).

    The previous map goes through the same encoder without gradient, is aligned by the ego motion and concatenated to
    the current one; a 3x3 convolution makes one map of both.

    Args:
        grid: the grid of the output.
        encoder: config of the camera encoder of one frame.
        out_channels: channels of the output; None keeps the encoder's.
    """

    def __init__(
        self, grid: BEVGrid, encoder: dict, out_channels: int | None = None, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.grid = grid
        self.encoder = build_part(MODELS, encoder, "camera_encoder.encoder", grid=grid)
        self.out_channels = out_channels or self.encoder.out_channels
        self.fuse = conv_block(2 * self.encoder.out_channels, self.out_channels)

    def forward(self, batch: CameraBatch, losses: dict[str, Tensor] | None = None) -> Tensor:
        """See :class:`CameraEncoder`."""
        before = previous_map(self.encoder, batch, self.grid)
        now = self.encoder(batch, losses)
        return self.fuse(torch.cat((now, before.to(now.dtype)), 1))

"""Surround cameras to a bird's-eye-view map by lifting features along a depth distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from bevkd.detectors.build import build_part
from bevkd.detectors.layers import conv_block
from bevkd.errors import ConfigError, DataError
from bevkd.ops import LiftPlan, bev_pool
from bevkd.structures import BEVGrid

UNIDISTILL_DEPTH = {"min": 2.0, "max": 58.0, "step": 0.5}


@MODELS.register_module()
class LiftSplatEncoder(BaseModule):
    """Image backbone, depth distribution, lift to 3D and sum per bird's-eye-view cell.

    After Lift-Splat-Shoot (Philion and Fidler, ECCV 2020): one 1x1 convolution gives, for each feature cell, depth
    logits and a feature vector; the softmax of the logits says how much of the vector goes to which depth. No depth
    supervision, a single frame.

    Depth bin k of ``dict(min=2, max=58, step=0.5)`` stands for the metric camera depth ``2 + (k + 0.5) 0.5``.
    Feature cell (i, j) at stride s looks through the middle of the s x s pixels it covers: row
    ``(i + 0.5) s - 0.5``, column ``(j + 0.5) s - 0.5``, where whole numbers are pixel centres.

    Args:
        grid: the grid of the output.
        backbone: config of the image backbone, e.g. ``mmdet.ResNet``.
        neck: config of the neck; its output number ``level`` is lifted.
        in_channels: channels of that output.
        channels: channels of a lifted feature.
        depth: ``dict(min, max, step)`` in metres; the default is UniDistill's.
        out_channels: channels after two 3x3 convolutions on the grid; None leaves the pooled sums as they are.
        z_range: (min, max) in metres; lifted points beyond it are left out.
        level: which output of the neck.
        rounding: see :class:`bevkd.ops.LiftPlan`.

    Raises:
        ConfigError: a depth range that is no whole number of steps, or parts that cannot be built.
    """

    def __init__(
        self,
        grid: BEVGrid,
        backbone: dict,
        neck: dict,
        in_channels: int,
        channels: int = 64,
        depth: Mapping[str, float] = UNIDISTILL_DEPTH,
        out_channels: int | None = None,
        z_range: tuple[float, float] = (-5.0, 3.0),
        level: int = 0,
        rounding: str = "floor",
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.grid, self.z_range, self.level, self.rounding = grid, tuple(z_range), level, rounding
        self.channels, self.out_channels = channels, out_channels or channels
        self.register_buffer("bins", _bins(depth), persistent=False)
        self.backbone = build_part(MODELS, backbone, "camera_encoder.backbone")
        self.neck = build_part(MODELS, neck, "camera_encoder.neck")
        self.depth_net = nn.Conv2d(in_channels, len(self.bins) + channels, 1)
        self.stem = (
            nn.Sequential(conv_block(channels, out_channels), conv_block(out_channels, out_channels))
            if out_channels
            else nn.Identity()
        )
        self._cached: tuple[Tensor, tuple[int, ...], LiftPlan] | None = None

    def forward(self, images: Tensor, lidar2img: Sequence) -> Tensor:
        """
        Args:
            images: [B, N, 3, H, W] normalised.
            lidar2img: B matrices [N, 4, 4] (array or tensor) that take (x, y, z, 1) metres to (u d, v d, d, 1).

        Returns:
            [B, out_channels, Y, X] on the grid.

        Raises:
            DataError: the matrices do not fit the images or cannot be inverted.
        """
        batch, cameras, _, height, width = images.shape
        features = self.neck(self.backbone(images.flatten(0, 1)))
        features = features[self.level] if isinstance(features, (list, tuple)) else features
        logits, lifted = self.depth_net(features).float().split((len(self.bins), self.channels), 1)
        matrices = stack_matrices(lidar2img, batch, cameras)
        plan = self.plan(matrices, (height, width), features.shape[-2:], images.device)
        depth = logits.softmax(1).contiguous().unflatten(0, (batch, cameras))
        lifted = lifted.permute(0, 2, 3, 1).contiguous().unflatten(0, (batch, cameras))
        return self.stem(bev_pool(depth, lifted, plan))

    def plan(self, matrices: Tensor, image: Sequence[int], feature: Sequence[int], device: torch.device) -> LiftPlan:
        """The lift plan of [B, N, 4, 4] float64 matrices, kept while geometry and sizes stay what they were."""
        sizes = (*image, *feature)
        if self._cached is not None:
            known, known_sizes, plan = self._cached
            if known_sizes == sizes and torch.equal(known, matrices):
                return plan
        points = frustum(matrices, self.bins.cpu(), image, feature).to(device)
        plan = LiftPlan.build(points, self.grid, self.z_range, rounding=self.rounding)
        self._cached = (matrices, sizes, plan)
        return plan


def _bins(depth: Mapping[str, float]) -> Tensor:
    if set(depth) != set(UNIDISTILL_DEPTH):
        raise ConfigError(f"camera_encoder.depth has the keys {sorted(depth)}, expected min, max and step")
    return depth_bins(**depth)


def depth_bins(min: float, max: float, step: float) -> Tensor:
    """Bin centres [D] in metres: ``depth_bins(1, 3, 0.5)`` is 1.25, 1.75, 2.25, 2.75."""
    count = round((max - min) / step) if step > 0 else 0
    if not (min >= 0 and count >= 1 and abs((max - min) / step - count) < 1e-4):
        raise ConfigError(
            f"depth is min {min}, max {max}, step {step}, expected 0 <= min and a whole number of steps up to max"
        )
    return (torch.arange(count, dtype=torch.float64) + 0.5).mul(step).add(min).float()


def stack_matrices(lidar2img: Sequence, batch: int, cameras: int) -> Tensor:
    """Matrices of a batch as float64 [B, N, 4, 4] on the CPU, checked."""
    matrices = torch.stack([torch.as_tensor(m, dtype=torch.float64).cpu().reshape(-1, 4, 4) for m in lidar2img])
    if matrices.shape[:2] != (batch, cameras):
        raise DataError(
            f"lidar2img holds {tuple(matrices.shape)} numbers, expected {(batch, cameras, 4, 4)} as the images"
        )
    if not matrices.isfinite().all() or (torch.linalg.det(matrices).abs() < 1e-9).any():
        raise DataError("lidar2img has a camera whose matrix is singular or not finite, expected an invertible one")
    return matrices


def frustum(matrices: Tensor, bins: Tensor, image: Sequence[int], feature: Sequence[int]) -> Tensor:
    """Where each depth bin of each feature cell lies in the LiDAR frame.

    Args:
        matrices: [B, N, 4, 4] float64 lidar2img.
        bins: [D] metric camera depths.
        image: (H, W) of the images that the matrices project into.
        feature: (h, w) of the feature map.

    Returns:
        [B, N, D, h, w, 3] float32 metres.
    """
    inverse = torch.linalg.inv(matrices)
    v, u = (
        (torch.arange(cells, dtype=torch.float64) + 0.5) * (pixels / cells) - 0.5
        for pixels, cells in zip(image, feature)
    )
    columns = inverse[:, :, None, None, :3]  # [B, N, 1, 1, 3, 4]
    rays = columns[..., 0] * u[:, None] + columns[..., 1] * v[:, None, None] + columns[..., 2]  # [B, N, h, w, 3]
    # Rays and origins are exact to float64 before this; in metres of the ego's surroundings float32 loses micrometres.
    origins = inverse[:, :, None, None, None, :3, 3].float()
    return rays[:, :, None].float() * bins[:, None, None, None] + origins

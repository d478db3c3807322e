"""Surround cameras to a bird's-eye-view map by lifting features along a depth distribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

import bevkd.detectors.depth_net  # noqa: F401  (registers the depth nets)
from bevkd.detectors.build import build_part
from bevkd.detectors.camera_batch import CameraBatch, CameraEncoder
from bevkd.detectors.camera_rays import camera_numbers, depth_bins, frustum, ground_prior
from bevkd.detectors.depth_loss import depth_loss, depth_targets
from bevkd.detectors.layers import conv_block
from bevkd.errors import ConfigError, DataError
from bevkd.ops import LiftPlan, bev_pool
from bevkd.structures import BEVGrid

UNIDISTILL_DEPTH = {"min": 2.0, "max": 58.0, "step": 0.5}


@MODELS.register_module()
class LiftSplatEncoder(CameraEncoder):
    """Image backbone, depth distribution, lift to 3D and sum per bird's-eye-view cell.

    After Lift-Splat-Shoot (Philion and Fidler, ECCV 2020): one 1x1 convolution gives, for each feature cell, depth
    logits and a feature vector; the softmax of the logits says how much of the vector goes to which depth. A single
    frame. With a :class:`CameraAwareDepthNet` and a ``depth_weight`` it is the encoder of BEVDepth (Li et al., AAAI
    2023): in training, LiDAR points in the images supervise depth, as the loss ``loss_depth``.

    Two options are ours, for short trainings from scratch. With ``ground_z`` the depth distribution starts from where
    each ray meets the road: without depth supervision or pretraining a small network needs many epochs to find out
    that lower pixels are nearer. With ``normalise`` a cell holds the mean rather than the sum of what falls into it, as
    ``sum / (1 + mass)``: cells beside the ego receive hundreds of times the mass of distant ones and would rule the
    batch statistics of everything behind.

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
        out_channels: channels after a 3x3 convolution on the grid; None leaves the pooled sums as they are.
        z_range: (min, max) in metres; lifted points beyond it are left out.
        level: which output of the neck.
        ground_z: height of the road in the LiDAR frame in metres (nuScenes: about -1.84); None leaves it out.
        normalise: divide each cell by 1 + the probability mass that it received.
        depth_net: config of the depth net; None takes a plain :class:`bevkd.detectors.depth_net.DepthNet`.
        depth_weight: weight of the supervision of depth (BEVDepth: 3); 0 leaves it out.
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
        ground_z: float | None = None,
        normalise: bool = False,
        depth_net: dict | None = None,
        depth_weight: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.grid, self.z_range, self.level, self.rounding = grid, tuple(z_range), level, rounding
        self.channels, self.out_channels = channels, out_channels or channels
        self.register_buffer("bins", _bins(depth), persistent=False)
        self.backbone = build_part(MODELS, backbone, "camera_encoder.backbone")
        self.neck = build_part(MODELS, neck, "camera_encoder.neck")
        self.ground_z, self.normalise = ground_z, normalise
        self.depth_range, self.depth_weight = (depth["min"], depth["max"]), depth_weight
        self.depth_net = build_part(
            MODELS,
            depth_net or {"type": "DepthNet"},
            "camera_encoder.depth_net",
            in_channels=in_channels,
            bins=len(self.bins),
            channels=channels,
            with_ground=ground_z is not None,
        )
        self.stem = conv_block(channels, out_channels) if out_channels else nn.Identity()
        self._cached: tuple[Tensor, tuple[int, ...], LiftPlan] | None = None

    def forward(self, batch: CameraBatch, losses: dict[str, Tensor] | None = None) -> Tensor:
        """See :class:`CameraEncoder`; [B, out_channels, Y, X] on the grid.

        Raises:
            DataError: the matrices do not fit the images or cannot be inverted, or a supervised training has no points.
        """
        features = self.image_features(batch.images)
        matrices = batch.matrices()
        sizes = batch.images.shape[-2:], features.shape[-2:]
        found = self.depth_net(features, *self.conditions(batch, features))
        depth, lifted = (part.contiguous().unflatten(0, batch.images.shape[:2]) for part in found)
        if losses is not None and self.depth_weight:
            if batch.points is None:
                raise DataError(
                    "the batch has no 'points', expected them to supervise depth (camera_encoder.depth_weight)"
                )
            targets = depth_targets(batch.points, matrices, self.depth_range, len(self.bins), *sizes)
            losses["loss_depth"] = self.depth_weight * depth_loss(depth, targets)
        plan = self.plan(matrices, *sizes, features.device)
        return self.splat(depth, lifted, partial(bev_pool, plan=plan))

    def image_features(self, images: Tensor) -> Tensor:
        """[B, N, 3, H, W] to the features [B N, in_channels, h, w] that are lifted."""
        features = self.neck(self.backbone(images.flatten(0, 1)))
        return features[self.level] if isinstance(features, (list, tuple)) else features

    def conditions(self, batch: CameraBatch, features: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What the depth net knows of the cameras beside ``features``: the ground prior and their numbers, or None."""
        ground = numbers = None
        image = batch.images.shape[-2:]
        if self.ground_z is not None:
            ground = ground_prior(batch.matrices(), self.bins.cpu(), image, features.shape[-2:], self.ground_z)
            ground = ground.flatten(0, 1).to(features)
        if self.depth_net.camera_aware:
            numbers = camera_numbers(batch.unaugmented_matrices(), image).flatten(0, 1).to(features.device)
        return ground, numbers

    def splat(self, depth: Tensor, lifted: Tensor, pool: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Depth [B, N, D, h, w] and features [B, N, h, w, C] to the map; ``pool`` is :func:`bev_pool` over a plan."""
        if not self.normalise:
            return self.stem(pool(depth, lifted))
        pooled = pool(depth, torch.cat((lifted, torch.ones_like(lifted[..., :1])), -1))
        return self.stem(pooled[:, :-1] / (1 + pooled[:, -1:]))

    def plan(self, matrices: Tensor, image: Sequence[int], feature: Sequence[int], device: torch.device) -> LiftPlan:
        """The lift plan of [B, N, 4, 4] float64 matrices, kept while geometry, sizes and device stay what they were."""
        sizes = (*image, *feature)
        if self._cached is not None:
            known, known_sizes, plan = self._cached
            if known_sizes == sizes and plan.cell.device == device and torch.equal(known, matrices):
                return plan
        points = frustum(matrices, self.bins.cpu(), image, feature).to(device)
        plan = LiftPlan.build(points, self.grid, self.z_range, rounding=self.rounding)
        self._cached = (matrices.clone(), sizes, plan)  # a copy: the caller may write new cameras into the old tensor
        return plan


def _bins(depth: Mapping[str, float]) -> Tensor:
    if set(depth) != set(UNIDISTILL_DEPTH):
        raise ConfigError(f"camera_encoder.depth has the keys {sorted(depth)}, expected min, max and step")
    return depth_bins(**depth)

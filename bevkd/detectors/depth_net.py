"""Networks that tell how far away each cell of an image feature is, and what to lift there."""

from __future__ import annotations

import torch
from mmdet.models.backbones.resnet import BasicBlock
from mmdet.models.necks.rfp import ASPP
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from bevkd.detectors.camera_rays import CAMERA_NUMBERS
from bevkd.detectors.layers import PointBatchNorm, conv_block


@MODELS.register_module()
class DepthNet(BaseModule):
    """Image features to a depth distribution and a feature vector for each cell.

    Plain, it is the one 1x1 convolution of Lift-Splat-Shoot. With the ground it also sees, and starts from, where the
    cell's ray meets the road.

    Args:
        in_channels: channels of the image features.
        bins: number of depth bins D.
        channels: channels C of a lifted feature.
        with_ground: expect a ground prior.
    """

    camera_aware = False

    def __init__(
        self, in_channels: int, bins: int, channels: int, with_ground: bool, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.split = (bins, channels)
        if with_ground:
            # Initial weight of the prior among the logits: at its peak e^3 times as likely as far from it.
            self.trust = nn.Parameter(torch.tensor(3.0))
        self._build(in_channels + bins if with_ground else in_channels, with_ground)

    def forward(
        self, features: Tensor, ground: Tensor | None = None, cameras: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            features: [M, in_channels, h, w].
            ground: prior [M, D, h, w] of :func:`bevkd.detectors.camera_rays.ground_prior`.
            cameras: [M, 17] of :func:`bevkd.detectors.camera_rays.camera_numbers`, for a camera-aware net.

        Returns:
            Depth [M, D, h, w], which sums to 1 over D, and features to lift [M, h, w, C].
        """
        inputs = features if ground is None else torch.cat((features, ground), 1)
        logits, lifted = self._maps(inputs, cameras)
        logits = logits.float()
        if ground is not None:
            logits = logits + self.trust * ground
        return logits.softmax(1), lifted.float().permute(0, 2, 3, 1)

    def _build(self, in_channels: int, with_ground: bool) -> None:
        if not with_ground:
            self.layers = nn.Conv2d(in_channels, sum(self.split), 1)
            return
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, sum(self.split), 1),
        )

    def _maps(self, inputs: Tensor, cameras: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.layers(inputs).split(self.split, 1)


@MODELS.register_module()
class CameraAwareDepthNet(DepthNet):
    """Depth that knows its camera, after BEVDepth (Li et al., AAAI 2023).

    Two gates (squeeze-and-excitation, driven by the camera's numbers instead of by the image) weigh the reduced
    features, one for depth and one for what is lifted; depth then goes through residual blocks and atrous spatial
    pyramid pooling. Different from the paper's code: the camera's numbers are what ``lidar2img`` decomposes into, where
    the paper gives intrinsics, augmentations and extrinsics as separate matrices; DetectoRS' pyramid pooling of mmdet;
    no deformable convolution, which needs a compiled op.

    Args:
        in_channels, bins, channels, with_ground: see :class:`DepthNet`.
        mid_channels: channels inside, a multiple of 4.
        blocks: residual blocks.
        dilations: of the pyramid pooling; the last stands for the pooled image.
    """

    camera_aware = True

    def __init__(
        self,
        in_channels: int,
        bins: int,
        channels: int,
        with_ground: bool,
        mid_channels: int = 512,
        blocks: int = 3,
        dilations: tuple[int, ...] = (1, 3, 6, 1),
        init_cfg: dict | None = None,
    ) -> None:
        self._mid, self._blocks, self._dilations = mid_channels, blocks, tuple(dilations)
        super().__init__(in_channels, bins, channels, with_ground, init_cfg)

    def _build(self, in_channels: int, with_ground: bool) -> None:
        mid, (bins, channels) = self._mid, self.split
        self.camera_norm = PointBatchNorm(CAMERA_NUMBERS)
        self.reduce = conv_block(in_channels, mid)
        self.depth_gate, self.context_gate = CameraGate(mid), CameraGate(mid)
        self.context = nn.Conv2d(mid, channels, 1)
        self.depth = nn.Sequential(
            *(BasicBlock(mid, mid) for _ in range(self._blocks)),
            ASPP(mid, mid // len(self._dilations), self._dilations),
            nn.Conv2d(mid // len(self._dilations) * len(self._dilations), bins, 1),
        )

    def _maps(self, inputs: Tensor, cameras: Tensor | None) -> tuple[Tensor, Tensor]:
        numbers, features = self.camera_norm(cameras), self.reduce(inputs)
        logits = self.depth(self.depth_gate(features, numbers))
        return logits, self.context(self.context_gate(features, numbers))


class CameraGate(nn.Module):
    """Channels weighed by the camera that they come from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(CAMERA_NUMBERS, channels)]
        for _ in range(3):
            layers += [nn.ReLU(inplace=True), nn.Linear(channels, channels)]
        self.layers = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, x: Tensor, cameras: Tensor) -> Tensor:
        """[M, C, h, w] and [M, 17] to [M, C, h, w]."""
        return x * self.layers(cameras)[:, :, None, None]

"""What a camera encoder is given: images with their geometry, and what some encoders use beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.model import BaseModule
from torch import Tensor

from bevkd.detectors.camera_rays import stack_matrices
from bevkd.errors import DataError


@dataclass(frozen=True)
class CameraBatch:
    """The images of one moment.

    Args:
        images: [B, N, 3, H, W] normalised.
        lidar2img: B matrices [N, 4, 4] (array or tensor) that take (x, y, z, 1) metres to (u d, v d, d, 1).
        bev_matrices: B matrices [4, 4] of the augmentation that is part of ``lidar2img``; None where there was none.
        points: B clouds [N_b, 5] in the same frame, or None.
        previous: the key frame before, in its own LiDAR frame, or None.
        previous_to_current: B matrices [4, 4] from that frame to this one, where there is a previous one.
    """

    images: Tensor
    lidar2img: Sequence
    bev_matrices: Sequence | None = None
    points: Sequence[Tensor] | None = None
    previous: CameraBatch | None = None
    previous_to_current: Sequence | None = None

    @classmethod
    def collect(cls, inputs: Mapping, samples: Sequence) -> CameraBatch:
        """Out of a batch's inputs and data samples; images of a previous frame come after the current ones.

        Raises:
            DataError: images or their matrices are missing.
        """
        if inputs.get("imgs") is None:
            raise DataError("the batch has no 'imgs', expected them for a detector with a camera_encoder")
        metas = [sample.metainfo for sample in samples]
        if any("lidar2img" not in meta for meta in metas):
            raise DataError("a data sample has no 'lidar2img' in its metainfo, expected it for a camera_encoder")
        images, augmented = inputs["imgs"], [meta.get("bev_matrix", np.eye(4)) for meta in metas]
        current = [meta["lidar2img"] for meta in metas]
        if any("previous_lidar2img" not in meta for meta in metas):
            return cls(images, current, augmented, inputs.get("points"))
        cameras = images.shape[1] // 2
        before = cls(images[:, cameras:], [meta["previous_lidar2img"] for meta in metas], augmented)
        motion = [meta["previous_to_current"] for meta in metas]
        return cls(images[:, :cameras], current, augmented, inputs.get("points"), before, motion)

    def matrices(self) -> Tensor:
        """``lidar2img`` as float64 [B, N, 4, 4] on the CPU, checked.

        Raises:
            DataError: the matrices do not fit the images, or cannot be inverted.
        """
        return stack_matrices(self.lidar2img, *self.images.shape[:2])

    def unaugmented_matrices(self) -> Tensor:
        """As :meth:`matrices`, from the LiDAR frame before augmentation, where cameras stay where they are mounted."""
        if self.bev_matrices is None:
            return self.matrices()
        return self.matrices() @ stack_matrices(self.bev_matrices, len(self.images), 1, "bev_matrix")


class CameraEncoder(BaseModule):
    """Base of the camera encoders.

    ``forward(batch, losses=None)`` takes a :class:`CameraBatch` to [B, out_channels, Y, X] on the grid. Where
    ``losses`` is given, the encoder adds its own to it, e.g. ``loss_depth``.
    """

    out_channels: int

    def forward(self, batch: CameraBatch, losses: dict[str, Tensor] | None = None) -> Tensor:
        raise NotImplementedError

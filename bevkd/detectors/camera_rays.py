"""Rays of surround cameras: where feature cells and depth bins lie in the LiDAR frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bevkd.errors import ConfigError, DataError

CAMERA_NUMBERS = 17


def depth_bins(min: float, max: float, step: float) -> Tensor:
    """Bin centres [D] in metres: ``depth_bins(1, 3, 0.5)`` is 1.25, 1.75, 2.25, 2.75."""
    count = round((max - min) / step) if step > 0 else 0
    if not (min >= 0 and count >= 1 and abs((max - min) / step - count) < 1e-4):
        raise ConfigError(
            f"depth is min {min}, max {max}, step {step}, expected 0 <= min and a whole number of steps up to max"
        )
    return (torch.arange(count, dtype=torch.float64) + 0.5).mul(step).add(min).float()


def stack_matrices(matrices: Sequence, batch: int, cameras: int, name: str = "lidar2img") -> Tensor:
    """Matrices of a batch as float64 [B, N, 4, 4] on the CPU, checked."""
    stacked = torch.stack([torch.as_tensor(m, dtype=torch.float64).cpu().reshape(-1, 4, 4) for m in matrices])
    if stacked.shape[:2] != (batch, cameras):
        raise DataError(f"{name} holds {tuple(stacked.shape)} numbers, expected {(batch, cameras, 4, 4)} as the images")
    if not stacked.isfinite().all() or (torch.linalg.det(stacked).abs() < 1e-9).any():
        raise DataError(f"{name} holds a matrix that is singular or not finite, expected invertible ones")
    return stacked


def ground_prior(matrices: Tensor, bins: Tensor, image: Sequence[int], feature: Sequence[int], z: float) -> Tensor:
    """How near each depth bin is to the place where the ray of a feature cell meets the plane at height ``z``.

    A triangle of half width two bins around that depth: 1 on it, 0.5 one bin beside it, 0 from two bins on, and 0
    everywhere for rays that never meet the plane in front of the camera.

    Args:
        matrices, bins, image, feature: as for :func:`frustum`; the bins are evenly spaced.
        z: height of the plane in the LiDAR frame, metres.

    Returns:
        [B, N, D, h, w] float32.
    """
    rays, origins = cell_rays(torch.linalg.inv(matrices), image, feature)
    depth = (z - origins[..., 2]) / torch.where(rays[..., 2] < 0, rays[..., 2], -1e-9)  # upward: infinitely far
    step = bins[1] - bins[0] if len(bins) > 1 else bins[0]
    return (1 - (depth.float()[:, :, None] - bins[:, None, None]).abs() / (2 * step)).clamp(min=0)


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
    rays, origins = cell_rays(torch.linalg.inv(matrices), image, feature)
    # Rays and origins are exact to float64 before this; in metres of the ego's surroundings float32 loses micrometres.
    return rays[:, :, None].float() * bins[:, None, None, None] + origins[:, :, None].float()


def cell_rays(inverse: Tensor, image: Sequence[int], feature: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rays through the feature cells, [B, N, h, w, 3] per metre of depth, and camera centres [B, N, 1, 1, 3]."""
    v, u = (
        (torch.arange(cells, dtype=torch.float64) + 0.5) * (pixels / cells) - 0.5
        for pixels, cells in zip(image, feature)
    )
    columns = inverse[:, :, None, None, :3]  # [B, N, 1, 1, 3, 4]
    rays = columns[..., 0] * u[:, None] + columns[..., 1] * v[:, None, None] + columns[..., 2]
    return rays, columns[..., 3]


def camera_numbers(matrices: Tensor, image: Sequence[int]) -> Tensor:
    """What lidar2img says about each camera, as numbers of order one.

    ``lidar2img = s K [R | t]`` is decomposed by an RQ factorisation: K upper triangular with a positive diagonal, R
    orthogonal, of determinant -1 where the image is mirrored. The focal lengths and the skew are in image sizes, the
    principal point from the image's outer corner too, and the position of the camera in metres.

    Args:
        matrices: [B, N, 4, 4] float64.
        image: (H, W) of the images that the matrices project into.

    Returns:
        [B, N, 17] float32: fx / W, skew / W, (cx + 0.5) / W, fy / H, (cy + 0.5) / H, R row by row, x, y, z.
    """
    left = matrices[..., :3, :3]
    # RQ by QR of the matrix turned upside down: flipping rows of M^T's factors makes R' upper triangular from the end.
    q, r = torch.linalg.qr(left.flip(-2).mT)
    k, rotation = r.mT.flip(-1, -2), q.mT.flip(-2)
    sign = torch.where(torch.diagonal(k, dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    k, rotation = k * sign[..., None, :], rotation * sign[..., :, None]
    k = k / k[..., 2:, 2:]
    position = -torch.linalg.solve(left, matrices[..., :3, 3:])[..., 0]
    height, width = image
    intrinsics = torch.stack(
        [
            k[..., 0, 0] / width,
            k[..., 0, 1] / width,
            (k[..., 0, 2] + 0.5) / width,
            k[..., 1, 1] / height,
            (k[..., 1, 2] + 0.5) / height,
        ],
        -1,
    )
    return torch.cat((intrinsics, rotation.flatten(-2), position), -1).float()

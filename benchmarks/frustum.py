"""The frustum of six cameras with a nuScenes-like rig, in the LiDAR frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor

IMAGE = (256, 704)  # rows, columns of the network's input
STRIDE = 16
FOCAL = 560.0  # pixels at 704 columns; about 64 degrees across, as five of nuScenes' six cameras
HEADINGS = (90.0, 35.0, -35.0, -90.0, -145.0, 145.0)  # degrees from x right, y forward: front, then around
DEPTHS = (1.0, 60.0, 0.5)


def frustum(samples: int = 1, augmented: bool = False, seed: int = 0) -> Tensor:
    """Centres of all depth bins: [B, 6, D, H, W, 3] metres; D = 118, H = 16, W = 44.

    ``augmented`` rolls every image by up to 5.4 degrees and the scene by up to 22.5, as BEVDet trains.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.arange(0, size, STRIDE) + STRIDE / 2 for size in IMAGE)
    depth = torch.arange(*DEPTHS)
    bins, v, u = torch.meshgrid(depth, rows, columns, indexing="ij")
    clouds = []
    for _ in range(samples):
        turn = math.radians(22.5) * (2 * torch.rand(1, generator=generator).item() - 1) * augmented
        cameras = []
        for heading in HEADINGS:
            roll = math.radians(5.4) * (2 * torch.rand(1, generator=generator).item() - 1) * augmented
            right, down = (u - IMAGE[1] / 2) / FOCAL, (v - IMAGE[0] / 2) / FOCAL
            right, down = right * math.cos(roll) - down * math.sin(roll), right * math.sin(roll) + down * math.cos(roll)
            yaw = math.radians(heading) + turn
            x = bins * (math.cos(yaw) + right * math.sin(yaw))
            y = bins * (math.sin(yaw) - right * math.cos(yaw))
            cameras.append(torch.stack((x, y, -0.3 - bins * down), -1))
        clouds.append(torch.stack(cameras))
    return torch.stack(clouds)

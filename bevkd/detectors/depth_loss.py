"""Supervision of depth by LiDAR points that are projected into the images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bevkd.structures.ranks import rank_count, rank_sum


def depth_targets(
    points: Sequence[Tensor],
    matrices: Tensor,
    depth_range: tuple[float, float],
    bins: int,
    image: Sequence[int],
    feature: Sequence[int],
) -> Tensor:
    """The depth bin of the nearest point that falls into each feature cell.

    Worked numbers: with bins of 0.5 m from 2 m on, points at 7.3 and 30 m in one cell give bin (7.3 - 2) / 0.5 = 10.

    Args:
        points: B clouds [N_b, >= 3] in the frame that ``matrices`` start from. Where a fifth column holds a time lag,
            only points of the key frame (lag 0) count: older ones are where moving objects were.
        matrices: [B, N, 4, 4] float64 lidar2img.
        depth_range: (min, max) in metres; points outside are left out.
        bins: number of bins D between them.
        image: (H, W) of the images.
        feature: (h, w) of the feature map, whose cells are H / h x W / w pixels.

    Returns:
        [B, N, h, w] int64, -1 where there is no point, on the points' device.
    """
    rows, columns = feature
    found = [
        _nearest(_key_frame(cloud), sample, depth_range, image, feature) for cloud, sample in zip(points, matrices)
    ]
    depth = torch.stack(found).unflatten(2, (rows, columns))
    low, high = depth_range
    index = ((depth - low) / ((high - low) / bins)).long().clamp(max=bins - 1)
    return torch.where(depth.isfinite(), index, -1)


def depth_loss(depth: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy over all bins of the cells with a target, summed over bins, mean over these cells,
    whose number is averaged over ranks.

    BEVDepth's loss on depth (Li et al., AAAI 2023, without its weight of 3). Without any target it is 0 with a graph.

    Args:
        depth: [B, N, D, h, w] probabilities.
        targets: [B, N, h, w] of :func:`depth_targets`.
    """
    known = targets >= 0
    probability = depth.movedim(2, -1)[known].float()
    wanted = torch.zeros_like(probability).scatter_(1, targets[known][:, None], 1.0)
    # The logarithms are bounded as in torch's binary_cross_entropy, which autocast refuses.
    log, log_other = probability.log().clamp(min=-100), (1 - probability).log().clamp(min=-100)
    total = -(wanted * log + (1 - wanted) * log_other).sum()
    return total * rank_count() / rank_sum(known.sum()).clamp(min=1)


def _key_frame(cloud: Tensor) -> Tensor:
    return cloud[cloud[:, 4] == 0, :3] if cloud.shape[1] > 4 else cloud[:, :3]


def _nearest(
    xyz: Tensor, matrices: Tensor, depth_range: tuple[float, float], image: Sequence[int], feature: Sequence[int]
) -> Tensor:
    """The smallest depth [N, h * w] of points [P, 3] in each cell of each camera, infinite where there is none."""
    matrices = matrices.to(xyz.device, torch.float32)
    seen = xyz @ matrices[:, :3, :3].mT + matrices[:, None, :3, 3]  # [N, P, 3]
    depth = seen[..., 2]
    cells = [
        ((seen[..., axis] / depth + 0.5) * (count / size)).floor()
        for axis, count, size in ((1, feature[0], image[0]), (0, feature[1], image[1]))
    ]
    inside = (depth >= max(depth_range[0], 1e-3)) & (depth < depth_range[1])
    for cell, count in zip(cells, feature):
        inside &= (cell >= 0) & (cell < count)
    camera, point = inside.nonzero(as_tuple=True)
    row, column = (cell[camera, point].long() for cell in cells)
    nearest = depth.new_full((len(matrices) * feature[0] * feature[1],), torch.inf)
    index = (camera * feature[0] + row) * feature[1] + column
    return nearest.scatter_reduce(0, index, depth[camera, point], "amin").view(len(matrices), -1)

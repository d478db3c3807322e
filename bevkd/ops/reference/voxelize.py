"""Twin of :mod:`bevkd.ops.voxelize`: a loop over points, one dictionary of voxels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bevkd.ops.reference.cells import axis_cell


def voxelize_dynamic(points: Tensor, voxel_size: Sequence[float], point_range: Sequence[float]) -> Tensor:
    """[N, 3] int32 (z, y, x), -1 -1 -1 outside or where any column is not finite."""
    axes = [axis_cell(points[:, i], point_range[i], point_range[3 + i], voxel_size[i]) for i in (2, 1, 0)]
    cells = torch.stack(axes, 1).int()
    inside = (cells >= 0).all(1) & points.isfinite().all(1)
    return torch.where(inside[:, None], cells, -1)


def voxelize(
    points: Tensor, voxel_size: Sequence[float], point_range: Sequence[float], max_points: int, max_voxels: int
) -> tuple[Tensor, ...]:
    """(features [V, K, F], coords [V, 3], num_points [V], num_dropped, num_invalid)."""
    kept: dict[tuple[int, ...], list[int]] = {}
    dropped = set()
    for index, cell in enumerate(map(tuple, voxelize_dynamic(points, voxel_size, point_range).tolist())):
        if cell[0] < 0 or cell in dropped:
            continue
        if cell not in kept and len(kept) == max_voxels:
            dropped.add(cell)
            continue
        members = kept.setdefault(cell, [])
        if len(members) < max_points:
            members.append(index)
    features = points.new_zeros(len(kept), max_points, points.shape[1])
    for row, members in zip(features, kept.values()):
        row[: len(members)] = points[members]
    coords = torch.tensor(list(kept), dtype=torch.int32).reshape(-1, 3)
    num_points = torch.tensor([len(members) for members in kept.values()], dtype=torch.int32)
    num_invalid = (~points.isfinite().all(1)).sum()
    return features, coords, num_points, torch.tensor(len(dropped)), num_invalid


def voxelize_mean(
    points: Tensor, voxel_size: Sequence[float], point_range: Sequence[float], max_points: int, max_voxels: int
) -> tuple[Tensor, ...]:
    """As :func:`voxelize`, features [V, F] the mean of the kept points, summed in float64."""
    features, coords, num_points, *counts = voxelize(points, voxel_size, point_range, max_points, max_voxels)
    mean = features.double().sum(1) / num_points[:, None]
    return mean.float(), coords, num_points, *counts


def voxelize_segments(
    points: Tensor, voxel_size: Sequence[float], point_range: Sequence[float], max_voxels: int
) -> tuple[Tensor, ...]:
    """(coords [V, 3], point [P], offsets [V + 1], voxel_of_point [N], num_dropped, num_invalid)."""
    _, coords, num_points, *counts = voxelize(points, voxel_size, point_range, max(len(points), 1), max_voxels)
    number = {cell: voxel for voxel, cell in enumerate(map(tuple, coords.tolist()))}
    cells = map(tuple, voxelize_dynamic(points, voxel_size, point_range).tolist())
    voxel_of_point = torch.tensor([number.get(cell, -1) for cell in cells], dtype=torch.int32)
    order = voxel_of_point.argsort(stable=True)
    point = order[voxel_of_point[order] >= 0].int()
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), num_points.long().cumsum(0)))
    return coords, point, offsets, voxel_of_point, *counts

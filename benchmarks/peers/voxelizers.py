"""Voxelizers of others: spconv's CPU one, the dense map of SECOND and CenterPoint in numba, a stable sort in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numba
import numpy as np
import torch
from torch import Tensor

Voxelizer = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]  # points -> features, coords (z, y, x), num_points


def spconv_voxelizer(
    size: Sequence[float], bounds: Sequence[float], columns: int, max_points: int, max_voxels: int
) -> Voxelizer:
    """spconv's ``PointToVoxel`` (a dense map that the object keeps; its construction is not timed).

    Raises:
        ImportError: spconv is not installed.
    """
    from spconv.pytorch.utils import PointToVoxel

    generate = PointToVoxel(list(size), list(bounds), columns, max_voxels, max_points, device=torch.device("cpu"))
    return lambda points: tuple(generate(points))


def mean_of(voxelize: Voxelizer) -> Voxelizer:
    """A voxelizer followed by the mean that mmdet3d's HardSimpleVFE takes."""

    def run(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, coords, num_points = voxelize(points)
        return features.sum(1) / num_points.to(features.dtype)[:, None], coords, num_points

    return run


@numba.njit(cache=True)
def _fill_dense(points, size, low, shape, voxel_of_cell, features, coords, num_points, max_points, max_voxels):
    count = 0
    for i in range(points.shape[0]):
        x = int(np.floor((points[i, 0] - low[0]) / size[0]))
        y = int(np.floor((points[i, 1] - low[1]) / size[1]))
        z = int(np.floor((points[i, 2] - low[2]) / size[2]))
        if x < 0 or y < 0 or z < 0 or x >= shape[2] or y >= shape[1] or z >= shape[0]:
            continue
        voxel = voxel_of_cell[z, y, x]
        if voxel < 0:
            if count >= max_voxels:
                continue
            voxel = count
            count += 1
            voxel_of_cell[z, y, x] = voxel
            coords[voxel, 0] = z
            coords[voxel, 1] = y
            coords[voxel, 2] = x
        if num_points[voxel] < max_points:
            features[voxel, num_points[voxel]] = points[i]
            num_points[voxel] += 1
    return count


def dense_map_voxelizer(size: Sequence[float], bounds: Sequence[float], max_points: int, max_voxels: int) -> Voxelizer:
    """One int32 per cell of the range, made anew in every call, as SECOND, CenterPoint and mmcv's CPU op do."""
    step, low = np.asarray(size, np.float32), np.asarray(bounds[:3], np.float32)
    shape = tuple(round((bounds[3 + i] - bounds[i]) / size[i]) for i in (2, 1, 0))

    def run(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        voxel_of_cell = np.full(shape, -1, np.int32)
        features = np.zeros((max_voxels, max_points, points.shape[1]), np.float32)
        coords, num_points = np.zeros((max_voxels, 3), np.int32), np.zeros(max_voxels, np.int32)
        count = _fill_dense(
            points.numpy(), step, low, shape, voxel_of_cell, features, coords, num_points, max_points, max_voxels
        )
        return tuple(torch.from_numpy(array[:count]) for array in (features, coords, num_points))

    return run


def stable_sort_voxelizer(
    size: Sequence[float], bounds: Sequence[float], max_points: int, max_voxels: int
) -> Voxelizer:
    """Key, stable sort, rank inside each run, voxels renumbered by first point: about twenty torch calls.

    The approach of tier4/AWML pull request 212, written anew.
    """
    shape = [round((bounds[3 + i] - bounds[i]) / size[i]) for i in range(3)]

    def run(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low, step = points.new_tensor(bounds[:3]), points.new_tensor(size)
        cell = ((points[:, :3] - low) / step).floor().long()
        inside = ((cell >= 0) & (cell < torch.tensor(shape, device=points.device))).all(1)
        kept = inside.nonzero()[:, 0]
        x, y, z = cell[kept].unbind(1)
        key, order = torch.sort((z * shape[1] + y) * shape[0] + x, stable=True)
        cells, run_of_point, counts = torch.unique_consecutive(key, return_inverse=True, return_counts=True)
        start = counts.cumsum(0) - counts
        by_first = kept[order[start]].argsort()[:max_voxels]
        voxel_of_run = torch.full_like(by_first, -1).new_full((len(cells),), -1)
        voxel_of_run[by_first] = torch.arange(len(by_first), device=points.device)
        slot = torch.arange(len(key), device=points.device) - start[run_of_point]
        voxel = voxel_of_run[run_of_point]
        used = (voxel >= 0) & (slot < max_points)
        features = points.new_zeros(len(by_first), max_points, points.shape[1])
        features[voxel[used], slot[used]] = points[kept[order[used]]]
        flat = cells[by_first]
        coords = torch.stack((flat // (shape[0] * shape[1]), flat // shape[0] % shape[1], flat % shape[0]), 1).int()
        return features, coords, counts[by_first].clamp(max=max_points).int()

    return run

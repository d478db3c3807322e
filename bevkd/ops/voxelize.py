"""Points to voxels: padded, as means, as segments of points, or one cell per point.

Contract, shared by the kernels and the twin: a cell is ``floor((point - low) / size)`` in float32 with IEEE division,
the upper bound is exclusive, voxels are numbered by their first point, a voxel keeps its first ``max_points`` points in
input order, and past ``max_voxels`` later voxels are dropped and counted. A point with a NaN or infinity in any of its
columns is dropped and counted. Results are the same bits on every number of threads, and never share memory unless a
workspace asks for it. Points are float32, also under autocast: float16 has a spacing of 3 cm at 50 m and puts one point
in thirty into the wrong 0.075 m voxel, so a voxelizer refuses it and autocast never casts its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import library
from bevkd.ops.voxel_workspace import StaticVoxels, VoxelWorkspace

_UNLIMITED = 2**31 - 1
_MAX_CELLS_PER_AXIS = 2**24  # a float32 counts this far exactly
_MAX_CELLS = 9e18  # int64 keys


class Voxels(NamedTuple):
    """Padded voxels.

    Attributes:
        features: [V, K, F] float32, the points of each voxel in input order, then zeros.
        coords: [V, 3] int32, (z, y, x) cell.
        num_points: [V] int32, points kept in each voxel, 1 to K.
        num_dropped: [] int64, occupied voxels beyond ``max_voxels``, dropped with all their points.
        num_invalid: [] int64, points dropped because one of their columns was NaN or infinite.
    """

    features: Tensor
    coords: Tensor
    num_points: Tensor
    num_dropped: Tensor
    num_invalid: Tensor


class MeanVoxels(NamedTuple):
    """Voxels reduced to the mean of their points; as :class:`Voxels` with ``features`` [V, F]."""

    features: Tensor
    coords: Tensor
    num_points: Tensor
    num_dropped: Tensor
    num_invalid: Tensor


class Segments(NamedTuple):
    """Every point of every kept voxel; voxel v holds ``point[offsets[v] : offsets[v + 1]]``.

    Attributes:
        coords: [V, 3] int32, (z, y, x) cell.
        point: [P] int32, rows of the points, sorted by voxel, then in input order.
        offsets: [V + 1] int64, where each voxel begins in ``point``.
        voxel_of_point: [N] int32, the voxel of each point; -1 for one that is outside, not finite or dropped.
        num_dropped: [] int64, occupied voxels beyond ``max_voxels``, dropped with all their points.
        num_invalid: [] int64, points dropped because one of their columns was NaN or infinite.
    """

    coords: Tensor
    point: Tensor
    offsets: Tensor
    voxel_of_point: Tensor
    num_dropped: Tensor
    num_invalid: Tensor


@overload
def voxelize(
    points: Tensor,
    voxel_size: Sequence[float],
    point_range: Sequence[float],
    max_points: int,
    max_voxels: int | None = None,
    workspace: None = None,
) -> Voxels: ...


@overload
def voxelize(
    points: Tensor,
    voxel_size: Sequence[float],
    point_range: Sequence[float],
    max_points: int,
    max_voxels: int,
    workspace: VoxelWorkspace,
) -> StaticVoxels: ...


def voxelize(
    points: Tensor,
    voxel_size: Sequence[float],
    point_range: Sequence[float],
    max_points: int,
    max_voxels: int | None = None,
    workspace: VoxelWorkspace | None = None,
) -> Voxels | StaticVoxels:
    """Hard voxelization with padding. No gradient flows to the points.

    Two points at x = 0.1 and 0.3 m with voxel_size (0.5, 0.5, 4) and point_range (0, 0, -2, 2, 2, 2) share voxel
    (z, y, x) = (0, 0, 0) when their y lies in [0, 0.5).

    Args:
        points: [N, F >= 3] float32, x, y, z in metres, then any features.
        voxel_size: (x, y, z) in metres.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres, a whole number of voxels along each axis.
        max_points: K, points kept in a voxel.
        max_voxels: voxels kept; None for all.
        workspace: memory to write into, see :class:`VoxelWorkspace`; it needs ``max_voxels``.

    Returns:
        Tensors of their own; with a workspace, views of it that the next call with it overwrites.

    Raises:
        ConfigError: a tensor, size, range or cap that is not as described.
    """
    sizes = _checked(points, voxel_size, point_range)
    if workspace is not None:
        max_points, rows = _caps(max_points, _fixed(max_voxels))
        out = workspace.tensors(points, (max_points, points.shape[1]), rows)
        torch.ops.bevkd.voxelize_into(points, *sizes, *out)
        return StaticVoxels(*out[:3], *out[3].unbind())
    return Voxels(*torch.ops.bevkd.voxelize(points, *sizes, *_caps(max_points, max_voxels)))


def voxelize_mean(
    points: Tensor,
    voxel_size: Sequence[float],
    point_range: Sequence[float],
    max_points: int | None = None,
    max_voxels: int | None = None,
    workspace: VoxelWorkspace | None = None,
) -> MeanVoxels | StaticVoxels:
    """Mean of the points that :func:`voxelize` would keep, without the padded tensor. No gradient flows to the points.

    Sums run in float64 in input order and are rounded once. Arguments and errors as :func:`voxelize`;
    ``max_points=None`` keeps every point of a voxel.
    """
    sizes = _checked(points, voxel_size, point_range)
    max_points = _UNLIMITED if max_points is None else max_points
    if workspace is not None:
        max_points, rows = _caps(max_points, _fixed(max_voxels))
        out = workspace.tensors(points, (points.shape[1],), rows)
        torch.ops.bevkd.voxelize_mean_into(points, *sizes, max_points, *out)
        return StaticVoxels(*out[:3], *out[3].unbind())
    return MeanVoxels(*torch.ops.bevkd.voxelize_mean(points, *sizes, *_caps(max_points, max_voxels)))


def voxelize_dynamic(points: Tensor, voxel_size: Sequence[float], point_range: Sequence[float]) -> Tensor:
    """The cell of every point: [N, 3] int32 (z, y, x), (-1, -1, -1) outside the range or not finite.

    Arguments and errors as :func:`voxelize`.
    """
    cells: Tensor = torch.ops.bevkd.voxelize_dynamic(points, *_checked(points, voxel_size, point_range))
    return cells


def voxelize_segments(
    points: Tensor, voxel_size: Sequence[float], point_range: Sequence[float], max_voxels: int | None = None
) -> Segments:
    """Which points make up which voxel, for encoders that reduce over all of them. No gradient flows to the points.

    Points in cells A, B, A give ``point`` (0, 2, 1), ``offsets`` (0, 2, 3) and ``voxel_of_point`` (0, 1, 0).
    Arguments and errors as :func:`voxelize`.
    """
    sizes = _checked(points, voxel_size, point_range)
    return Segments(*torch.ops.bevkd.voxelize_segments(points, *sizes, _caps(1, max_voxels)[1]))


def _fixed(max_voxels: int | None) -> int:
    if max_voxels is None:
        raise ConfigError("max_voxels is None, expected a number with a workspace: it has that many rows")
    return max_voxels


def _checked(
    points: Tensor, voxel_size: Sequence[float], point_range: Sequence[float]
) -> tuple[list[float], list[float]]:
    library.require_tensor("points", points, "[N, F >= 3]", 2, (torch.float32,))
    if points.shape[1] < 3:
        raise ConfigError(f"points have {points.shape[1]} columns, expected at least 3 (x, y, z)")
    if points.shape[0] >= _UNLIMITED:
        raise ConfigError(f"there are {points.shape[0]} points, expected fewer than 2^31 - 1: split the cloud")
    if points.requires_grad:
        raise ConfigError("points require a gradient, expected plain data: voxelization passes none; detach them")
    size, bounds = _floats("voxel_size", voxel_size, 3), _floats("point_range", point_range, 6)
    total = 1.0
    for axis, step, low, high in zip("xyz", size, bounds[:3], bounds[3:]):
        if not step > 0:
            raise ConfigError(f"voxel_size {axis} is {step}, expected a positive number of metres")
        cells = (high - low) / step
        if not 0.5 < cells <= _MAX_CELLS_PER_AXIS or abs(cells - round(cells)) > 1e-3:
            raise ConfigError(
                f"point_range {axis} [{low}, {high}) is {cells:.4f} voxels of {step} m,"
                " expected a whole number from 1 to 2^24"
            )
        total *= cells
    if total > _MAX_CELLS:
        raise ConfigError(f"point_range holds {total:.2g} voxels, expected at most {_MAX_CELLS:.0e}")
    return size, bounds


def _floats(name: str, values: Sequence[float], count: int) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count:
        raise ConfigError(f"{name} is {values!r}, expected {count} numbers")
    return numbers


def _caps(max_points: int, max_voxels: int | None) -> tuple[int, int]:
    max_voxels = _UNLIMITED if max_voxels is None else max_voxels
    for name, value in (("max_points", max_points), ("max_voxels", max_voxels)):
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
            raise ConfigError(f"{name} is {value!r}, expected a whole number of at least 1")
    return min(int(max_points), _UNLIMITED), min(int(max_voxels), _UNLIMITED)


def _fake_voxels(points: Tensor, row_shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    voxels = torch.library.get_ctx().new_dynamic_size()
    return (
        points.new_empty(voxels, *row_shape),
        points.new_empty(voxels, 3, dtype=torch.int32),
        points.new_empty(voxels, dtype=torch.int32),
        points.new_empty((), dtype=torch.int64),
        points.new_empty((), dtype=torch.int64),
    )


def _fake_segments(points: Tensor, *_: Any) -> tuple[Tensor, ...]:
    context = torch.library.get_ctx()
    voxels, kept = context.new_dynamic_size(), context.new_dynamic_size()
    return (
        points.new_empty(voxels, 3, dtype=torch.int32),
        points.new_empty(kept, dtype=torch.int32),
        points.new_empty(voxels + 1, dtype=torch.int64),
        points.new_empty(points.shape[0], dtype=torch.int32),
        points.new_empty((), dtype=torch.int64),
        points.new_empty((), dtype=torch.int64),
    )


def _register_fakes() -> None:
    library.load()
    register = torch.library.register_fake
    register("bevkd::voxelize", lambda points, size, bounds, k, v: _fake_voxels(points, (k, points.shape[1])))
    register("bevkd::voxelize_mean", lambda points, size, bounds, k, v: _fake_voxels(points, (points.shape[1],)))
    register("bevkd::voxelize_dynamic", lambda points, *sizes: points.new_empty(points.shape[0], 3, dtype=torch.int32))
    register("bevkd::voxelize_segments", _fake_segments)
    for name in ("voxelize_into", "voxelize_mean_into"):
        register(f"bevkd::{name}", lambda *arguments: None)


_register_fakes()

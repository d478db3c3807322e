"""Reductions of point features over the points of each voxel ("dynamic scatter"), forward and backward.

Points are never padded: a voxel of one point costs one row, a voxel of thousands costs thousands. Sums run in float32
(float64 for float64 features) in an order that depends on the segment alone: chunks of 64 points, each from its first
point to its last, then a binary tree over the chunks. So results are the same bits on every run and every number of
threads. Each function takes the dtype it is given, also under autocast, and rounds once, at the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import library
from bevkd.ops.voxelize import Segments

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_MAX_KEY = 2**62


def segment_sum(features: Tensor, segments: Segments) -> Tensor:
    """Sum of the features of each voxel's points. Differentiable twice.

    Rows (1,), (2,), (4,) of points in voxels A, B, A give (5,) and (2,).

    Args:
        features: [N, C] float, one row for each point that was voxelized.
        segments: of :func:`voxelize_segments` or :func:`segments_from_coords` over the same N points.

    Returns:
        [V, C] in the dtype of ``features``; zeros for a voxel without points.

    Raises:
        ConfigError: features of another shape, dtype or device than the segments ask for.
        IndexError: segments that point outside (on a GPU the kernel stops, as torch's own indexing does).
    """
    total: Tensor = torch.ops.bevkd.segment_sum(features, *_checked(features, segments), False)
    return total


def segment_mean(features: Tensor, segments: Segments) -> Tensor:
    """Mean of the features of each voxel's points: the sum of :func:`segment_sum` divided before it is rounded.

    Arguments, result and errors as :func:`segment_sum`.
    """
    mean: Tensor = torch.ops.bevkd.segment_sum(features, *_checked(features, segments), True)
    return mean


def segment_max(features: Tensor, segments: Segments) -> Tensor:
    """Maximum of the features of each voxel's points, channel by channel. Differentiable twice.

    The gradient goes to the point that holds the maximum, to the first in input order where several do. A NaN makes
    the maximum NaN, and the gradient goes to the first NaN. Arguments, result and errors as :func:`segment_sum`.
    """
    largest: Tensor = torch.ops.bevkd.segment_max(features, *_checked(features, segments))[0]
    return largest


def segments_from_coords(coords: Tensor) -> Segments:
    """Segments of points whose cells are known, one voxel for each different row of ``coords``.

    Rows (0, 3), (0, 1), (-1, -1), (0, 3) give voxels (0, 1) and (0, 3), ``point`` (1, 0, 3), ``offsets`` (0, 1, 3) and
    ``voxel_of_point`` (1, 0, -1, 1).

    Args:
        coords: [N, D >= 1] integers; a row with a negative number is a point outside.

    Returns:
        ``coords`` [V, D] in the dtype of the argument and sorted (first column first), ``num_dropped`` and
        ``num_invalid`` 0.

    Raises:
        ConfigError: anything else than a matrix of integers.
    """
    kinds = (torch.int32, torch.int64, torch.int16, torch.int8, torch.uint8)
    library.require_tensor("coords", coords, "[N, D >= 1]", 2, kinds)
    if coords.shape[1] < 1:
        raise ConfigError(f"coords have shape {tuple(coords.shape)}, expected [N, D >= 1]")
    inside = (coords >= 0).all(1)
    # Points outside come first under key -1: they take part in the sort, and their voxel is cut off again.
    key = torch.where(inside, _row_keys(coords), -1)
    key, point = key.sort(stable=True)
    outside = (~inside).sum()
    point, key = point[outside:], key[outside:]
    _, voxel, counts = torch.unique_consecutive(key, return_inverse=True, return_counts=True)
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    voxel_of_point = coords.new_full((len(coords),), -1, dtype=torch.int32)
    voxel_of_point[point] = voxel.int()
    none = coords.new_zeros((), dtype=torch.int64)
    return Segments(coords[point[offsets[:-1]]], point.int(), offsets, voxel_of_point, none, none.clone())


def _row_keys(coords: Tensor) -> Tensor:
    """[N] int64 in the order of the rows. Columns are merged one by one; where a product of extents would not fit into
    62 bits, both sides are first replaced by their ranks, which are below N."""

    def extent(values: Tensor) -> int:
        return int(values.max()) + 1 if len(values) else 1

    def rank(values: Tensor) -> Tensor:
        inverse: Tensor = torch.unique(values, return_inverse=True)[1]
        return inverse

    key, *columns = coords.long().clamp(min=0).unbind(1)
    for column in columns:
        if extent(key) * extent(column) > _MAX_KEY:
            key, column = rank(key), rank(column)
        key = key * extent(column) + column
    return key


def _checked(features: Tensor, segments: Segments) -> tuple[Tensor, Tensor, Tensor]:
    library.require_tensor("features", features, "[N, C]", 2, _FLOATS)
    try:
        tensors = (segments.point, segments.offsets, segments.voxel_of_point)
    except AttributeError as error:
        raise ConfigError(f"segments are a {type(segments).__name__}, expected Segments") from error
    if len(features) != len(segments.voxel_of_point):
        raise ConfigError(f"features have {len(features)} rows, expected {len(segments.voxel_of_point)}, one a point")
    if segments.point.device != features.device:
        raise ConfigError(f"segments are on {segments.point.device}, expected {features.device} like features")
    return tensors


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keeps the segments and, of ``segment_sum``, whether it is a mean."""
    _, *segments = inputs
    ctx.mean = segments.pop() if isinstance(segments[-1], bool) else False
    ctx.save_for_backward(*segments)


def _sum_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    point, offsets, voxel_of_point = ctx.saved_tensors
    if ctx.mean:
        grad = grad / offsets.diff().clamp(min=1).to(grad.dtype)[:, None]
    return torch.ops.bevkd.segment_sum_backward(grad, point, offsets, voxel_of_point), None, None, None, None


def _sum_backward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.bevkd.segment_sum(grad, *ctx.saved_tensors, False), None, None, None


def _save_winner(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(output[1], inputs[3])


def _max_backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    return torch.ops.bevkd.segment_max_backward(grad, *ctx.saved_tensors), None, None, None


def _save_max_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(inputs[1])


def _max_backward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (winner,) = ctx.saved_tensors
    found = winner >= 0
    return torch.where(found, grad.gather(0, winner.clamp(min=0).long()), 0), None, None


def _register() -> None:
    library.load()
    fake, autograd = torch.library.register_fake, torch.library.register_autograd

    def like(rows: Tensor, count: Any, **kwargs: Any) -> Tensor:
        return rows.new_empty(count, rows.shape[1], **kwargs)

    fake("bevkd::segment_sum", lambda features, point, offsets, voxel, mean: like(features, offsets.shape[0] - 1))
    fake("bevkd::segment_sum_backward", lambda grad, point, offsets, voxel: like(grad, voxel.shape[0]))
    fake(
        "bevkd::segment_max",
        lambda features, point, offsets, voxel: (
            like(features, offsets.shape[0] - 1),
            like(features, offsets.shape[0] - 1, dtype=torch.int32),
        ),
    )
    fake("bevkd::segment_max_backward", lambda grad, winner, voxel: like(grad, voxel.shape[0]))
    autograd("bevkd::segment_sum", _sum_backward, setup_context=_save)
    autograd("bevkd::segment_sum_backward", _sum_backward_backward, setup_context=_save)
    autograd("bevkd::segment_max", _max_backward, setup_context=_save_winner)
    autograd("bevkd::segment_max_backward", _max_backward_backward, setup_context=_save_max_backward)


_register()

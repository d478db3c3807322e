"""Lift-splat pooling: image features, weighted by depth, summed into bird's-eye-view cells.

Source of the operation: Philion and Fidler, Lift, Splat, Shoot (ECCV 2020), equation for the splat step; here without
ever storing the product of depth and feature.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bevkd.errors import ConfigError, nearest
from bevkd.ops import library

if TYPE_CHECKING:
    from bevkd.structures import BEVGrid

_ROUNDINGS = ("floor", "trunc")


@dataclass(frozen=True, eq=False)
class LiftPlan:
    """Which frustum point falls into which BEV cell: built once per camera geometry, used by every pooling over it.

    Attributes:
        cell: [B, N, D, H, W] int32, ``(b Y + y) X + x``, or -1 for a point outside.
        point: [P] int32, flat indices into ``cell`` of the points inside, sorted by cell, then by index.
        pixel: [P] int32, flat index (b, n, h, w) of the image feature each of them belongs to.
        offsets: [B Y X + 1] int32, cell c holds ``point[offsets[c]:offsets[c + 1]]``.
        num_invalid: [] int64, points dropped because a coordinate was NaN or infinite.
        shape: (Y, X) of the BEV map.
    """

    cell: Tensor
    point: Tensor
    pixel: Tensor
    offsets: Tensor
    num_invalid: Tensor
    shape: tuple[int, int]

    @staticmethod
    def build(frustum: Tensor, grid: BEVGrid, z_range: tuple[float, float], rounding: str = "floor") -> LiftPlan:
        """Sort frustum points into the cells of a grid.

        Cells are ``floor((x - x_min) / cell)`` in the frustum's own precision, upper bounds exclusive; z is one bin.
        ``rounding="trunc"`` rounds toward zero instead, as LSS, BEVDet, BEVFusion and UniDistill do: one more cell of
        points on the low side lands in cell 0, and z from [-10, 10) grows to [-30, 10). Use it only for checkpoints
        trained that way.

        Args:
            frustum: [B, N, D, H, W, 3] float32 or float64, (x, y, z) metres of pixel (h, w) of camera n at depth bin d.
            grid: the BEV map to pool into, in the frame of ``frustum``.
            z_range: (min, max) metres.
            rounding: "floor" or "trunc".

        Raises:
            ConfigError: an argument that is not as described.
        """
        shape = "[B, N, D, H, W, 3]"
        library.require_tensor("frustum", frustum, shape, 6, (torch.float32, torch.float64))
        if frustum.shape[-1] != 3:
            raise ConfigError(f"frustum has shape {tuple(frustum.shape)}, expected {shape}")
        if rounding not in _ROUNDINGS:
            raise ConfigError(f"rounding is {rounding!r}{nearest(str(rounding), _ROUNDINGS)}")
        z = [float(value) for value in z_range]
        if len(z) != 2 or not z[0] < z[1]:
            raise ConfigError(f"z_range is {tuple(z_range)}, expected (min, max) with min < max")
        low = [grid.x_range[0], grid.y_range[0], z[0]]
        high = [grid.x_range[1], grid.y_range[1], z[1]]
        with torch.no_grad():
            parts = torch.ops.bevkd.lift_plan(frustum, low, high, grid.cell, list(grid.shape), rounding == "trunc")
        return LiftPlan(*parts, shape=tuple(grid.shape))

    def to(self, device: torch.device | str) -> LiftPlan:
        """The same plan on another device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "shape"}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


def bev_pool(depth: Tensor, feat: Tensor, plan: LiftPlan) -> Tensor:
    """Sum depth x feature over the frustum points of each BEV cell.

    ``out[b, :, y, x] = sum over points p in the cell of depth[p] * feat[pixel of p]``; a cell without points is zero.
    Two points of weight 0.5 and 0.25 over features (2,) and (4,) in one cell give 0.5 * 2 + 0.25 * 4 = 2.
    Sums run in frustum order in float32 (float64 for float64 inputs), so forward and backward are the same bits on
    every run and every number of threads. Differentiable twice in ``depth`` and ``feat``.

    Args:
        depth: [B, N, D, H, W] float, the weight of each depth bin (usually a softmax over D).
        feat: [B, N, H, W, C] float. Where its dtype differs from ``depth``, both take the wider one.
        plan: a plan of the same geometry.

    Returns:
        [B, C, Y, X] in channels-last memory (no copy of the kernel's [B, Y, X, C]).

    Raises:
        ConfigError: shapes that disagree with each other or with the plan, a wrong dtype or device.
    """
    kinds = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    library.require_tensor("depth", depth, "[B, N, D, H, W]", 5, kinds)
    library.require_tensor("feat", feat, "[B, N, H, W, C]", 5, kinds)
    if depth.shape != plan.cell.shape:
        raise ConfigError(f"depth has shape {tuple(depth.shape)}, expected {tuple(plan.cell.shape)} of its LiftPlan")
    samples, cameras, _, height, width = depth.shape
    if feat.shape[:4] != (samples, cameras, height, width):
        raise ConfigError(
            f"feat has shape {tuple(feat.shape)}, expected ({samples}, {cameras}, {height}, {width}, C) for its depth"
        )
    for name, tensor in (("feat", feat), ("plan", plan.cell)):
        if tensor.device != depth.device:
            raise ConfigError(f"{name} is on {tensor.device}, expected {depth.device} like depth")
    dtype = torch.promote_types(depth.dtype, feat.dtype)
    pooled = torch.ops.bevkd.bev_pool(
        depth.to(dtype), feat.to(dtype), plan.cell, plan.point, plan.pixel, plan.offsets, list(plan.shape)
    )
    return pooled.permute(0, 3, 1, 2)


def _fake_plan(frustum: Tensor, low, high, cell, shape, truncate) -> tuple[Tensor, ...]:
    samples, cameras, depths, height, width, _ = frustum.shape
    kept = torch.library.get_ctx().new_dynamic_size()
    ints = {"dtype": torch.int32}
    return (
        frustum.new_empty(samples, cameras, depths, height, width, **ints),
        frustum.new_empty(kept, **ints),
        frustum.new_empty(kept, **ints),
        frustum.new_empty(samples * shape[0] * shape[1] + 1, **ints),
        frustum.new_empty((), dtype=torch.int64),
    )


def _save(ctx, inputs, output) -> None:
    *tensors, ctx.shape = inputs
    ctx.save_for_backward(*tensors)


def _pool_backward(ctx, grad: Tensor):
    depth, feat, *plan = ctx.saved_tensors
    grad_depth, grad_feat = torch.ops.bevkd.bev_pool_backward(grad, depth, feat, *plan, ctx.shape)
    return grad_depth, grad_feat, None, None, None, None, None


def _pool_backward_backward(ctx, grad_depth: Tensor, grad_feat: Tensor):
    """Pooling is linear in depth and in feature, so its second derivative is made of the same two kernels."""
    grad, depth, feat, *plan = ctx.saved_tensors
    ops = torch.ops.bevkd
    to_grad = ops.bev_pool(grad_depth, feat, *plan, ctx.shape) + ops.bev_pool(depth, grad_feat, *plan, ctx.shape)
    to_depth, to_feat = ops.bev_pool_backward(grad, grad_depth, grad_feat, *plan, ctx.shape)
    return to_grad, to_depth, to_feat, None, None, None, None, None


def _register() -> None:
    library.load()
    fake, autograd = torch.library.register_fake, torch.library.register_autograd
    fake("bevkd::lift_plan", _fake_plan)
    fake(
        "bevkd::bev_pool",
        lambda depth, feat, cell, point, pixel, offsets, shape: feat.new_empty(
            depth.shape[0], shape[0], shape[1], feat.shape[4]
        ),
    )
    fake(
        "bevkd::bev_pool_backward",
        lambda grad, depth, feat, *plan: (depth.new_empty(depth.shape), feat.new_empty(feat.shape)),
    )
    autograd("bevkd::bev_pool", _pool_backward, setup_context=_save)
    autograd("bevkd::bev_pool_backward", _pool_backward_backward, setup_context=_save)


_register()

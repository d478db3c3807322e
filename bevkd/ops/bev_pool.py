"""Lift-splat pooling: image features, weighted by depth, summed into bird's-eye-view cells.

Source of the operation: Philion and Fidler, Lift, Splat, Shoot (ECCV 2020), equation for the splat step; here without
ever storing the product of depth and feature.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import library
from bevkd.ops.lift_plan import LiftPlan


def bev_pool(depth: Tensor, feat: Tensor, plan: LiftPlan) -> Tensor:
    """Sum depth x feature over the frustum points of each BEV cell.

    ``out[b, :, y, x] = sum over points p in the cell of depth[p] * feat[pixel of p]``; a cell without points is zero.
    Two points of weight 0.5 and 0.25 over features (2,) and (4,) in one cell give 0.5 * 2 + 0.25 * 4 = 2.

    Sums are kept in float32 (float64 for float64 inputs) and run in one fixed order, so forward and backward are the
    same bits on every run, every number of threads and every instruction set. The order of a GPU is another one than
    that of a CPU, so between the two float32 sums differ in their last digits. Differentiable twice in ``depth`` and
    ``feat``. Under autocast nothing is cast here: the dtypes that arrive decide.

    A NaN or infinite feature or weight is never hidden. On a CPU it reaches the cells of its own points; on a GPU,
    where an image column is pooled at once, it may reach every cell of its column.

    Args:
        depth: [B, N, D, H, W] float, the weight of each depth bin (usually a softmax over D).
        feat: [B, N, H, W, C] float. Where its dtype differs from ``depth``, both take the wider one.
        plan: a plan of the same geometry.

    Returns:
        [B, C, Y, X] in channels-last memory (no copy of the kernel's [B, Y, X, C]).

    Raises:
        ConfigError: shapes that disagree with each other or with the plan, a wrong dtype or device.
        IndexError: a plan whose numbers were changed, on the CPU; on a GPU it is not followed out of memory.
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
    pool = getattr(torch.ops.bevkd, plan.lists.pool_op)
    pooled: Tensor = pool(depth.to(dtype), feat.to(dtype), plan.cell, *plan.lists, plan.shape)
    return pooled.permute(0, 3, 1, 2)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    ctx.sizes = inputs[len(tensors) :]
    ctx.save_for_backward(*tensors)


def _saved(ctx: Any) -> list[Any]:
    return [*ctx.saved_tensors, *ctx.sizes]


def _register(name: str) -> None:
    """Shapes and derivatives of the operator ``name`` (depth, feat, plan ..., sizes ...) and of its backward."""
    forward = getattr(torch.ops.bevkd, name)
    backward = getattr(torch.ops.bevkd, f"{name}_backward")

    def pool_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        depth, feat, *plan = _saved(ctx)
        return *backward(grad, depth, feat, *plan), *[None] * len(plan)

    def pool_backward_backward(ctx: Any, grad_depth: Tensor, grad_feat: Tensor) -> tuple[Tensor | None, ...]:
        """Pooling is linear in depth and in feature, so its second derivative is made of the same two kernels."""
        grad, depth, feat, *plan = _saved(ctx)
        to_grad = forward(grad_depth, feat, *plan) + forward(depth, grad_feat, *plan)
        return to_grad, *backward(grad, grad_depth, grad_feat, *plan), *[None] * len(plan)

    torch.library.register_fake(
        f"bevkd::{name}",
        lambda depth, feat, *plan: feat.new_empty(depth.shape[0], *plan[-1], feat.shape[4]),
    )
    torch.library.register_fake(
        f"bevkd::{name}_backward",
        lambda grad, depth, feat, *plan: (depth.new_empty(depth.shape), feat.new_empty(feat.shape)),
    )
    torch.library.register_autograd(f"bevkd::{name}", pool_backward, setup_context=_save)
    torch.library.register_autograd(f"bevkd::{name}_backward", pool_backward_backward, setup_context=_save)


library.load()
_register("bev_pool")
_register("bev_pool_columns")

"""Small worlds for the tests of lift plans and pooling."""

import torch

from bevkd.ops import LiftPlan
from bevkd.ops.lift_plan import ColumnLists, PointLists
from bevkd.structures import BEVGrid

GRID = BEVGrid((-4, 4), (-3, 3), 1.0)  # 6 rows, 8 columns
Z = (-2.0, 2.0)
NAN, INF = float("nan"), float("inf")


def _has_kernel(key: str) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key("bevkd::lift_columns", key)


EMULATED = _has_kernel("CPU")  # kernels over columns exist for GPUs only
KINDS = [PointLists, ColumnLists] if EMULATED or _has_kernel("CUDA") else [PointLists]


def column(*points) -> torch.Tensor:
    """A frustum of one pixel whose depth bins are the given (x, y, z)."""
    return torch.tensor(points, dtype=torch.float32).reshape(1, 1, len(points), 1, 1, 3)


def random_case(seed=0, shape=(2, 2, 4, 3, 5), channels=7, dtype=torch.float64, spread=3.0):
    """A frustum [*shape, 3], and depth and feature that require gradients."""
    generator = torch.Generator().manual_seed(seed)
    frustum = torch.randn(*shape, 3, dtype=dtype, generator=generator) * spread
    depth = torch.rand(*shape, dtype=dtype, generator=generator).requires_grad_()
    feat = torch.randn(*shape[:2], *shape[3:], channels, dtype=dtype, generator=generator).requires_grad_()
    return frustum, depth, feat


def with_lists(plan: LiftPlan, kind) -> LiftPlan:
    """The plan with the other lists."""
    return LiftPlan(plan.cell, plan.num_invalid, plan.shape, kind.build(plan.cell, plan.shape))


def raw(plan: LiftPlan) -> tuple:
    """A plan as the arguments of an operator."""
    return plan.cell, *plan.lists, list(plan.shape)

"""Lift plans and BEV pooling: hand-drawn values, the twin, gradients, determinism, refusals."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_checks import assert_opcheck, assert_same_on_any_threads

from bevkd.errors import ConfigError
from bevkd.ops import LiftPlan, bev_pool
from bevkd.ops.reference import bev_pool as twin
from bevkd.structures import BEVGrid

GRID = BEVGrid((-4, 4), (-3, 3), 1.0)  # 6 rows, 8 columns
Z = (-2.0, 2.0)
NAN, INF = float("nan"), float("inf")


def column(*points) -> torch.Tensor:
    """A frustum of one pixel whose depth bins are the given (x, y, z)."""
    return torch.tensor(points, dtype=torch.float32).reshape(1, 1, len(points), 1, 1, 3)


def random_case(seed=0, shape=(2, 2, 4, 3, 5), channels=7, dtype=torch.float64, spread=3.0):
    torch.manual_seed(seed)
    frustum = torch.randn(*shape, 3, dtype=dtype) * spread
    depth = torch.rand(*shape, dtype=dtype, requires_grad=True)
    feat = torch.randn(*shape[:2], *shape[3:], channels, dtype=dtype, requires_grad=True)
    return frustum, depth, feat


def raw(plan: LiftPlan) -> tuple:
    return plan.cell, *plan.lists, list(plan.shape)


def test_hand_drawn():
    """Bins 0 and 2 meet in cell (row 3, column 4), bin 1 lies in (0, 0), bin 3 outside."""
    plan = LiftPlan.build(column((0.5, 0.5, 0), (-4, -3, 0), (0.9, 0.1, 1), (4.0, 0, 0)), GRID, Z)
    assert plan.cell.flatten().tolist() == [3 * 8 + 4, 0, 3 * 8 + 4, -1]
    assert plan.lists.point.tolist() == [1, 0, 2]
    assert plan.lists.pixel.tolist() == [0, 0, 0]
    assert tuple(plan.lists.offsets[[0, 1, 28, 29, -1]]) == (0, 1, 1, 3, 3)
    depth = torch.tensor([0.5, 0.25, 0.125, 1.0]).reshape(1, 1, 4, 1, 1)
    out = bev_pool(depth, torch.tensor([2.0, 4.0]).reshape(1, 1, 1, 1, 2), plan)
    expected = torch.zeros(1, 2, 6, 8)
    expected[0, :, 3, 4] = torch.tensor([1.25, 2.5])
    expected[0, :, 0, 0] = torch.tensor([0.5, 1.0])
    assert torch.equal(out, expected)


def test_rows_are_y_and_columns_are_x_of_the_right_sample_and_pixel():
    frustum = torch.full((2, 3, 1, 2, 2, 3), 99.0)
    frustum[1, 2, 0, 1, 0] = torch.tensor([3.5, -2.5, 0.0])
    plan = LiftPlan.build(frustum, GRID, Z)
    assert plan.lists.pixel.tolist() == [((1 * 3 + 2) * 2 + 1) * 2 + 0]
    feat = torch.arange(2 * 3 * 2 * 2.0).reshape(2, 3, 2, 2, 1)
    out = bev_pool(torch.ones(2, 3, 1, 2, 2), feat, plan)
    assert out.nonzero().tolist() == [[1, 0, 0, 7]]
    assert out[1, 0, 0, 7] == 22


def test_docstring_example():
    plan = LiftPlan.build(torch.zeros(1, 1, 1, 1, 2, 3), GRID, Z)
    feat = torch.tensor([2.0, 4.0]).reshape(1, 1, 1, 2, 1)
    assert bev_pool(torch.tensor([0.5, 0.25]).reshape(1, 1, 1, 1, 2), feat, plan).sum() == 2


def test_floor_by_default_trunc_for_parity():
    """F12: rounding toward zero pulls the cell below each lower bound into cell 0, z [-2, 2) becomes [-6, 2)."""
    frustum = column((-4.5, 0, 0), (0, -3.9, 0), (0, 0, -5.9), (0, 0, 2.0), (-5.0, 0, 0), (-4.0, 0, -2.0))
    floor, trunc = (LiftPlan.build(frustum, GRID, Z, rounding=r).cell.flatten().tolist() for r in ("floor", "trunc"))
    assert floor == [-1, -1, -1, -1, -1, 24]
    assert trunc == [24, 4, 28, -1, -1, 24]


def test_points_that_are_not_finite_are_dropped_and_counted():
    plan = LiftPlan.build(column((NAN, 0, 0), (0, INF, 0), (0, 0, -INF), (0, 0, 0)), GRID, Z)
    assert (plan.cell >= 0).flatten().tolist() == [False, False, False, True]
    assert plan.num_invalid == 3


def test_plan_lists_every_inside_point_once_sorted_by_cell_then_index():
    frustum, *_ = random_case(shape=(3, 2, 6, 4, 5))
    plan = LiftPlan.build(frustum, GRID, Z)
    cell = plan.cell.flatten().long()
    expected = torch.argsort(torch.where(cell < 0, 10**6, cell), stable=True)[: (cell >= 0).sum()]
    assert torch.equal(plan.lists.point.long(), expected)
    counts = torch.bincount(cell[cell >= 0], minlength=3 * 48)
    assert torch.equal(plan.lists.offsets.diff().long(), counts)  # F11: the last interval is whole
    image = 4 * 5
    assert torch.equal(plan.lists.pixel.long(), expected // (6 * image) * image + expected % image)  # F27


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 5)] * 3),
    st.integers(1, 19),
    st.sampled_from([0.5, 3.0, 30.0]),
    st.sampled_from(["floor", "trunc"]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_random_geometry_agrees_with_the_twin(seed, shape, channels, spread, rounding, dtype):
    frustum, depth, feat = random_case(seed, shape, channels, dtype, spread)
    plan = LiftPlan.build(frustum, GRID, Z, rounding)
    cell = twin.lift_cells(frustum, GRID, Z, rounding)
    assert torch.equal(plan.cell.long(), cell)
    out, expected = bev_pool(depth, feat, plan), twin.bev_pool(depth, feat, cell, GRID.shape)
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(expected)
    for found, wanted in zip(
        torch.autograd.grad((out * weight).sum(), (depth, feat)),
        torch.autograd.grad((expected * weight).sum(), (depth, feat)),
    ):
        torch.testing.assert_close(found, wanted)


def test_gradcheck_and_second_derivative():
    frustum, depth, feat = random_case()
    plan = LiftPlan.build(frustum, GRID, Z)
    assert torch.autograd.gradcheck(lambda d, f: bev_pool(d, f, plan), (depth, feat))
    assert torch.autograd.gradgradcheck(lambda d, f: bev_pool(d, f, plan), (depth, feat))


def test_gradient_of_one_input_only():
    frustum, depth, feat = random_case()
    plan = LiftPlan.build(frustum, GRID, Z)
    bev_pool(depth.detach(), feat, plan).sum().backward()
    assert depth.grad is None
    bev_pool(depth, feat.detach(), plan).sum().backward()
    assert depth.grad.abs().sum() > 0


def test_sums_are_not_differences_of_a_prefix_sum():
    """F13: over 400,000 terms a float32 prefix sum loses what a sum per cell keeps."""
    torch.manual_seed(0)
    frustum = (torch.rand(1, 1, 400, 25, 40, 3) - 0.5) * torch.tensor([8.0, 6.0, 4.0])
    depth, feat = torch.rand(1, 1, 400, 25, 40), torch.rand(1, 1, 25, 40, 1) + 1
    plan = LiftPlan.build(frustum, GRID, Z)
    exact = bev_pool(depth.double(), feat.double(), plan).flatten()
    running = depth.flatten()[plan.lists.point.long()] * feat.flatten()[plan.lists.pixel.long()]
    ends = torch.from_numpy(np.cumsum(running.numpy(), dtype=np.float32))[plan.lists.offsets[1:].long() - 1]
    lost = (ends.diff() - exact[1:]).abs().max()
    error = (bev_pool(depth, feat, plan).flatten() - exact).abs().max()
    assert error < 0.03
    assert error < lost / 4


def test_cells_with_thousands_of_points_keep_all_of_them():
    """F14."""
    plan = LiftPlan.build(torch.zeros(1, 1, 50, 10, 10, 3), GRID, Z)
    assert bev_pool(torch.ones(1, 1, 50, 10, 10), torch.ones(1, 1, 10, 10, 1), plan)[0, 0, 3, 4] == 5000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_inputs_are_summed_in_float32(dtype):
    """F18: 4096 times 1 is 4096, where a bfloat16 running sum stops at 256."""
    plan = LiftPlan.build(torch.zeros(1, 1, 4096, 1, 1, 3), GRID, Z)
    depth = torch.ones(1, 1, 4096, 1, 1, dtype=dtype, requires_grad=True)
    feat = torch.ones(1, 1, 1, 1, 2, dtype=dtype, requires_grad=True)
    out = bev_pool(depth, feat, plan)
    assert (out.dtype, out[0, 0, 3, 4]) == (dtype, 4096)
    out.sum().backward()
    assert feat.grad.flatten().tolist() == [4096, 4096]
    assert depth.grad.unique().tolist() == [2]


def test_mixed_precision_takes_the_wider_dtype():
    plan = LiftPlan.build(torch.zeros(1, 1, 2, 1, 1, 3), GRID, Z)
    depth = torch.ones(1, 1, 2, 1, 1, requires_grad=True)
    feat = torch.ones(1, 1, 1, 1, 2, dtype=torch.bfloat16, requires_grad=True)
    out = bev_pool(depth, feat, plan)
    out.sum().backward()
    assert (out.dtype, depth.grad.dtype, feat.grad.dtype) == (torch.float32, torch.float32, torch.bfloat16)


@pytest.mark.parametrize("shape", [(0, 1, 2, 3, 4), (1, 0, 2, 3, 4), (1, 1, 0, 3, 4), (1, 1, 2, 0, 4), (2, 1, 2, 3, 4)])
@pytest.mark.parametrize("channels", [0, 3])
def test_empty_and_all_outside(shape, channels):
    """F16."""
    plan = LiftPlan.build(torch.full((*shape, 3), 1e3), GRID, Z)
    depth = torch.rand(shape, requires_grad=True)
    feat = torch.rand(*shape[:2], *shape[3:], channels, requires_grad=True)
    out = bev_pool(depth, feat, plan)
    assert out.shape == (shape[0], channels, 6, 8)
    assert not out.any()
    out.sum().backward()
    assert not depth.grad.any()
    assert not feat.grad.any()


def test_same_bits_on_any_number_of_threads():
    """F17."""
    frustum, depth, feat = random_case(shape=(3, 2, 20, 8, 11), channels=33, dtype=torch.float32)
    plan = LiftPlan.build(frustum, GRID, Z)
    grad = torch.randn(3, 6, 8, 33)
    assert_same_on_any_threads(lambda: torch.ops.bevkd.lift_plan(frustum, [-4, -3, -2], [4, 3, 2], 1.0, [6, 8], False))
    assert_same_on_any_threads(lambda: (bev_pool(depth.detach(), feat.detach(), plan),))
    assert_same_on_any_threads(
        lambda: torch.ops.bevkd.bev_pool_backward(grad, depth.detach(), feat.detach(), *raw(plan))
    )


def test_strided_inputs():
    frustum, depth, feat = random_case()
    plan = LiftPlan.build(frustum, GRID, Z)
    turned = feat.detach().permute(0, 1, 4, 2, 3).contiguous().permute(0, 1, 3, 4, 2)
    assert not turned.is_contiguous()
    assert torch.equal(bev_pool(depth, turned, plan), bev_pool(depth, feat, plan))
    wide = torch.cat((frustum, frustum), -1)[..., :3]
    assert torch.equal(LiftPlan.build(wide, GRID, Z).lists.point, plan.lists.point)


def test_opcheck():
    frustum, depth, feat = random_case(shape=(2, 1, 3, 2, 4))
    plan = LiftPlan.build(frustum, GRID, Z)
    ops = torch.ops.bevkd
    assert_opcheck(ops.lift_plan, frustum, [-4.0, -3.0, -2.0], [4.0, 3.0, 2.0], 1.0, [6, 8], False)
    assert_opcheck(ops.lift_points, plan.cell, 2 * 48)
    assert_opcheck(ops.bev_pool, depth, feat, *raw(plan))
    assert_opcheck(ops.bev_pool_backward, torch.randn(2, 6, 8, 7).double().requires_grad_(), depth, feat, *raw(plan))


def test_to_device_keeps_the_plan():
    plan = LiftPlan.build(random_case()[0], GRID, Z)
    moved = plan.to("cpu")
    assert torch.equal(moved.lists.point, plan.lists.point)
    assert moved.shape == plan.shape
    assert plan.to("meta").cell.device.type == "meta"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frustum": torch.zeros(1, 2, 3, 4, 3)}, r"frustum has shape \(1, 2, 3, 4, 3\)"),
        ({"frustum": torch.zeros(1, 1, 1, 1, 1, 4)}, r"frustum has shape \(1, 1, 1, 1, 1, 4\)"),
        ({"frustum": torch.zeros(1, 1, 1, 1, 1, 3).half()}, "frustum is float16, expected float32 or float64"),
        ({"frustum": torch.zeros(1, 1, 1, 1, 1, 3).int()}, "frustum is int32"),
        ({"z_range": (2.0, -2.0)}, "z_range is"),
        ({"z_range": (NAN, 2.0)}, "z_range is"),
        ({"rounding": "round"}, "rounding is 'round'; .*floor, trunc|rounding is 'round'; nearest"),
    ],
)
def test_bad_geometry_gets_one_sentence(change, message):
    arguments = {"frustum": torch.zeros(1, 1, 1, 1, 1, 3), "grid": GRID, "z_range": Z} | change
    with pytest.raises(ConfigError, match=message):
        LiftPlan.build(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": torch.zeros(2, 2, 4, 3, 6)}, r"depth has shape \(2, 2, 4, 3, 6\), expected \(2, 2, 4, 3, 5\)"),
        ({"depth": torch.zeros(1, 2, 4, 3, 5)}, "depth has shape"),
        ({"depth": torch.zeros(4, 3, 5)}, "depth has shape"),
        ({"depth": torch.zeros(2, 2, 4, 3, 5).long()}, "depth is int64"),
        ({"feat": torch.zeros(2, 2, 7, 3, 5)}, "feat has shape"),  # channels first
        ({"feat": torch.zeros(2, 2, 3, 5)}, "feat has shape"),
        ({"feat": torch.zeros(2, 2, 3, 5, 7, device="meta")}, "feat is on meta"),
        ({"depth": None}, "depth is a NoneType"),
    ],
)
def test_inputs_that_do_not_fit_the_plan_get_one_sentence(change, message):
    plan = LiftPlan.build(random_case()[0], GRID, Z)
    arguments = {"depth": torch.zeros(2, 2, 4, 3, 5), "feat": torch.zeros(2, 2, 3, 5, 7), "plan": plan} | change
    with pytest.raises(ConfigError, match=message):
        bev_pool(**arguments)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("point", 10**6),
        ("point", -1),
        ("pixel", 10**6),
        ("pixel", -5),
        ("offsets", 10**6),
        ("offsets", -1),
        ("cell", 10**6),
    ],
)
def test_a_broken_plan_is_refused_not_followed(field, value):
    frustum, depth, feat = random_case()
    plan = LiftPlan.build(frustum, GRID, Z)
    in_lists = field != "cell"
    broken = getattr(plan.lists if in_lists else plan, field).clone()
    broken.view(-1)[: broken.numel() // 2] = value
    change = {"lists": plan.lists._replace(**{field: broken})} if in_lists else {field: broken}
    plan = dataclasses.replace(plan, **change)
    with pytest.raises((IndexError, RuntimeError)):
        bev_pool(depth, feat, plan).sum().backward()


@pytest.mark.parametrize(
    "change",
    [
        {0: torch.zeros(2, 2, 4, 3, 6).double()},
        {0: torch.zeros(2, 2, 4, 3, 5)},
        {1: torch.zeros(2, 2, 3, 6, 7).double()},
        {1: torch.zeros(7).double()},
        {2: torch.zeros(3).int()},
        {3: torch.zeros(3)},
        {4: torch.zeros(1).int()},
        {5: torch.zeros(4).int()},
        {6: [8, 8]},
        {6: [6]},
    ],
)
def test_the_kernel_refuses_too(change):
    frustum, depth, feat = random_case()
    arguments = [depth, feat, *raw(LiftPlan.build(frustum, GRID, Z))]
    for place, value in change.items():
        arguments[place] = value
    with pytest.raises((ValueError, TypeError, IndexError)):
        torch.ops.bevkd.bev_pool(*arguments)

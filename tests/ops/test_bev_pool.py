"""BEV pooling: hand-drawn values, the twin, gradients, dtypes, compilation, the same bits everywhere, refusals.

Every test of values runs over each form of a plan that the kernels at hand can walk.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_checks import assert_opcheck, assert_same_on_any_threads
from pool_cases import EMULATED, GRID, INF, KINDS, NAN, Z, column, random_case, raw, with_lists

from bevkd.errors import ConfigError
from bevkd.ops import LiftPlan, bev_pool
from bevkd.ops.lift_plan import ColumnLists, PointLists
from bevkd.ops.reference import bev_pool as twin
from bevkd.structures import BEVGrid


@pytest.fixture(params=KINDS)
def build(request, device):
    """``LiftPlan.build`` on the device, with one kind of lists."""
    if request.param is ColumnLists and device.type == "cpu" and not EMULATED:
        pytest.skip("kernels over columns are for GPUs")
    return lambda frustum, grid=GRID: with_lists(LiftPlan.build(frustum.to(device), grid, Z), request.param)


def assert_like_the_twin(plan, depth, feat, device, shape=GRID.shape, **tolerance):
    """Forward and both gradients."""
    out = bev_pool(depth.to(device), feat.to(device), plan)
    expected = twin.bev_pool(depth, feat, plan.cell.cpu().long(), shape)
    torch.testing.assert_close(out.cpu(), expected, **tolerance)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(expected)
    found = torch.autograd.grad((out * weight.to(device)).sum(), (depth, feat))
    for got, wanted in zip(found, torch.autograd.grad((expected * weight).sum(), (depth, feat))):
        torch.testing.assert_close(got, wanted, **tolerance)


def test_hand_drawn(build, device):
    """Bins 0 and 2 meet in cell (row 3, column 4), bin 1 lies in (0, 0), bin 3 outside."""
    plan = build(column((0.5, 0.5, 0), (-4, -3, 0), (0.9, 0.1, 1), (4.0, 0, 0)))
    depth = torch.tensor([0.5, 0.25, 0.125, 1.0]).reshape(1, 1, 4, 1, 1).to(device).requires_grad_()
    feat = torch.tensor([2.0, 4.0]).reshape(1, 1, 1, 1, 2).to(device).requires_grad_()
    out = bev_pool(depth, feat, plan)
    expected = torch.zeros(1, 2, 6, 8)
    expected[0, :, 3, 4] = torch.tensor([1.25, 2.5])
    expected[0, :, 0, 0] = torch.tensor([0.5, 1.0])
    assert torch.equal(out.cpu(), expected)
    assert out.is_contiguous(memory_format=torch.channels_last)
    grad = torch.zeros(1, 2, 6, 8)
    grad[0, :, 3, 4] = torch.tensor([1.0, 10.0])
    grad[0, :, 0, 0] = torch.tensor([100.0, 1000.0])
    out.backward(grad.to(device))
    assert depth.grad.flatten().tolist() == [42, 4200, 42, 0]
    assert feat.grad.flatten().tolist() == [25.625, 256.25]


def test_rows_are_y_and_columns_are_x_of_the_right_sample_and_pixel(build, device):
    frustum = torch.full((2, 3, 1, 2, 2, 3), 99.0)
    frustum[1, 2, 0, 1, 0] = torch.tensor([3.5, -2.5, 0.0])
    feat = torch.arange(2 * 3 * 2 * 2.0, device=device).reshape(2, 3, 2, 2, 1)
    out = bev_pool(torch.ones(2, 3, 1, 2, 2, device=device), feat, build(frustum))
    assert out.nonzero().tolist() == [[1, 0, 0, 7]]
    assert out[1, 0, 0, 7] == 22


def test_docstring_example(build, device):
    feat = torch.tensor([2.0, 4.0], device=device).reshape(1, 1, 1, 2, 1)
    depth = torch.tensor([0.5, 0.25], device=device).reshape(1, 1, 1, 1, 2)
    assert bev_pool(depth, feat, build(torch.zeros(1, 1, 1, 1, 2, 3))).sum() == 2


@settings(max_examples=10 if EMULATED else 60, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.integers(0, 2**31),
    st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 6)] * 3),
    st.integers(1, 19),
    st.sampled_from([0.5, 3.0, 30.0]),
    st.sampled_from(["floor", "trunc"]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_random_geometry_agrees_with_the_twin(kind, seed, shape, channels, spread, rounding, dtype):
    device = torch.device("cpu" if EMULATED or kind is PointLists else "cuda")
    frustum, depth, feat = random_case(seed, shape, channels, dtype, spread)
    plan = with_lists(LiftPlan.build(frustum.to(device), GRID, Z, rounding), kind)
    assert_like_the_twin(plan, depth, feat, device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 7, 8, 9, 16, 17, 33, 64, 65, 80, 81, 128, 129, 136, 144, 145, 256, 300])
def test_any_number_of_channels(channels, dtype, build, device):
    frustum, depth, feat = random_case(channels, (1, 2, 7, 3, 9), channels, dtype)
    assert_like_the_twin(build(frustum), depth, feat, device)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 3, 1, 1),  # one pixel
        (1, 1, 1, 1, 1),  # one point
        (1, 2, 40, 17, 2),  # more image rows than are worked on at a time
        (1, 1, 120, 30, 3),  # columns of more cells than fit into shared memory at once
        (2, 3, 5, 4, 9),  # a width that is no whole number of columns of a block
    ],
)
def test_image_shapes(shape, build, device):
    frustum, depth, feat = random_case(5, shape, 6, torch.float32, spread=2.0)
    assert_like_the_twin(build(frustum), depth, feat, device, rtol=1e-4, atol=1e-4)


def test_columns_of_many_cells_are_worked_through_in_passes(build, device):
    """128 rows leave room for 32 cells of a column; here one has hundreds, and more channels than fit."""
    frustum, depth, feat = random_case(6, (1, 1, 4, 128, 2), 40, torch.float64, spread=2.0)
    grid = BEVGrid((-4, 4), (-3, 3), 0.25)
    assert_like_the_twin(build(frustum, grid), depth, feat, device, shape=grid.shape)


def test_gradcheck_and_second_derivative(build, device):
    frustum, depth, feat = random_case(shape=(2, 1, 3, 2, 3), channels=3)
    plan = build(frustum)
    inputs = depth.detach().to(device).requires_grad_(), feat.detach().to(device).requires_grad_()
    assert torch.autograd.gradcheck(lambda d, f: bev_pool(d, f, plan), inputs)
    assert torch.autograd.gradgradcheck(lambda d, f: bev_pool(d, f, plan), inputs)


def test_gradient_of_one_input_only(build, device):
    frustum, depth, feat = random_case()
    plan = build(frustum)
    bev_pool(depth.detach().to(device), feat.to(device), plan).sum().backward()
    assert depth.grad is None
    bev_pool(depth.to(device), feat.detach().to(device), plan).sum().backward()
    assert depth.grad.abs().sum() > 0


def test_strided_inputs(build, device):
    frustum, depth, feat = random_case()
    plan, depth, feat = build(frustum), depth.detach().to(device), feat.detach().to(device)
    turned = feat.permute(0, 1, 4, 2, 3).contiguous().permute(0, 1, 3, 4, 2)
    assert not turned.is_contiguous()
    assert torch.equal(bev_pool(depth, turned, plan), bev_pool(depth, feat, plan))


def test_mixed_dtypes_take_the_wider_one_also_under_autocast(build, device):
    """Autocast does not touch pooling: float32 stays float32, bfloat16 stays bfloat16."""
    plan = build(torch.zeros(1, 1, 2, 1, 1, 3))
    depth = torch.ones(1, 1, 2, 1, 1, device=device).requires_grad_()
    feat = torch.ones(1, 1, 1, 1, 2, dtype=torch.bfloat16, device=device).requires_grad_()
    with torch.autocast(device.type, torch.bfloat16):
        assert bev_pool(depth, feat.float(), plan).dtype == torch.float32
        assert bev_pool(depth.bfloat16(), feat, plan).dtype == torch.bfloat16
        out = bev_pool(depth, feat, plan)
    out.sum().backward()
    assert (out.dtype, depth.grad.dtype, feat.grad.dtype) == (torch.float32, torch.float32, torch.bfloat16)


def test_compiles_without_a_graph_break(build, device):
    frustum, depth, feat = random_case()
    plan, depth, feat = build(frustum), depth.detach().to(device), feat.detach().to(device)

    def loss(depth, feat):
        return (bev_pool(depth, feat, plan) ** 2).sum()

    def run(function):
        leaves = depth.clone().requires_grad_(), feat.clone().requires_grad_()
        return torch.autograd.grad(function(*leaves), leaves)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert all(torch.equal(a, b) for a, b in zip(run(compiled), run(loss)))


def test_opcheck(build, device):
    frustum, depth, feat = random_case(shape=(2, 1, 3, 2, 4))
    plan = build(frustum)
    depth, feat = (x.detach().to(device).requires_grad_() for x in (depth, feat))
    pool = getattr(torch.ops.bevkd, plan.lists.pool_op)
    assert_opcheck(pool, depth, feat, *raw(plan))
    backward = getattr(torch.ops.bevkd, f"{plan.lists.pool_op}_backward")
    grad = torch.randn(2, 6, 8, 7, dtype=torch.float64, device=device).requires_grad_()
    assert_opcheck(backward, grad, depth, feat, *raw(plan))


def test_same_bits_on_any_number_of_threads(build, device):
    frustum, depth, feat = random_case(shape=(3, 2, 20, 8, 11), channels=33, dtype=torch.float32)
    plan, depth, feat = build(frustum), depth.detach().to(device), feat.detach().to(device)
    grad = torch.randn(3, 6, 8, 33, device=device)
    backward = getattr(torch.ops.bevkd, f"{plan.lists.pool_op}_backward")
    assert_same_on_any_threads(lambda: (bev_pool(depth, feat, plan),))
    assert_same_on_any_threads(lambda: backward(grad, depth, feat, *raw(plan)))


def test_infinite_and_nan_features_reach_only_their_own_column(build, device):
    """Over lists of points they reach only their own cells."""
    frustum = torch.zeros(1, 1, 1, 2, 3, 3)
    frustum[0, 0, 0, :, :, 0] = torch.tensor([[-3.5, -0.5, 0.5], [-2.5, 1.5, 2.5]])
    feat = torch.ones(1, 1, 2, 3, 1, device=device)
    feat[0, 0, 0, 0], feat[0, 0, 1, 2] = NAN, INF
    plan = build(frustum)
    odd = (~bev_pool(torch.ones(1, 1, 1, 2, 3, device=device), feat, plan)[0, 0, 3].isfinite()).nonzero().flatten()
    assert odd.tolist() == ([0, 1, 4, 6] if isinstance(plan.lists, ColumnLists) else [0, 6])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": torch.zeros(2, 2, 4, 3, 6)}, r"depth has shape \(2, 2, 4, 3, 6\), expected \(2, 2, 4, 3, 5\)"),
        ({"depth": torch.zeros(1, 2, 4, 3, 5)}, "depth has shape"),  # another batch
        ({"depth": torch.zeros(2, 2, 8, 3, 5)}, "depth has shape"),  # other depth bins
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

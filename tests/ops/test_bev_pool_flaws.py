"""One test for each flaw known of other implementations of lift-splat pooling, and what broken plans may not do."""

import dataclasses
from contextlib import nullcontext

import pytest
import torch
from pool_cases import EMULATED, GRID, KINDS, Z, column, random_case, raw, with_lists

from bevkd.ops import LiftPlan, bev_pool
from bevkd.ops.lift_plan import ColumnLists, PointLists
from bevkd.ops.reference import bev_pool as twin


@pytest.fixture(params=KINDS)
def build(request, device):
    """``LiftPlan.build`` on the device, with one kind of lists."""
    if request.param is ColumnLists and device.type == "cpu" and not EMULATED:
        pytest.skip("kernels over columns are for GPUs")
    return lambda frustum, **more: with_lists(LiftPlan.build(frustum.to(device), GRID, Z, **more), request.param)


def test_f11_dropped_points_share_no_cell_and_the_last_interval_is_whole(build, device):
    """CUDA-BEVFusion: rank 0 stood for dropped points too, and the last interval ended one short."""
    frustum = column((99, 0, 0), (-4, -3, 0), (-99, 0, 0), (3.9, 2.9, 0), (0, 0, 99), (3.5, 2.5, 0), (3.1, 2.1, 0))
    depth = torch.tensor([64.0, 1, 64, 2, 64, 4, 8], device=device).reshape(1, 1, 7, 1, 1)
    out = bev_pool(depth, torch.ones(1, 1, 1, 1, 1, device=device), build(frustum))
    assert (out[0, 0, 0, 0], out[0, 0, 5, 7], out.sum()) == (1, 14, 15)


def test_f12_truncation_is_a_choice_and_floor_the_default(build):
    """LSS and its heirs: rounding toward zero turns z [-2, 2) into [-6, 2), and likewise x and y."""
    frustum = torch.rand(1, 2, 20, 5, 6, 3, generator=torch.Generator().manual_seed(0)) * 16 - 8
    kept = {rounding: (build(frustum, rounding=rounding).cell >= 0).sum() for rounding in ("floor", "trunc")}
    inside = ((frustum >= torch.tensor([-4, -3, -2])) & (frustum < torch.tensor([4, 3, 2]))).all(-1).sum()
    wide = ((frustum > torch.tensor([-5, -4, -6])) & (frustum < torch.tensor([4, 3, 2]))).all(-1).sum()
    assert (kept["floor"], kept["trunc"]) == (inside, wide)
    assert (build(frustum).cell >= 0).sum() == inside < wide


def test_f13_no_cancellation_over_400k_terms(build, device):
    """LSS: differences of one float32 prefix sum lose what a sum per cell keeps."""
    torch.manual_seed(0)
    frustum = (torch.rand(1, 1, 400, 25, 40, 3) - 0.5) * torch.tensor([8.0, 6.0, 4.0])
    depth, feat = torch.rand(1, 1, 400, 25, 40), torch.rand(1, 1, 25, 40, 1) + 1
    plan = build(frustum)
    exact = twin.bev_pool(depth.double(), feat.double(), plan.cell.cpu().long(), GRID.shape).flatten()
    lists = PointLists.build(plan.cell.cpu(), plan.shape) if not EMULATED else PointLists.build(plan.cell, plan.shape)
    running = (depth.flatten()[lists.point.long()] * feat.flatten()[lists.pixel.long()]).numpy()
    ends = torch.from_numpy(running.cumsum(dtype="float32"))[lists.offsets[1:].long() - 1]
    lost = (ends.diff() - exact[1:]).abs().max()
    error = (bev_pool(depth.to(device), feat.to(device), plan).cpu().flatten() - exact).abs().max()
    assert error < 0.03
    assert error < lost / 4


def test_f14_cells_of_thousands_of_points_lose_none(build, device):
    """Early BEVDet kept 300 points of a cell."""
    plan = build(torch.zeros(1, 1, 50, 10, 10, 3))
    out = bev_pool(torch.ones(1, 1, 50, 10, 10, device=device), torch.ones(1, 1, 10, 10, 1, device=device), plan)
    assert out[0, 0, 3, 4] == 5000


@pytest.mark.gpu
def test_f15_runs_on_the_current_stream_and_in_a_captured_graph():
    """bev_pool v1 and v2 launched on the legacy default stream."""
    frustum, depth, feat = random_case(dtype=torch.float32)
    plan = LiftPlan.build(frustum.cuda(), GRID, Z)
    depth, feat = depth.detach().cuda(), feat.detach().cuda()
    expected = bev_pool(depth, feat, plan)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.cuda._sleep(10**8)  # pooling that did not wait for this stream would read the old features
        shifted = feat + 1
        late = bev_pool(depth, shifted, plan)
    torch.cuda.current_stream().wait_stream(side)
    assert torch.equal(late, bev_pool(depth, feat + 1, plan))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = bev_pool(depth, feat, plan)
    captured.zero_()
    graph.replay()
    assert torch.equal(captured, expected)


@pytest.mark.parametrize("shape", [(0, 1, 2, 3, 4), (1, 0, 2, 3, 4), (1, 1, 0, 3, 4), (1, 1, 2, 0, 4), (2, 1, 2, 3, 4)])
@pytest.mark.parametrize("channels", [0, 3])
def test_f16_empty_inputs_and_points_all_outside(shape, channels, build, device):
    """bev_pool indexed element -1."""
    plan = build(torch.full((*shape, 3), 1e3))
    depth = torch.rand(shape, device=device).requires_grad_()
    feat = torch.rand(*shape[:2], *shape[3:], channels, device=device).requires_grad_()
    out = bev_pool(depth, feat, plan)
    assert out.shape == (shape[0], channels, 6, 8)
    assert not out.any()
    out.sum().backward()
    assert not depth.grad.any()
    assert not feat.grad.any()


def test_f17_gradients_are_the_same_bits_every_time(build, device):
    """BEVPoolv2: atomics in the backward."""
    frustum, depth, feat = random_case(shape=(2, 2, 12, 6, 7), channels=20, dtype=torch.float32)
    plan, depth, feat = build(frustum), depth.detach().to(device), feat.detach().to(device)
    grad = torch.randn(2, 20, 6, 8, generator=torch.Generator().manual_seed(0)).to(device)

    def run():
        leaves = depth.clone().requires_grad_(), feat.clone().requires_grad_()
        out = bev_pool(*leaves, plan)
        return out, *torch.autograd.grad(out, leaves, grad)

    first = run()
    for _ in range(3 if EMULATED else 20):
        assert all(torch.equal(a, b) for a, b in zip(first, run()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_f18_low_precision_is_summed_in_float32(dtype, build, device):
    """4096 times 1 is 4096, where a bfloat16 running sum stops at 256."""
    plan = build(torch.zeros(1, 1, 4096, 1, 1, 3))
    depth = torch.ones(1, 1, 4096, 1, 1, dtype=dtype, device=device).requires_grad_()
    feat = torch.ones(1, 1, 1, 1, 2, dtype=dtype, device=device).requires_grad_()
    out = bev_pool(depth, feat, plan)
    assert (out.dtype, out[0, 0, 3, 4]) == (dtype, 4096)
    out.sum().backward()
    assert feat.grad.flatten().tolist() == [4096, 4096]
    assert depth.grad.unique().tolist() == [2]


@pytest.mark.skipif(EMULATED, reason="two thousand million products")
def test_f19_points_times_channels_beyond_32_bits(build, device):
    """bev_pool v1 overflowed at interval_start * C; here the last cell begins near 2.4 thousand million."""
    depths, width, channels = 3000, 1000, 800
    frustum = torch.zeros(1, 1, depths, 1, width, 3)
    frustum[..., 0] = torch.linspace(-4, 3.99, depths)[:, None, None]
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(1, 1, depths, 1, width, generator=generator)
    feat = torch.randn(1, 1, 1, width, channels, generator=generator)
    plan = build(frustum)
    out = bev_pool(depth.to(device), feat.to(device), plan).cpu()[0, :, 3].T
    weight = torch.zeros(8, width, dtype=torch.float64)
    weight.index_add_(0, plan.cell[0, 0, :, 0, 0].cpu().long() % 8, depth[0, 0, :, 0].double())
    torch.testing.assert_close(out.double(), weight @ feat[0, 0, 0].double(), rtol=1e-4, atol=0.02)


@pytest.mark.gpu
def test_f19_outputs_beyond_32_bits():
    plan = LiftPlan.build(torch.tensor([[[3.9, 2.9, 0.0]]]).reshape(1, 1, 1, 1, 1, 3).cuda(), GRID, Z)
    channels = 2**31 // 47
    feat = torch.ones(1, 1, 1, 1, channels, dtype=torch.bfloat16, device="cuda")
    out = bev_pool(torch.ones(1, 1, 1, 1, 1, dtype=torch.bfloat16, device="cuda"), feat, plan)
    assert out.numel() > 2**31
    assert out[0, :, 5, 7].all()
    assert not out[0, :, 5, 6].any()


def test_f27_every_interval_reads_its_own_pixels(build, device):
    """A one-hot feature for each pixel: channel q of a cell is the depth that reached it from pixel q."""
    frustum, depth, _ = random_case(shape=(2, 2, 9, 3, 4), dtype=torch.float32)
    feat = torch.eye(2 * 2 * 3 * 4).reshape(2, 2, 3, 4, 48)
    plan = build(frustum)
    out = bev_pool(depth.detach().to(device), feat.to(device), plan).cpu().permute(0, 2, 3, 1).reshape(96, 48)
    expected = torch.zeros(96, 48)
    cell = plan.cell.cpu()
    for b, n, d, h, w in (cell >= 0).nonzero().tolist():
        expected[cell[b, n, d, h, w], ((b * 2 + n) * 3 + h) * 4 + w] += depth[b, n, d, h, w].item()
    torch.testing.assert_close(out, expected)


_INDEX_FIELDS = {
    PointLists: ("point", "pixel", "offsets", "cell"),
    ColumnLists: ("local", "column_offsets", "column_cell", "row_slot", "cell_offsets"),
}


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind in KINDS for field in _INDEX_FIELDS[kind]])
@pytest.mark.parametrize("value", [-5, 10**4, 2**31 - 1, -(2**31)])
def test_a_broken_plan_never_leads_out_of_memory(kind, field, value):
    """It is refused, or its numbers stand for nothing; the emulated kernels watch every byte beside a tensor."""
    frustum, depth, feat = random_case()
    plan = with_lists(LiftPlan.build(frustum, GRID, Z), kind)
    in_lists = field != "cell"
    broken = getattr(plan.lists if in_lists else plan, field).clone()
    limits = torch.iinfo(broken.dtype)
    broken.view(-1)[: broken.numel() // 2] = max(limits.min, min(limits.max, value))
    change = {"lists": plan.lists._replace(**{field: broken})} if in_lists else {field: broken}
    plan = dataclasses.replace(plan, **change)
    # Below zero means outside, or alone in its cell; only a kernel over lists has listed that point as one inside.
    harmless = value < 0 and field in (("local", "row_slot") if EMULATED else ("cell",))
    message = None if EMULATED else "plan"
    with nullcontext() if harmless else pytest.raises((IndexError, RuntimeError), match=message):
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
        {-1: [8, 8]},
        {-1: [6]},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_operator_refuses_too(change, kind):
    frustum, depth, feat = random_case()
    plan = with_lists(LiftPlan.build(frustum, GRID, Z), kind)
    arguments = [depth, feat, *raw(plan)]
    for place, value in change.items():
        arguments[place] = value
    with pytest.raises((ValueError, TypeError, IndexError)):
        getattr(torch.ops.bevkd, plan.lists.pool_op)(*arguments)

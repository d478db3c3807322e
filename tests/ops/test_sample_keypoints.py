"""Samples at keypoints: hand-drawn values, torch's grid_sample, gradients, memory orders, edges, refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_orders import ORDERS, channels_last, cut
from op_checks import assert_opcheck, assert_same_on_any_threads

from bevkd.errors import ConfigError
from bevkd.ops import sample_keypoints
from bevkd.ops.reference import sample_keypoints as twin
from bevkd.structures import BEVGrid

NAN, INF = float("nan"), float("inf")


def case(seed=0, shape=(2, 5, 6, 8), teacher=3, points=17, dtype=torch.float64, device="cpu", spread=1.3):
    draw = torch.Generator().manual_seed(seed)
    student = torch.randn(shape, generator=draw, dtype=dtype).to(device)
    theirs = torch.randn(shape[0], teacher, *shape[2:], generator=draw, dtype=dtype).to(device)
    where = (torch.rand(shape[0], points, 2, generator=draw, dtype=dtype) * 2 - 1) * spread
    return student, theirs, where.to(device)


def test_hand_drawn(device):
    """One row 0 10 20 30: between the middle two 15; on an outer edge half of the weight lies outside."""
    student = torch.tensor([0.0, 10, 20, 30], device=device).view(1, 1, 1, 4)
    points = torch.tensor(
        [[[0.0, 0], [0.25, 0], [1, 0], [-0.75, 0], [0, 1], [0, -1.99], [0, 3], [-9, 0]]], device=device
    )
    mine, theirs = sample_keypoints(student, student + 1, points)
    assert mine.flatten().tolist() == [15, 20, 15, 0, 7.5, pytest.approx(0.075, rel=1e-4), 0, 0]
    assert theirs.flatten().tolist()[:3] == [16, 21, 15.5]


def test_x_is_the_column_and_y_the_row(device):
    grid = BEVGrid((0, 8), (-3, 3), 1.0)
    student = torch.zeros(1, 1, 6, 8, device=device)
    student[0, 0, 4, 2] = 1
    metres = torch.tensor([[[2.5, 1.5], [1.5, 2.5], [2.75, 1.5], [2.5, 1.75]]])
    mine, _ = sample_keypoints(student, None, grid.normalise(metres).to(device))
    torch.testing.assert_close(mine.flatten().cpu(), torch.tensor([1.0, 0, 0.75, 0.75]))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.tuples(st.integers(1, 3), st.integers(1, 19), st.integers(1, 7), st.integers(1, 9)),
    st.integers(0, 4),
    st.integers(0, 40),
    st.sampled_from(sorted(ORDERS)),
    st.sampled_from(sorted(ORDERS)),
    st.sampled_from([0.5, 1.5, 50.0]),
)
def test_random_maps_agree_with_grid_sample(seed, shape, teacher, count, mine, theirs, spread):
    student, other, points = case(seed, shape, teacher, count, spread=spread)
    student, other = ORDERS[mine](student).requires_grad_(), ORDERS[theirs](other)
    found, expected = sample_keypoints(student, other, points), twin.sample_keypoints(student, other, points)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b)
    weight = torch.randn_like(expected[0])
    slopes = [torch.autograd.grad((samples[0] * weight).sum(), student)[0] for samples in (found, expected)]
    torch.testing.assert_close(*slopes)


def test_gradcheck_and_second_derivative(device):
    student, other, points = case(shape=(2, 3, 3, 4), points=7, device=device)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: sample_keypoints(s, other, points)[0], student)
    assert torch.autograd.gradgradcheck(lambda s: sample_keypoints(s, other, points)[0], student)
    assert torch.autograd.gradcheck(lambda s: sample_keypoints(s, None, points)[0], channels_last(student))


def test_points_in_one_cell_add_up_in_order(device):
    """Twenty points in one place: every one of its four cells gets twenty times its weight, exactly."""
    student = torch.zeros(1, 2, 4, 4, device=device, requires_grad=True)
    points = torch.full((1, 20, 2), 0.0625, device=device)
    sample_keypoints(student, None, points)[0].sum().backward()
    slope = student.grad[0, 1].cpu()
    assert slope[1:3, 1:3].tolist() == [[20 * 0.375**2, 20 * 0.375 * 0.625], [20 * 0.625 * 0.375, 20 * 0.625**2]]
    assert slope.sum() == 20


def test_neither_the_teacher_nor_the_points_get_a_gradient(device):
    student, other, points = (tensor.requires_grad_() for tensor in case(device=device))
    mine, theirs = sample_keypoints(student, other, points)
    assert mine.requires_grad
    assert not theirs.requires_grad
    (mine.sum() + theirs.sum()).backward()
    assert student.grad.abs().sum() > 0
    assert other.grad is None
    assert points.grad is None
    with torch.no_grad():
        assert not sample_keypoints(student, other, points)[0].requires_grad


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_gradient_comes_in_the_memory_order_of_the_map(order, device):
    student, other, points = case(device=device)
    leaf = ORDERS[order](student).requires_grad_()
    sample_keypoints(leaf, other, points)[0].sum().backward()
    expected = torch.channels_last if order == "channels_last" else torch.contiguous_format
    raw = torch.ops.bevkd.sample_keypoints_backward(
        torch.ones(2, 17, 5, dtype=torch.float64, device=device),
        points,
        [2, 5, 6, 8],
        torch.float64,
        order == "channels_last",
    )
    assert raw.is_contiguous(memory_format=expected)
    torch.testing.assert_close(leaf.grad, raw)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_maps_are_sampled_in_float32(dtype, device):
    student, other, points = case(dtype=torch.float32, device=device)
    low = student.to(dtype).requires_grad_()
    mine, theirs = sample_keypoints(low, other, points.to(dtype))
    assert mine.dtype == theirs.dtype == torch.float32  # the teacher keeps its float32 map
    torch.testing.assert_close(mine, twin.sample_keypoints(low.float(), None, points.to(dtype))[0])
    torch.testing.assert_close(theirs, twin.sample_keypoints(other, None, points.to(dtype))[0])
    crowd = torch.zeros(1, 4096, 2, device=device)
    one = torch.zeros(1, 1, 1, 1, dtype=dtype, device=device, requires_grad=True)
    sample_keypoints(one, None, crowd)[0].sum().backward()
    assert (one.grad.dtype, one.grad.item()) == (dtype, 4096)  # a bfloat16 running sum stops at 256


def test_autocast_changes_nothing(device):
    student, other, points = case(dtype=torch.float32, device=device)
    expected = sample_keypoints(student, other, points)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        found = sample_keypoints(student, other, points)
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_float64_of_one_map_is_float64_of_both(device):
    student, other, points = case(dtype=torch.float32, device=device)
    mine, theirs = sample_keypoints(student, other.double(), points)
    assert mine.dtype == theirs.dtype == torch.float64


def test_points_that_are_not_finite_give_nan_and_no_gradient(device):
    student, other, _ = case(dtype=torch.float32, device=device)
    points = torch.zeros(2, 3, 2, device=device)
    points[0, 0, 0], points[0, 1, 1], points[1, 2, 0] = NAN, INF, -INF
    student.requires_grad_()
    mine, theirs = sample_keypoints(student, other, points)
    for samples in (mine, theirs):
        assert samples.isnan().all(2).tolist() == [[True, True, False], [False, False, True]]
        assert samples.isnan().any(2).tolist() == [[True, True, False], [False, False, True]]
    mine.nan_to_num().sum().backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(("samples", "count", "channels"), [(0, 3, 2), (2, 0, 2), (2, 3, 0)])
def test_empty(samples, count, channels, device):
    student = torch.rand(samples, channels, 4, 4, device=device, requires_grad=True)
    mine, theirs = sample_keypoints(student, student.detach(), torch.zeros(samples, count, 2, device=device))
    assert mine.shape == theirs.shape == (samples, count, channels)
    mine.sum().backward()
    assert student.grad.shape == student.shape
    assert (student.grad.sum() == samples * count * channels).item()


def test_same_bits_on_any_number_of_threads_and_memory_order():
    student, other, points = case(shape=(3, 33, 20, 30), teacher=17, points=400, dtype=torch.float32)
    grad = torch.randn(3, 400, 33)
    assert_same_on_any_threads(lambda: sample_keypoints(student, other, points))
    arguments = (grad, points, [3, 33, 20, 30], torch.float32)
    assert_same_on_any_threads(lambda: (torch.ops.bevkd.sample_keypoints_backward(*arguments, False),))
    expected = sample_keypoints(student, other, points)
    found = sample_keypoints(channels_last(student), cut(other), points)
    assert all(torch.equal(a, b) for a, b in zip(found, expected))
    assert torch.equal(*[torch.ops.bevkd.sample_keypoints_backward(*arguments, last) for last in (False, True)])


def test_opcheck(device):
    student, other, points = case(shape=(2, 3, 4, 5), points=6, device=device)
    ops = torch.ops.bevkd
    for leaf in (student, channels_last(student)):
        assert_opcheck(ops.sample_keypoints, leaf.detach().requires_grad_(), other, points)
    assert_opcheck(ops.sample_keypoints, student.detach().requires_grad_(), None, points)
    grad = torch.randn(2, 6, 3, dtype=torch.float64, device=device, requires_grad=True)
    for last in (False, True):
        assert_opcheck(ops.sample_keypoints_backward, grad, points, [2, 3, 4, 5], torch.float64, last)


def test_compiles_whole(device):
    student, other, points = case(dtype=torch.float32, device=device)

    def gap(student):
        mine, theirs = sample_keypoints(student, other[:, :1], points)
        return (mine - theirs).abs().mean()

    compiled, slopes = torch.compile(gap, fullgraph=True, backend="aot_eager"), []
    for run in (gap, compiled):
        leaf = student.clone().requires_grad_()
        run(leaf).backward()
        slopes.append(leaf.grad)
    assert torch.equal(*slopes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": torch.zeros(3, 4, 4)}, r"student has shape \(3, 4, 4\), expected \[B, C, Y, X\]"),
        ({"student": torch.zeros(1, 3, 4, 4).long()}, "student is int64"),
        ({"teacher": torch.zeros(1, 3, 4, 5)}, r"teacher has shape \(1, 3, 4, 5\), expected \[B, D, Y, X\]"),
        ({"teacher": torch.zeros(1, 3, 4, 4, device="meta")}, "teacher is on meta, expected cpu like the student"),
        ({"teacher": 3}, "teacher is a int"),
        ({"points": torch.zeros(2, 3, 2)}, r"points have shape \(2, 3, 2\), expected \[1, P, 2\]"),
        ({"points": torch.zeros(1, 3, 3)}, r"points have shape \(1, 3, 3\), expected \[1, P, 2\]"),
        ({"points": torch.zeros(3, 2)}, r"points has shape \(3, 2\), expected \[B, P, 2\]"),
    ],
)
def test_bad_input_gets_one_sentence(change, message):
    good = {"student": torch.zeros(1, 3, 4, 4), "teacher": torch.zeros(1, 2, 4, 4), "points": torch.zeros(1, 3, 2)}
    with pytest.raises(ConfigError, match=message):
        sample_keypoints(**(good | change))


def test_the_kernels_refuse_too():
    ops, student, points = torch.ops.bevkd, torch.zeros(1, 3, 4, 4), torch.zeros(1, 5, 2)
    for arguments in (
        (student[0], None, points),
        (student, None, points.double()),
        (student, None, points[0]),
        (student, student[..., 1:], points),
        (student, student.double(), points),
    ):
        with pytest.raises((ValueError, TypeError)):
            ops.sample_keypoints(*arguments)
    grad, shape = torch.zeros(1, 5, 3), [1, 3, 4, 4]
    for arguments in ((grad[..., 1:], points, shape), (grad.double(), points, shape), (grad, points, shape[1:])):
        with pytest.raises((ValueError, TypeError)):
            ops.sample_keypoints_backward(*arguments, torch.float32, False)

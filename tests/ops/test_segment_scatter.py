"""Segment scatter: hand-drawn values, the twin to the bit, gradients, determinism."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_checks import assert_opcheck, assert_same_on_any_threads
from segment_cases import OPS, TWINS, random_case, raw, segments_of

from bevkd.ops import segment_max, segment_mean, segment_sum

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
NAN, INF = float("nan"), float("inf")
each_op = pytest.mark.parametrize("name", OPS)


def test_hand_drawn(device):
    """Voxel 0 holds points 1 and 4, voxel 1 nothing, voxel 2 points 0 and 3; point 2 is outside."""
    segments = segments_of([2, 0, -1, 2, 0], device)
    assert segments.point.tolist() == [1, 4, 0, 3]
    rows = [[1.0, 2.0], [3.0, -4.0], [90.0, 90.0], [5.0, 2.0], [-7.0, -8.0]]
    features = torch.tensor(rows, device=device, requires_grad=True)
    weight = torch.tensor([[1.0, 10.0], [100.0, 100.0], [2.0, 20.0]], device=device)
    expected = {
        "sum": ([[-4, -12], [0, 0], [6, 4]], [[2, 20], [1, 10], [0, 0], [2, 20], [1, 10]]),
        "mean": ([[-2, -6], [0, 0], [3, 2]], [[1, 10], [0.5, 5], [0, 0], [1, 10], [0.5, 5]]),
        # the second channel of voxel 2 is a tie: the first point gets the gradient
        "max": ([[3, -4], [0, 0], [5, 2]], [[0, 20], [1, 10], [0, 0], [2, 0], [0, 0]]),
    }
    for name, (values, gradient) in expected.items():
        out = OPS[name](features, segments)
        assert out.tolist() == values
        assert torch.autograd.grad((out * weight).sum(), features)[0].tolist() == gradient


def test_docstring_example(device):
    segments = segments_of([0, 1, 0], device)
    assert segment_sum(torch.tensor([[1.0], [2.0], [4.0]], device=device), segments).tolist() == [[5], [2]]


@each_op
@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(0, 300),
    st.integers(0, 30),
    st.integers(0, 41),
    st.sampled_from(FLOATS),
)
def test_random_agrees_with_the_twin_to_the_bit(name, seed, points, voxels, channels, dtype):
    features, segments = random_case(seed, points, voxels, channels, dtype, grad=True)
    out, expected = OPS[name](features, segments), TWINS[name](features, segments)
    assert out.shape == (len(segments.offsets) - 1, channels)
    assert out.dtype == dtype
    assert torch.equal(out, expected)
    if len(expected) == 0:
        return
    weight = torch.randn(out.shape).to(dtype)
    found, wanted = (torch.autograd.grad((o * weight).sum(), features)[0] for o in (out, expected))
    if name == "mean":
        torch.testing.assert_close(found, wanted)
    else:
        assert torch.equal(found, wanted)


@each_op
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("channels", [1, 3, 16, 64, 130])
def test_widths_and_dtypes(device, name, dtype, channels):
    features, segments = random_case(1, 200, 9, channels, dtype, device, grad=True)
    out = OPS[name](features, segments)
    assert torch.equal(out, TWINS[name](features, segments))
    out.float().square().sum().backward()
    expected = TWINS[name](features.detach().requires_grad_(), segments)
    assert features.grad.abs().sum() > 0
    assert not features.grad[segments.voxel_of_point < 0].any()
    assert out.dtype == expected.dtype


@each_op
@pytest.mark.parametrize("length", [63, 64, 65, 127, 128, 129, 192, 200, 448, 449, 513, 3729])
def test_long_segments_are_summed_by_chunks_and_a_tree(device, name, length):
    """Lengths around one, two and seven chunks, and the longest pillar of a ten-sweep cloud, among short ones."""
    torch.manual_seed(length)
    voxel = torch.cat((torch.full((length,), 1), torch.randint(-1, 8, (150,))))
    voxel = voxel[torch.randperm(len(voxel))]
    features = torch.randn(len(voxel), 6, device=device)
    segments = segments_of(voxel, device)
    assert torch.equal(OPS[name](features, segments), TWINS[name](features, segments))


@pytest.mark.parametrize(
    ("ones", "points", "extra"),
    [
        ((64, 65), 160, 2),  # both in chunk 1, which is summed before it meets chunk 0
        ((64, 128), 160, 0),  # chunk 1 meets chunk 0 before chunk 2 does
        ((128, 192), 256, 2),  # chunks 2 and 3 meet before they meet the rest
    ],
)
def test_tree_by_hand(device, ones, points, extra):
    """In float32 2^24 + 1 is 2^24 and 2^24 + 2 is itself, so the sum tells who was added to whom."""
    features = torch.zeros(points, 1, device=device)
    features[0] = 2**24
    features[list(ones)] = 1
    assert segment_sum(features, segments_of([0] * points, device)).item() == 2**24 + extra


def test_many_points_in_few_voxels(device):
    """Spare chunks of neighbouring voxels keep apart, whatever their beginnings."""
    torch.manual_seed(3)
    for lengths in ([64, 65, 66], [1, 64, 1, 129, 63, 128], [500, 0, 500, 1, 700], [130] * 20):
        voxel = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        segments, features = segments_of(voxel, device), torch.randn(len(voxel), 4, device=device)
        for name in OPS:
            assert torch.equal(OPS[name](features, segments), TWINS[name](features, segments))


def test_ties_go_to_the_first_point_in_input_order(device):
    features = torch.tensor([[0.0], [-0.0], [7.0], [7.0], [7.0]], device=device, requires_grad=True)
    values, winner = torch.ops.bevkd.segment_max(features, *raw(segments_of([1, 1, 0, 0, 0], device)))
    assert winner.tolist() == [[2], [0]]
    assert values.signbit().tolist() == [[False], [False]]


def test_not_finite(device):
    """A NaN wins over everything, the first of them, and receives the gradient; -inf is an ordinary number."""
    column = [1.0, NAN, 5.0, NAN, -INF, -INF, INF, 2.0]
    features = torch.tensor(column, device=device)[:, None].requires_grad_()
    segments = segments_of([0, 0, 0, 0, 1, 1, 2, 2], device)
    out = segment_max(features, segments)
    assert out[0].isnan()
    assert out[1:].flatten().tolist() == [-INF, INF]
    out.sum().backward()
    assert features.grad.flatten().tolist() == [0, 1, 0, 0, 1, 0, 1, 0]
    assert segment_sum(features, segments).isnan().flatten().tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_half_survives(device, dtype):
    """All 65,536 bit patterns, one a voxel: subnormal numbers, infinities and NaN included."""
    values = torch.arange(-(2**15), 2**15, device=device).to(torch.int16).view(dtype).reshape(-1, 16)
    segments = segments_of(range(len(values)), device)
    for op in OPS.values():
        torch.testing.assert_close(op(values, segments), values, rtol=0, atol=0, equal_nan=True)
    doubled = segment_max(values.repeat(2, 1), segments_of([*range(len(values))] * 2, device))
    torch.testing.assert_close(doubled, values, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_summed_in_float32(device, dtype):
    """4096 times 1 is 4096, where a bfloat16 running sum stops at 256; a mean does not overflow on the way."""
    features = torch.ones(4096, 2, dtype=dtype, device=device)
    segments = segments_of([0] * 4096, device)
    assert segment_sum(features, segments).tolist() == [[4096, 4096]]
    assert segment_mean(features * 60000, segments).tolist() == (features[:1] * 60000).tolist()


@each_op
@pytest.mark.parametrize("voxels", [[], [-1, -1, -1], [0], [-1, 0]])
@pytest.mark.parametrize("channels", [0, 1, 4])
def test_empty_and_single(device, name, voxels, channels):
    features = torch.ones(len(voxels), channels, device=device, requires_grad=True)
    out = OPS[name](features, segments_of(voxels, device))
    assert out.tolist() == [[1.0] * channels] * voxels.count(0)
    out.sum().backward()
    assert features.grad.tolist() == [[float(v == 0)] * channels for v in voxels]


@each_op
def test_gradcheck_twice(device, name):
    features, segments = random_case(4, 30, 6, 3, torch.float64, device, grad=True)
    assert torch.autograd.gradcheck(lambda f: OPS[name](f, segments), (features,))
    assert torch.autograd.gradgradcheck(lambda f: OPS[name](f, segments), (features,))


def test_gradcheck_over_chunks():
    torch.manual_seed(5)
    features, segments = torch.randn(150, 1).double().requires_grad_(), segments_of([0] * 140 + [1] * 10)
    for op in OPS.values():
        assert torch.autograd.gradcheck(lambda f: op(f, segments), (features,))  # noqa: B023


def test_same_bits_on_any_number_of_threads():
    torch.manual_seed(6)
    voxel = torch.cat((torch.randint(-1, 3000, (20000,)), torch.full((3000,), 5)))[torch.randperm(23000)]
    segments, features = segments_of(voxel), torch.randn(23000, 33)
    grad = torch.randn(3000, 33)
    ops = torch.ops.bevkd
    winner = ops.segment_max(features, *raw(segments))[1]
    assert_same_on_any_threads(lambda: tuple(op(features, segments) for op in OPS.values()))
    assert_same_on_any_threads(
        lambda: (
            ops.segment_max_backward(grad, winner, segments.voxel_of_point),
            ops.segment_sum_backward(grad, *raw(segments)),
        )
    )


@each_op
def test_strided_features_and_unaligned_rows(device, name):
    features, segments = random_case(7, channels=8, device=device)
    expected = OPS[name](features, segments)
    turned = features.T.contiguous().T
    assert not turned.is_contiguous()
    assert torch.equal(OPS[name](turned, segments), expected)
    shifted = torch.cat((features.flatten()[:1], features.flatten()))[1:].view_as(features)
    assert shifted.data_ptr() % 16 != 0
    assert torch.equal(OPS[name](shifted, segments), expected)


def test_opcheck(device):
    features, segments = random_case(8, 40, 6, 4, torch.float64, device, grad=True)
    ops, grad = torch.ops.bevkd, torch.randn(len(segments.coords), 4).double().to(device).requires_grad_()
    winner = ops.segment_max(features, *raw(segments))[1]
    for mean in (False, True):
        assert_opcheck(ops.segment_sum, features, *raw(segments), mean)
    assert_opcheck(ops.segment_max, features, *raw(segments))
    assert_opcheck(ops.segment_sum_backward, grad, *raw(segments))
    assert_opcheck(ops.segment_max_backward, grad, winner, segments.voxel_of_point)


@pytest.mark.slow
def test_compiles_as_one_graph(device):
    features, segments = random_case(9, device=device, grad=True)

    def loss(rows):
        return sum((op(rows * 2, segments).square().sum() for op in OPS.values()), rows.new_zeros(()))

    expected = torch.autograd.grad(loss(features), features)[0]
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(torch.autograd.grad(compiled(features), features)[0], expected)


def test_autocast_leaves_the_dtype_alone(device):
    features, segments = random_case(10, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert {op(features, segments).dtype for op in OPS.values()} == {torch.float32}
        assert {op(features.bfloat16(), segments).dtype for op in OPS.values()} == {torch.bfloat16}

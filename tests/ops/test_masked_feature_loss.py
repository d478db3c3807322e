"""The masked feature loss: hand-drawn values, the twin, gradients, memory orders, what is left out, refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_orders import ORDERS, channels_last
from op_checks import assert_opcheck, assert_same_on_any_threads

from bevkd.errors import ConfigError
from bevkd.ops import masked_feature_loss
from bevkd.ops.reference import masked_feature_loss as twin

NAN, INF = float("nan"), float("inf")


def case(seed=0, shape=(2, 5, 6, 7), dtype=torch.float64, device="cpu", density=0.5):
    draw = torch.Generator().manual_seed(seed)
    maps = [torch.randn(shape, generator=draw, dtype=torch.float64).to(device, dtype) for _ in range(2)]
    cells = (shape[0], *shape[2:])
    kept = torch.rand(cells, generator=draw) < density
    weight = torch.rand(cells, generator=draw, dtype=torch.float64) * kept
    channel_weight = torch.rand(shape[:2], generator=draw, dtype=torch.float64)
    return *maps, weight.to(device), channel_weight.to(device)


def test_hand_drawn(device):
    student, teacher = torch.zeros(1, 2, 2, 3, device=device), torch.zeros(1, 2, 2, 3, device=device)
    student[0, :, 1, 2], teacher[0, :, 1, 2] = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])
    student[0, 0, 0, 0] = 100  # weighs nothing
    weight = torch.zeros(1, 2, 3, device=device)
    weight[0, 1, 2] = 0.5
    student.requires_grad_()
    assert masked_feature_loss(student, teacher, weight).item() == 2.5
    assert masked_feature_loss(student, teacher, weight, power=1).item() == 1.5
    assert masked_feature_loss(student, teacher, weight, normaliser=5).item() == 0.5
    assert masked_feature_loss(student, teacher, weight, normaliser=weight.sum()).item() == 5
    by_channel = torch.tensor([[1.0, 0.25]], device=device)
    (masked_feature_loss(student, teacher, weight, channel_weight=by_channel) * 3).backward()
    expected = torch.zeros(1, 2, 2, 3)
    expected[0, :, 1, 2] = torch.tensor([3 * 0.5 * 2 * 1, 3 * 0.5 * 0.25 * 2 * -2])
    assert torch.equal(student.grad.cpu(), expected)


def test_slope_of_the_absolute_value_is_its_sign_and_0_at_0(device):
    student = torch.tensor([2.0, -3.0, 0.5], device=device).view(1, 3, 1, 1).requires_grad_()
    teacher = torch.tensor([1.0, -1.0, 0.5], device=device).view(1, 3, 1, 1)
    masked_feature_loss(student, teacher, torch.full((1, 1, 1), 2.0, device=device), power=1).backward()
    assert student.grad.flatten().tolist() == [2, -2, 0]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**31),
    st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 9), st.integers(1, 40)),
    st.sampled_from(sorted(ORDERS)),
    st.sampled_from(sorted(ORDERS)),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_random_maps_agree_with_the_twin(seed, shape, mine, theirs, power, by_channel, density):
    student, teacher, weight, channel_weight = case(seed, shape, density=density)
    student, teacher = ORDERS[mine](student).requires_grad_(), ORDERS[theirs](teacher)
    arguments = (student, teacher, weight, power, 3.0, channel_weight if by_channel else None)
    found, expected = masked_feature_loss(*arguments), twin.masked_feature_loss(*arguments)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*[torch.autograd.grad(2 * loss, student)[0] for loss in (found, expected)])


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("order", ["contiguous", "channels_last"])
def test_gradcheck(power, order, device):
    student, teacher, weight, channel_weight = case(shape=(2, 3, 2, 3), device=device)
    student = ORDERS[order](student).detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: masked_feature_loss(s, teacher, weight, power, 2.0, channel_weight), student
    )


@pytest.mark.parametrize("order", sorted(ORDERS))
@pytest.mark.parametrize("power", [1, 2])
def test_what_weighs_nothing_is_not_looked_at(order, power, device):
    student, teacher, weight, channel_weight = case(device=device)
    weight[1] = 0
    weight[0, 2, 2:5] = 1
    channel_weight[0, 3] = 0
    clean = ORDERS[order](student.clone()).requires_grad_()
    masked_feature_loss(clean, teacher, weight, power, channel_weight=channel_weight).backward()
    out = (weight[:, None] * channel_weight[:, :, None, None] == 0).expand(student.shape)
    dirty = ORDERS[order](student.masked_fill(out, NAN)).requires_grad_()
    loss = masked_feature_loss(dirty, teacher.masked_fill(out, INF), weight, power, channel_weight=channel_weight)
    loss.backward()
    assert loss.isfinite()
    assert torch.equal(dirty.grad, clean.grad)
    assert not dirty.grad[out].any()


@pytest.mark.parametrize("power", [1, 2])
def test_nan_that_weighs_something_is_not_hidden(power, device):
    student, teacher, weight, _ = case(density=1, device=device)
    student[1, 2, 3, 4] = NAN
    student.requires_grad_()
    loss = masked_feature_loss(student, teacher, weight, power)
    loss.backward()
    assert loss.isnan()
    assert student.grad.isnan().nonzero().tolist() == [[1, 2, 3, 4]]


def test_only_the_student_gets_a_gradient(device):
    student, teacher, weight, channel_weight = case(device=device)
    masked_feature_loss(student.requires_grad_(), teacher.requires_grad_(), weight).backward()
    assert teacher.grad is None
    for name, values in (("weight", weight), ("channel_weight", channel_weight)):
        arguments = {"weight": weight, "channel_weight": channel_weight, name: values.clone().requires_grad_()}
        with pytest.raises(ConfigError, match=f"^{name} requires a gradient"):
            masked_feature_loss(student, teacher, **arguments)
        with torch.no_grad():
            masked_feature_loss(student, teacher, **arguments)


def test_no_slope_without_a_student_that_learns(device):
    student, teacher, weight, _ = case(device=device)
    seen = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            out = op(*args, **(kwargs or {}))
            if "masked_feature_loss" in str(op):
                seen.append(out[1].numel())
            return out

    with Watch():
        masked_feature_loss(student, teacher.requires_grad_(), weight)
        with torch.no_grad():
            masked_feature_loss(student.requires_grad_(), teacher, weight)
        masked_feature_loss(student, teacher, weight)
    assert seen == [0, 0, student.numel()]


def test_backward_twice_and_no_second_derivative(device):
    student, teacher, weight, _ = case(device=device)
    student.requires_grad_()
    loss = masked_feature_loss(student, teacher, weight)
    slopes = [torch.autograd.grad(loss, student, retain_graph=True)[0] for _ in range(2)]
    assert torch.equal(*slopes)
    (slope,) = torch.autograd.grad(loss, student, torch.ones_like(loss).requires_grad_(), create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        slope.sum().backward()


def test_the_student_may_be_overwritten_before_backward(device):
    """Heat maps are: the detection loss applies its sigmoid in place."""
    student, teacher, weight, _ = case(device=device)
    leaf = student.clone().requires_grad_()
    feature = leaf * 1
    loss = masked_feature_loss(feature, teacher, weight)
    feature.sigmoid_()
    loss.backward()
    torch.testing.assert_close(leaf.grad, 2 * weight[:, None] * (student - teacher))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", ["contiguous", "channels_last"])
def test_low_precision_maps_are_summed_in_float32(dtype, order, device):
    student, teacher, weight, _ = case(dtype=dtype, device=device)
    student = ORDERS[order](student).requires_grad_()
    loss = masked_feature_loss(student, teacher, weight)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, twin.masked_feature_loss(student, teacher, weight.float()))
    ones = ORDERS[order](torch.ones(1, 64, 16, 16, dtype=dtype, device=device))
    assert masked_feature_loss(ones, 0 * ones, ones[:, :1]).item() == 16384  # bfloat16 sums stop at 256


def test_a_small_weight_does_not_vanish_from_a_float16_gradient(device):
    """1e-6 times a gap of 0.01 is below float16; times the scale of mixed precision training it is not."""
    student = torch.full((1, 4, 2, 2), 0.01, dtype=torch.float16, device=device, requires_grad=True)
    weight = torch.full((1, 2, 2), 1e-6, device=device)
    (masked_feature_loss(student, torch.zeros_like(student), weight) * 65536).backward()
    assert student.grad.flatten().tolist() == pytest.approx([2 * 1e-6 * 0.01 * 65536] * 16, rel=2e-3)


def test_dtypes_that_differ_take_the_wider_and_autocast_changes_nothing(device):
    student, teacher, weight, _ = case(dtype=torch.float32, device=device)
    low = student.bfloat16().requires_grad_()
    loss = masked_feature_loss(low, teacher, weight)
    loss.backward()
    torch.testing.assert_close(loss, twin.masked_feature_loss(low.float(), teacher, weight.float()))
    assert low.grad.dtype == torch.bfloat16
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert torch.equal(masked_feature_loss(low, teacher, weight), loss)
    assert masked_feature_loss(student.double(), teacher, weight).dtype == torch.float64


def test_masks_of_any_kind(device):
    student, teacher, weight, _ = case(device=device)
    mask = weight > 0
    expected = masked_feature_loss(student, teacher, mask.double())
    for same in (mask, mask[:, None], mask.half(), mask.double().transpose(1, 2).contiguous().transpose(1, 2)):
        assert torch.equal(masked_feature_loss(student, teacher, same), expected)


def test_a_long_sum_keeps_its_digits(device):
    student = torch.full((1, 64, 128, 128), 0.1, device=device)
    cells = torch.ones(1, 128, 128, device=device)
    assert masked_feature_loss(student, 0 * student, cells, 1).item() == pytest.approx(0.1 * student.numel(), rel=1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0)])
@pytest.mark.parametrize("order", ["contiguous", "channels_last"])
def test_empty(shape, order, device):
    student = ORDERS[order](torch.rand(shape, device=device)).requires_grad_()
    loss = masked_feature_loss(student, student.detach() + 1, torch.ones(shape[0], *shape[2:], device=device))
    loss.backward()
    assert loss == 0
    assert student.grad.shape == shape


def test_same_bits_on_any_number_of_threads():
    student, teacher, weight, channel_weight = case(shape=(3, 40, 50, 60), dtype=torch.float32)
    for order in (torch.Tensor.contiguous, channels_last):
        for power in (1, 2):

            def run(order=order, power=power):
                leaf = order(student).requires_grad_()
                loss = masked_feature_loss(leaf, teacher, weight, power, 7.0, channel_weight)
                return loss.detach(), *torch.autograd.grad(loss, leaf)

            assert_same_on_any_threads(run)


def test_opcheck(device):
    student, teacher, weight, channel_weight = case(shape=(2, 3, 4, 5), density=1, device=device)
    ops = torch.ops.bevkd
    for leaf in (student, channels_last(student)):
        leaf = leaf.detach().requires_grad_()
        assert_opcheck(ops.masked_feature_loss, leaf, teacher, weight, channel_weight, 2, True)
        assert_opcheck(ops.masked_feature_loss, leaf.detach(), teacher, weight, None, 1, False)
        grad = torch.ones((), dtype=torch.float64, device=device)
        assert_opcheck(ops.masked_feature_loss_backward, grad, leaf.detach(), weight, channel_weight, 2)


@pytest.mark.parametrize("order", ["contiguous", "channels_last"])
def test_compiles_whole(order, device):
    student, teacher, weight, channel_weight = case(dtype=torch.float32, device=device)
    student = ORDERS[order](student)

    def loss(student):
        return masked_feature_loss(2 * student, teacher, weight, 2, weight.sum(), channel_weight)

    compiled, slopes = torch.compile(loss, fullgraph=True, backend="aot_eager"), []
    for run in (loss, compiled):
        leaf = student.clone().requires_grad_()
        run(leaf).backward()
        slopes.append(leaf.grad)
    assert torch.equal(*slopes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": torch.zeros(3, 4, 4)}, r"student has shape \(3, 4, 4\), expected \[B, C, Y, X\]"),
        ({"teacher": torch.zeros(1, 2, 4, 5)}, r"teacher has shape \(1, 2, 4, 5\), expected \(1, 3, 4, 5\)"),
        ({"teacher": torch.zeros(1, 3, 4, 5).int()}, "teacher is int32"),
        ({"teacher": torch.zeros(1, 3, 4, 5, device="meta")}, "teacher is on meta, expected cpu like the student"),
        ({"weight": torch.zeros(1, 5, 4)}, r"weight has shape \(1, 5, 4\), expected a tensor \(1, 4, 5\)"),
        ({"weight": torch.zeros(1, 3, 4, 5)}, "weight has shape"),
        ({"weight": torch.zeros(1, 4, 5).long()}, "weight is torch.int64 on cpu, expected bool or float on cpu"),
        ({"weight": torch.zeros(1, 4, 5, device="meta")}, "weight is .* on meta"),
        ({"weight": 1.0}, "weight has type float, expected a tensor"),
        ({"channel_weight": torch.zeros(3)}, r"channel_weight has shape \(3,\), expected a tensor \(1, 3\)"),
        ({"power": 3}, "power is 3, expected 1 or 2"),
    ],
)
def test_bad_input_gets_one_sentence(change, message):
    good = {"student": torch.zeros(1, 3, 4, 5), "teacher": torch.zeros(1, 3, 4, 5), "weight": torch.ones(1, 4, 5)}
    with pytest.raises(ConfigError, match=message):
        masked_feature_loss(**(good | change))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, torch.zeros(3, 4, 5)),
        (1, torch.zeros(1, 3, 4, 4)),
        (1, torch.zeros(1, 3, 4, 5).double()),
        (2, torch.zeros(1, 1, 4, 5)),
        (2, torch.zeros(1, 4, 5).double()),
        (3, torch.zeros(3)),
        (3, torch.zeros(1, 3).half()),
        (4, 0),
    ],
)
def test_the_kernel_refuses_too(place, value):
    arguments = [torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5), torch.zeros(1, 4, 5), torch.ones(1, 3), 2, True]
    arguments[place] = value
    with pytest.raises((ValueError, TypeError)):
        torch.ops.bevkd.masked_feature_loss(*arguments)
    with pytest.raises((ValueError, TypeError)):
        torch.ops.bevkd.masked_feature_loss_backward(torch.ones(2), *arguments[1:4], 2)

"""Several weights of one pair of maps: the single calls' numbers with one slope for all, refusals."""

import pytest
import torch

from bevkd.errors import ConfigError
from bevkd.ops import masked_feature_loss, masked_feature_losses


def case(device, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 5, 6, 7, generator=draw, dtype=dtype) for _ in range(2))
    region = torch.randint(0, 4, (2, 6, 7), generator=draw)  # region 3 is in no weight
    weights = [torch.rand(2, 6, 7, generator=draw, dtype=dtype) * (region == k) for k in range(3)]
    student[region[:, None].expand_as(student) == 3] = torch.nan
    channels = [None, torch.rand(2, 5, generator=draw, dtype=dtype), None]
    parts = [None if part is None else part.to(device) for part in channels]
    return student.to(device).requires_grad_(), teacher.to(device), [w.to(device) for w in weights], parts


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_losses_and_gradients_are_those_of_single_calls(device, power, dtype):
    student, teacher, weights, channels = case(device)
    student, teacher = student.detach().to(dtype).requires_grad_(), teacher.to(dtype)
    factors = (1.0, -2.0, 0.5)
    mine = masked_feature_losses(student, teacher, weights, power, 3.0, channels)
    (gradient,) = torch.autograd.grad(sum(f * loss for f, loss in zip(factors, mine)), student, retain_graph=True)
    singles = [masked_feature_loss(student, teacher, w, power, 3.0, c) for w, c in zip(weights, channels)]
    assert [a.item() for a in mine] == [b.item() for b in singles]
    (expected,) = torch.autograd.grad(sum(f * loss for f, loss in zip(factors, singles)), student, retain_graph=True)
    torch.testing.assert_close(gradient, expected)
    (alone,) = torch.autograd.grad(mine[1], student)  # the others get no gradient
    torch.testing.assert_close(alone, torch.autograd.grad(singles[1], student)[0])


def test_gradcheck(device):
    student, teacher, weights, channels = case(device)
    student = student.detach().nan_to_num().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: tuple(masked_feature_losses(s, teacher, weights, channel_weights=channels)), (student,)
    )


def test_one_slope_is_kept_and_none_without_a_gradient(device):
    student, teacher, weights, channels = case(device)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        masked_feature_losses(student, teacher, weights, channel_weights=channels)
        assert kept.count(student.numel()) == 1
        kept.clear()
        with torch.no_grad():
            masked_feature_losses(student, teacher, weights)
        masked_feature_losses(student.detach(), teacher, weights)
    assert kept == []


def test_refusals(device):
    student, teacher, weights, _ = case(device)
    with pytest.raises(ConfigError, match="there are 1 channel_weights, expected one for each of 3"):
        masked_feature_losses(student, teacher, weights, channel_weights=[None])
    with pytest.raises(ConfigError, match=r"weights\[1\] has shape \(3,\)"):
        masked_feature_losses(student, teacher, [weights[0], torch.ones(3, device=device)])
    assert masked_feature_losses(student, teacher, []) == []

"""KD (arXiv 1503.02531) by hand: T² times the divergence of softened probabilities, and what it refuses."""

import math

import pytest
import torch
import torch.nn.functional as F

from bevkd.errors import ConfigError
from bevkd.methods.kd import KD, soft_divergence
from bevkd.structures.labels import LabelTargets


def logits(*probabilities):
    return torch.tensor([probabilities]).log()


def test_one_sample_by_hand():
    """p = (3/4, 1/4) of the teacher, q = (1/2, 1/2) of the student, T = 1."""
    found = soft_divergence(torch.zeros(1, 2), logits(0.75, 0.25), temperature=1.0)
    assert found.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)


def test_the_teacher_is_the_target():
    """KL(p ‖ q) with p of the teacher; the other way round it would be 0.1438."""
    assert soft_divergence(logits(0.75, 0.25), torch.zeros(1, 2), 1.0).item() == pytest.approx(0.1438, abs=1e-4)
    assert soft_divergence(torch.zeros(1, 2), logits(0.75, 0.25), 1.0).item() == pytest.approx(0.1308, abs=1e-4)


def test_the_temperature_softens_both_and_scales_the_loss():
    """At T = 2 the logits (2 ln 3, 0) are p = (3/4, 1/4) again: four times the value at T = 1 (section 2)."""
    found = soft_divergence(torch.zeros(1, 2), 2 * logits(3.0, 1.0), temperature=2.0)
    assert found.item() == pytest.approx(4 * 0.1308121, rel=1e-5)


def test_at_a_high_temperature_the_gradient_is_the_difference_of_centred_logits():
    """Equation 4: dC/dz_i is about (z_i - v_i) / (N T²) for logits of mean 0; the factor T² takes the last part out."""
    torch.manual_seed(0)
    student, teacher = (torch.randn(1, 5, dtype=torch.float64) for _ in range(2))
    student, teacher = (z - z.mean() for z in (student, teacher))
    student.requires_grad_()
    soft_divergence(student, teacher, temperature=1e4).sum().backward()
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 5, rtol=1e-3, atol=1e-6)


def test_the_gradient_is_that_of_cross_entropy_with_soft_targets():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    ours = torch.autograd.grad(soft_divergence(student, teacher, 3.0).sum(), student)[0]
    entropy = 9 * F.cross_entropy(student / 3, (teacher / 3).softmax(1), reduction="sum")
    torch.testing.assert_close(ours, torch.autograd.grad(entropy, student)[0])


def test_gradients():
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.randn(3, 4).double()
    assert torch.autograd.gradcheck(lambda z: soft_divergence(z, teacher), student)


def test_equal_logits_give_exactly_zero_and_no_gradient():
    student = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = soft_divergence(student, student.detach())
    assert torch.equal(found, torch.zeros(5))
    found.sum().backward()
    assert student.grad.abs().max() < 1e-6


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_logits_stay_finite(size):
    student = torch.tensor([[size, 0.0], [0.0, -size]], requires_grad=True)
    found = soft_divergence(student, student.detach().flip(1))
    found.sum().backward()
    assert found.isfinite().all()
    assert student.grad.isfinite().all()
    assert found.min() > size / 2


def test_half_precision_is_computed_in_float32():
    student, teacher = torch.tensor([[300.0, 299.75]]).half(), torch.tensor([[299.75, 300.0]]).half()
    assert soft_divergence(student, teacher).dtype == torch.float32
    assert soft_divergence(student, teacher).item() > 0


def test_a_batch_is_the_mean_over_its_samples():
    method, student, teacher, targets = KD.example()
    each = [
        method({"logits": student["logits"][i : i + 1]}, {"logits": teacher["logits"][i : i + 1]}, targets[i : i + 1])
        for i in range(2)
    ]
    whole = method(student, teacher, targets)
    assert whole["soft"].item() == pytest.approx(sum(part["soft"].item() for part in each) / 2, rel=1e-6)
    assert whole["info/kept"] == 1


def test_weights_of_samples_and_of_the_method():
    _, student, teacher, _ = KD.example()
    first = soft_divergence(student["logits"], teacher["logits"])[0].item()
    halved = LabelTargets.of([0, 2], 3, weights=[0.5, 0.0])
    found = KD(weight=3.0)(student, teacher, halved)
    assert found["soft"].item() == pytest.approx(3 * 0.5 * first / 2, rel=1e-6)  # over both samples
    assert found["info/kept"] == 0.5


def test_targets_without_weights_count_each_sample_once():
    method, student, teacher, targets = KD.example()
    assert torch.equal(method(student, teacher, None)["soft"], method(student, teacher, targets)["soft"])


@pytest.mark.parametrize(
    ("student", "teacher"), [((2, 3), (2, 4)), ((2, 3), (1, 3)), ((3,), (3,)), ((2, 3, 4), (2, 3, 4))]
)
def test_other_shapes_are_refused(student, teacher):
    with pytest.raises(ConfigError, match=r"KD's logits are .* expected \[B, K\]"):
        soft_divergence(torch.zeros(student), torch.zeros(teacher))


@pytest.mark.parametrize("wrong", [{"weight": 0}, {"temperature": 0.0}, {"weight": -1.0}, {"temperature": math.nan}])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"KD has weight .* expected positive numbers"):
        KD(**wrong)

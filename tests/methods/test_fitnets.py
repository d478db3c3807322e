"""FitNets (arXiv 1412.6550) by hand: the distance to a hint behind a regressor, and what it refuses."""

import pytest
import torch

from bevkd.errors import ConfigError
from bevkd.methods.fitnets import FitNets, Regressor, hint_error
from bevkd.structures.labels import LabelTargets


def test_one_sample_by_hand():
    """Equation 3: half the squared distance, (1 + 4) / 2, here over two elements."""
    assert hint_error(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])).tolist() == [1.25]


def test_the_number_of_elements_does_not_count():
    guided, hint = torch.full((1, 2, 3, 4), 2.0), torch.zeros(1, 2, 3, 4)
    assert hint_error(guided, hint).tolist() == [2.0]
    assert hint_error(guided[..., :1], hint[..., :1]).tolist() == [2.0]


def test_gradients():
    torch.manual_seed(0)
    guided, hint = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True), torch.randn(2, 3, 2, 2).double()
    assert torch.autograd.gradcheck(lambda x: hint_error(x, hint), guided)


def test_the_gradient_is_the_difference_over_the_elements():
    guided = torch.tensor([[1.0, 3.0]], requires_grad=True)
    hint_error(guided, torch.tensor([[0.0, 1.0]])).sum().backward()
    assert guided.grad.tolist() == [[0.5, 1.0]]


def test_equal_features_give_exactly_zero():
    feature = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(hint_error(feature, feature.clone()), torch.zeros(3))


def test_the_regressor_by_hand():
    """A kernel of 3 without padding takes two cells from a side; the ReLU of the hint follows."""
    regressor = Regressor((1, 2), kernel=3)
    with torch.no_grad():
        regressor.convolution.weight.fill_(1.0)
        regressor.convolution.bias.copy_(torch.tensor([0.5, -100.0]))
    found = regressor(torch.ones(1, 1, 4, 5))
    assert found.shape == (1, 2, 2, 3)
    assert torch.equal(found[:, 0], torch.full((1, 2, 3), 9.5))
    assert torch.equal(found[:, 1], torch.zeros(1, 2, 3))
    bare = Regressor((1, 2), kernel=3, relu=False)
    bare.load_state_dict(regressor.state_dict())
    assert torch.equal(bare(torch.ones(1, 1, 4, 5))[:, 1], torch.full((1, 2, 3), -91.0))


def test_pooled_features():
    torch.manual_seed(0)
    regressor, pooled = Regressor((3, 2)), torch.randn(4, 3)
    expected = regressor(pooled[:, :, None, None])[:, :, 0, 0]
    assert torch.equal(regressor(pooled), expected)
    method = FitNets((3, 2), tap="pooled")
    assert method.taps == ("pooled",)
    assert method({"pooled": pooled}, {"pooled": torch.rand(4, 2)}, None)["hint"] > 0


def test_weights_of_samples_and_of_the_method():
    torch.manual_seed(0)
    student, teacher = {"feature": torch.randn(2, 3, 2, 2)}, {"feature": torch.rand(2, 4, 2, 2)}
    method = FitNets((3, 4), weight=10.0)
    values = hint_error(method.regressor(student["feature"]), teacher["feature"])
    assert method(student, teacher, None)["hint"].item() == pytest.approx(10 * values.mean().item())
    found = method(student, teacher, LabelTargets.of([0, 0], 1, weights=[0.0, 2.0]))
    assert found["hint"].item() == pytest.approx(10 * 2 * values[1].item() / 2)
    assert found["info/kept"] == 0.5
    one = method({"feature": student["feature"][:1]}, {"feature": teacher["feature"][:1]}, None)
    assert one["hint"].item() == pytest.approx(10 * values[0].item())


def test_huge_features_stay_finite():
    found = hint_error(torch.full((1, 2, 3), 1e10), torch.full((1, 2, 3), -1e10))
    assert found.item() == pytest.approx(2e20)
    assert hint_error(torch.full((1, 4), 3e4).half(), torch.full((1, 4), -3e4).half()).isfinite().all()


@pytest.mark.parametrize(
    ("student", "teacher", "options", "sentence"),
    [
        ((2, 3, 4, 4), (2, 5, 2, 2), {}, r"\(2, 5, 4, 4\) for the student behind the regressor and \(2, 5, 2, 2\)"),
        ((2, 3, 4, 4), (2, 5, 4, 4), {"kernel": 3}, "a kernel k makes a map smaller by k - 1 cells"),
        ((2, 7, 4, 4), (2, 5, 4, 4), {}, r"channels begin with 3, but the student's feature is \(2, 7, 4, 4\)"),
        ((2, 3, 4), (2, 5, 4), {}, r"expected \[B, C, Y, X\] or \[B, C\]"),
        ((2, 3, 4, 2), (2, 5, 4, 4), {"kernel": 3}, r"kernel is 3, more than the student's map \(2, 3, 4, 2\) has"),
    ],
)
def test_features_that_do_not_fit_are_refused(student, teacher, options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        FitNets((3, 5), **options)({"feature": torch.zeros(student)}, {"feature": torch.zeros(teacher)}, None)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"weight": 0.0}, "FitNets has weight 0.0"),
        ({"kernel": 0}, "kernel is 0, expected a whole number"),
        ({"kernel": 1.5}, "kernel is 1.5, expected a whole number"),
        ({"channels": (3,)}, r"FitNets channels is \(3,\), expected \(student channels, teacher channels\)"),
    ],
)
def test_wrong_arguments_are_refused(wrong, sentence):
    with pytest.raises(ConfigError, match=sentence):
        FitNets(**{"channels": (3, 5), **wrong})

"""The read-out of gradient conflicts: angles that are known, what it leaves alone, what it refuses."""

import pytest
import torch
from distill_fakes import FakeDetector
from mmengine.logging import MessageHub
from torch import nn

from bevkd.distill import Distiller, LiveTeacher, UniDistill
from bevkd.distill.conflict import GradientConflict
from bevkd.errors import ConfigError


class Pull(nn.Module):
    """A loss whose gradient at the student's taps ``low`` is known: a multiple of its own loss's, or across it."""

    def __init__(self, factor, part):
        super().__init__()
        self.factor, self.part = factor, part

    def forward(self, student, teacher, targets):
        return {self.part: self.factor * student["low"][:, 0].mean(), "info/x": torch.tensor(7.0)}


class Stem(nn.Module):
    """One layer; its own loss is the mean of channel 0 and that of channel 1 is at a right angle to it."""

    default_taps = {"low": "stem"}

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 1)
        self.other = nn.Linear(1, 1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        low = self.stem(inputs["image"])
        return {"loss": low[:, 0].mean() + self.other.weight.sum(), "accuracy": low.sum()} if mode == "loss" else low


class Across(Pull):
    def forward(self, student, teacher, targets):
        return {"part": self.factor * student["low"][:, 1].mean()}


class Nothing(nn.Module):
    def forward(self, student, teacher, targets):
        return {"part": torch.tensor(0.0)}


@pytest.fixture(autouse=True)
def no_runner():
    MessageHub.get_instance("bevkd_conflict_test")
    yield
    MessageHub._instance_dict.pop("bevkd_conflict_test")


@pytest.fixture
def inputs():
    return {"image": torch.ones(2, 1, 4, 4)}


def model(interval=1, parameters=("stem.*",)):
    methods = {"with": Pull(3.0, "a"), "against": Pull(-0.5, "b"), "across": Across(2.0, ""), "nothing": Nothing()}
    teacher = LiveTeacher(Stem())
    return Distiller(Stem(), teacher, methods, gradient_conflict={"parameters": parameters, "interval": interval})


def test_known_angles_and_ratios(inputs):
    losses = model()(inputs, mode="loss")
    read = {name.removeprefix("info/"): float(value) for name, value in losses.items() if name.startswith("info/")}
    expected = {"with/cosine": 1, "with/ratio": 3, "against/cosine": -1, "against/ratio": 0.5, "across/cosine": 0}
    expected |= {"across/ratio": 2, "nothing/cosine": 0, "nothing/ratio": 0, "with/x": 7, "against/x": 7}
    assert read == pytest.approx(expected, abs=1e-6)


def test_training_is_the_same_with_and_without(inputs):
    slopes = []
    for interval in (1, 100):
        torch.manual_seed(0)
        distiller = model(interval)
        distiller._counted = 1
        total, log = distiller.parse_losses(distiller(inputs, mode="loss"))
        total.backward()
        assert ("info/with/cosine" in log) == (interval == 1)
        slopes.append([p.grad for p in distiller.student.stem.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*slopes))


def test_read_every_so_many_steps_and_only_with_gradients(inputs):
    distiller = model(interval=3)
    read = ["info/with/cosine" in distiller(inputs, mode="loss") for _ in range(7)]
    assert read == [True, False, False, True, False, False, True]
    with torch.no_grad():
        assert "info/with/cosine" not in model()(inputs, mode="loss")


def test_own_losses_without_influence_on_the_parameters(inputs):
    read = model(parameters=["other.weight"])(inputs, mode="loss")
    assert read["info/with/ratio"] == 0
    assert read["info/with/cosine"] == 0


def test_with_a_detector(detector, batch):
    conflict = {"parameters": ["encoder.0.*", "stem.weight"], "interval": 1}
    distiller = Distiller(detector(0), LiveTeacher(detector(1)), {"u": UniDistill()}, gradient_conflict=conflict)
    losses = distiller(*batch, mode="loss")
    assert -1 <= losses["info/u/cosine"] <= 1
    assert losses["info/u/ratio"] > 0
    distiller.parse_losses(losses)[0].backward()
    chosen = GradientConflict(**conflict).attach(detector(0))
    assert [tuple(p.shape) for p in chosen] == [(4, 1, 3, 3), (8, 4, 3, 3), (8,)]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"parameters": ["stm.*"]}, r"pattern 'stm\.\*' fits no trainable parameter; nearest: stem"),
        ({"parameters": []}, r"parameters \[\]"),
        ({"parameters": "stem.*"}, "expected a list of patterns"),
        ({"parameters": ["stem.*"], "interval": 0}, "interval 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, found):
    with pytest.raises(ConfigError, match=found):
        GradientConflict(**arguments).attach(FakeDetector())

"""UniDistill as a method: weights, adapters and what must be refused."""

import pytest
import torch

from bevkd.distill import Distiller, LiveTeacher
from bevkd.errors import ConfigError
from bevkd.methods.unidistill import UniDistill, feature_loss, relation_loss, response_loss
from bevkd.structures.targets import Targets
from tests.distill.method_scenes import head, maps
from tests.methods.tap_model import same_under_autocast


def taps(grid, seed, channels=6):
    return {"low": maps(grid, channels, seed=seed), "high": maps(grid, 8, seed=seed + 1), "head": head(grid, seed=seed)}


def test_module_weights_the_three_losses(grid, boxes):
    mine, theirs = taps(grid, 1), taps(grid, 5)
    targets = Targets(boxes, [], grid)
    losses = UniDistill()(mine, theirs, targets)
    assert list(losses) == ["feature", "relation", "response"]
    torch.testing.assert_close(losses["feature"], 100 * feature_loss(mine["low"], theirs["low"], boxes, grid))
    torch.testing.assert_close(losses["relation"], 40 * relation_loss(mine["high"], theirs["high"], boxes, grid))
    torch.testing.assert_close(losses["response"], 10 * response_loss(mine["head"], theirs["head"], boxes, grid))
    swapped = UniDistill(legacy_axis_swap=True)(mine, theirs, targets)
    for part, tap, weight, loss in (("feature", "low", 100, feature_loss), ("relation", "high", 40, relation_loss)):
        expected = weight * loss(mine[tap], theirs[tap], boxes, grid, legacy_axis_swap=True)
        torch.testing.assert_close(swapped[part], expected)
        assert swapped[part] != losses[part]


def test_a_weight_of_zero_leaves_its_loss_and_tap_out(grid, boxes):
    method = UniDistill(feature=0, response=0)
    assert method.taps == ("high",)
    losses = method({"high": maps(grid)}, {"high": maps(grid)}, Targets(boxes, [], grid))
    assert list(losses) == ["relation"]


def test_adapters_join_other_widths_and_learn(grid, boxes):
    method = UniDistill(adapters={"low": (4, 6), "high": (3, 8)})
    mine, theirs = taps(grid, 1, channels=4) | {"high": maps(grid, 3)}, taps(grid, 5)
    losses = method(mine, theirs, Targets(boxes, [], grid))
    (losses["feature"] + losses["relation"]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    with pytest.raises(ConfigError, match=r"'low'.*expected equal channels or an adapter"):
        UniDistill()(mine, theirs, Targets(boxes, [], grid))


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"feature": -1}, "none negative"),
        ({"feature": 0, "relation": 0, "response": 0}, "one positive"),
        ({"adapters": {"head": (1, 2)}}, r"adapters name \['head'\]"),
    ],
)
def test_bad_arguments_are_refused(arguments, found):
    with pytest.raises(ConfigError, match=found):
        UniDistill(**arguments)


def test_a_student_that_is_its_teacher_can_only_stay(detector, batch):
    """With the same weights the features agree. What remains otherwise is the response loss's temperature."""
    model = Distiller(detector(3), LiveTeacher(detector(3)), {"m": UniDistill(response=0)}).eval()
    assert all(value == 0 for name, value in model(*batch, mode="loss").items() if name.startswith("kd/"))


def test_without_adapters_autocast_changes_no_digit():
    """The loss part itself is never in half precision."""
    same_under_autocast(UniDistill())

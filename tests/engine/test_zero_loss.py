"""A loss that is exactly 0 step after step is named once."""

from types import SimpleNamespace as Thing

import pytest

from bevkd.engine import build_runner
from bevkd.engine.zero_loss import ZeroLossHook
from tests.engine.toy import toy_config


def told(steps, end=True, **hook):
    said = []
    runner = Thing(logger=Thing(warning=said.append))
    hook = ZeroLossHook(**hook)
    for outputs in steps:
        hook.after_train_iter(runner, 0, None, outputs)
    if end:
        hook.after_train(runner)
    return said


def test_a_loss_of_0_is_named_once():
    said = told([{"loss": 1.0, "kd/u/feature": 0.0, "task0.loss_bbox": 0.0}] * 120)
    assert [text.split()[0] for text in said] == ["kd/u/feature", "task0.loss_bbox"]
    assert "exactly 0 for 50 steps" in said[0]


def test_in_a_row_means_in_a_row():
    assert not told([{"loss": 1.0, "kd/u/a": float(step % 9 == 0)} for step in range(100)])
    late = [{"kd/u/a": 1.0}] * 30 + [{"kd/u/a": 0.0}] * 50
    assert len(told(late)) == 1


def test_a_short_training_is_judged_as_a_whole():
    assert len(told([{"kd/u/a": 0.0}] * 6)) == 1
    assert not told([{"kd/u/a": 0.0}] * 4)
    assert not told([{"kd/u/a": 1.0}] + [{"kd/u/a": 0.0}] * 6)
    assert not told([{"kd/u/a": 0.0}] * 6, end=False)


@pytest.mark.parametrize("name", ["u", "u/a"])
def test_a_schedule_may_say_0(name):
    step = {"kd/u/a": 0.0, "kd/u/b": 1.0, f"info/schedule/{name}": 0.0, "lr": 0.0, "info/loss": 0.0}
    assert not told([step] * 100)
    assert told([{**step, f"info/schedule/{name}": 1.0}] * 100)


def test_every_run_has_it(tmp_path):
    assert any(isinstance(hook, ZeroLossHook) for hook in build_runner(toy_config(tmp_path)).hooks)

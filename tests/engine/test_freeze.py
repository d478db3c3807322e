"""Frozen parts: no gradient, eval mode, nothing moves; by hook and by a learning rate of zero."""

import pytest
import torch
from torch import nn

from bevkd.engine import build_runner
from bevkd.engine import checkpoint as files
from bevkd.engine.freeze import FreezeHook, freeze_configured
from bevkd.errors import ConfigError
from tests.engine.toy import ToyModel, read_log, toy_config
from tests.two_ranks import run_ranks

FROZEN = {"type": "FreezeHook", "parts": ("net.0", "net.1")}
DECAYING = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 0.5, "momentum": 0.9}}
STILL = {"custom_keys": {"net.0": {"lr_mult": 0.0}, "net.1": {"lr_mult": 0, "decay_mult": 0.0}}}
BY_LR = {"optim_wrapper": {**DECAYING, "paramwise_cfg": STILL}, "param_scheduler": None}


def weights(tmp_path):
    torch.manual_seed(9)
    model = ToyModel()
    model.net[1].running_mean += 3
    torch.save(model.state_dict(), tmp_path / "start.pth")
    return str(tmp_path / "start.pth"), model.state_dict()


def final(work_dir):
    return files.load_checkpoint(files.find_latest(work_dir))


def moved(before, after):
    return {key for key, value in before.items() if not torch.equal(value, after[key])}


@pytest.mark.parametrize("ema", [False, True])
@pytest.mark.parametrize("way", ["hook", "lr_mult"])
def test_frozen_parts_do_not_move(tmp_path, way, ema):
    start, before = weights(tmp_path)
    hooks = [{"type": "EMAHook", "momentum": 0.1}] if ema else []
    changes = BY_LR if way == "lr_mult" else {"optim_wrapper": DECAYING}
    hooks += [FROZEN] if way == "hook" else []
    runner = build_runner(toy_config(tmp_path / "run", load_from=start, custom_hooks=hooks, **changes))
    runner.train()
    found = final(tmp_path / "run")
    assert moved(before, found["state_dict"]) == {"net.3.weight", "net.3.bias"}
    if ema:
        averaged = {key.removeprefix("module."): value for key, value in found["ema_state_dict"].items()}
        assert moved(before, averaged) == {"net.3.weight", "net.3.bias"}
    model = runner.model.train()
    assert [m.training for m in model.net] == [False, False, True, True]
    assert all(p.grad is None and not p.requires_grad for p in (*model.net[0].parameters(), *model.net[1].parameters()))
    if way == "lr_mult":  # the groups that the config asks for are there, for schedules and for whoever reads them
        rates = [group["lr"] for group in runner.optim_wrapper.param_groups]
        assert rates.count(0) == 4
        assert {rate for rate in rates if rate} == {0.1}


def test_what_is_not_frozen_trains_on_a_frozen_part_s_gradient(tmp_path):
    """A frozen part in the middle hands gradients on."""
    runner = build_runner(toy_config(tmp_path, custom_hooks=[{"type": "FreezeHook", "parts": ["net.3"]}]))
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    assert {"net.0.weight", "net.1.running_mean"} <= moved(before, runner.model.state_dict())


def test_a_frozen_run_resumes_bit_exactly(tmp_path):
    start, _ = weights(tmp_path)
    changes = {"custom_hooks": [{"type": "LossLog"}, FROZEN]}
    build_runner(toy_config(tmp_path / "run", load_from=start, **changes)).train()
    whole, log = final(tmp_path / "run"), read_log(tmp_path / "run")
    first = str(tmp_path / "run" / "epoch_2.pth")
    build_runner(toy_config(tmp_path / "run", load_from=first, resume=True, **changes)).train()
    assert not moved(whole["state_dict"], final(tmp_path / "run")["state_dict"])
    assert read_log(tmp_path / "run") == log


class Distilled(nn.Module):
    def __init__(self):
        super().__init__()
        self.student, self.adapter = ToyModel(), nn.Linear(1, 1)


@pytest.mark.parametrize("part", ["net.1", "student.net.1"])
def test_parts_of_a_student_have_both_names(part):
    model = Distilled()
    assert FreezeHook([part]).freeze(model) == ["student.net.1"]
    model.train()
    assert not model.student.net[1].training
    assert model.student.net[2].training


def test_a_part_named_wrongly_lists_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"FreezeHook.parts names 'net.9', which the model does not have; nearest: "):
        build_runner(toy_config(tmp_path, custom_hooks=[{"type": "FreezeHook", "parts": ["net.9"]}]))
    with pytest.raises(ConfigError, match=r"FreezeHook.parts is 'net', expected paths of modules"):
        build_runner(toy_config(tmp_path, custom_hooks=[{"type": "FreezeHook", "parts": "net"}]))
    with pytest.raises(ConfigError, match=r"FreezeHook lacks the parameter 'parts'|takes no parameter|parts"):
        build_runner(toy_config(tmp_path, custom_hooks=[{"type": "FreezeHook"}]))


def test_nothing_left_to_train_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"net are frozen, which leaves nothing to train; expected a smaller part"):
        build_runner(toy_config(tmp_path, custom_hooks=[{"type": "FreezeHook", "parts": ["net"]}]))


def test_the_longest_key_decides_as_in_mmengine():
    model = ToyModel()
    keys = {"net": {"lr_mult": 0}, "net.3": {"lr_mult": 0.1}}
    assert freeze_configured(model, [], {"paramwise_cfg": {"custom_keys": keys}}) == ["net.0", "net.1"]
    assert model.net[3].weight.requires_grad
    assert freeze_configured(ToyModel(), [], {"paramwise_cfg": {"custom_keys": {"net": {"lr_mult": 0.1}}}}) == []
    one = {"paramwise_cfg": {"custom_keys": {"1.bias": {"lr_mult": 0}}}}
    model = ToyModel()
    assert freeze_configured(model, [], one) == []  # half of a module: its statistics go on
    assert not model.net[1].bias.requires_grad
    assert model.train().net[1].training


def _train(rank, folder, start):
    import os

    os.environ["LOCAL_RANK"] = str(rank)
    cfg = toy_config(folder, launcher="pytorch", log_level="ERROR", load_from=start, custom_hooks=[FROZEN])
    runner = build_runner(cfg)
    runner.train()
    return runner.model.module.state_dict()


@pytest.mark.slow
def test_two_processes_need_no_search_for_unused_parameters(tmp_path):
    start, before = weights(tmp_path)
    states = run_ranks(_train, tmp_path / "ranks", tmp_path / "run", start)
    for state in states:
        assert moved(before, state) == {"net.3.weight", "net.3.bias"}
    assert not moved(*states)

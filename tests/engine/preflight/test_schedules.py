"""Schedules fit the run, ratios of learning rates hold, and an optimizer moves something."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

from bevkd.engine import build_runner
from bevkd.engine.preflight.schedules import check_ratios, check_schedules, require_movement
from bevkd.errors import ConfigError
from tests.engine.toy import toy_config

ROOT = Path(__file__).resolve().parents[3]
RECIPES = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").glob("[!_]*/*.py"))
EPOCHS, STEPS = 10, 7
COSINE = {"type": "CosineAnnealingLR", "by_epoch": True}


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({**COSINE, "T_max": 10, "end": 10}, None),
        (COSINE, None),
        ({**COSINE, "T_max": 20}, "T_max 20 over 10 epochs: its last values are never reached"),
        ({**COSINE, "T_max": 4}, "T_max 4 over 10 epochs: it turns round"),
        ({**COSINE, "end": 20}, "goes to epoch 20 and the training ends at 10"),
        ({**COSINE, "begin": 12, "end": 20}, "begins at epoch 12, after the training's end at 10"),
        ({**COSINE, "end": 5}, "ends at epoch 5 and the training at 10: the rest has its lowest value"),
        ({"type": "LinearLR", "by_epoch": False, "end": 30}, None),
        ({"type": "LinearLR", "by_epoch": False, "end": 500}, "goes to iteration 500 and the training ends at 70"),
        ({"type": "MultiStepLR", "milestones": [4, 20]}, r"milestones \[20\] after the training's end"),
    ],
)
def test_the_length_of_a_schedule(part, said):
    found = check_schedules([part], EPOCHS, EPOCHS * STEPS)
    assert len(found) == (said is not None)
    assert all(re.search(said, text) for text in found)


def test_a_schedule_that_is_followed_by_another_may_end():
    up, down = {**COSINE, "T_max": 4, "end": 4}, {**COSINE, "T_max": 6, "begin": 4, "end": 10}
    assert check_schedules([up, down], EPOCHS, EPOCHS * STEPS) == []


def test_epochs_that_are_never_counted():
    with pytest.raises(
        ConfigError, match=r"param_scheduler.0 \(CosineAnnealingLR\) counts epochs and train_cfg counts"
    ):
        check_schedules(COSINE, None, 70)
    assert not check_schedules({**COSINE, "convert_to_iter_based": True}, None, 70)
    assert not check_schedules({**COSINE, "by_epoch": False}, None, 70)


def test_one_number_for_different_rates():
    assert check_ratios([{**COSINE, "eta_min": 1e-5}], [0.1, 0.1]) == []
    assert check_ratios([{**COSINE, "eta_min_ratio": 0.1}, {**COSINE, "eta_min": 0}], [0.1, 0.01]) == []
    assert "expected eta_min_ratio" in check_ratios({**COSINE, "eta_min": 1e-5}, [0.1, 0.01])[0]


def test_an_optimizer_that_moves_nothing():
    frozen, free = torch.nn.Parameter(torch.zeros(1), False), torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(ConfigError, match="1 are frozen, 1 have the learning rate 0"):
        require_movement([{"params": [frozen], "lr": 1.0}, {"params": [free], "lr": 0.0}])
    require_movement([{"params": [frozen, free], "lr": 1.0}])


def test_a_run_is_refused_or_warned_before_it_starts(tmp_path):
    still = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.0}}
    with pytest.raises(ConfigError, match="no parameter would move"):
        build_runner(toy_config(tmp_path / "a", optim_wrapper=still)).train()
    said = []
    optimizer = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.01}, "accumulative_counts": 9}
    train = {"max_epochs": 2, "val_begin": 5}
    runner = build_runner(toy_config(tmp_path / "b", train_cfg=train, optim_wrapper=optimizer))
    runner.logger.warning = said.append
    runner.train()
    text = "\n".join(said)
    assert "goes to iteration 16 and the training ends at 8" in text
    assert "accumulative_counts is 9 in 8 steps" in text
    assert "val_begin is 5 and training ends at 2" in text


@pytest.mark.parametrize("path", [p for p in RECIPES if "param_scheduler" in Config.fromfile(ROOT / p)])
def test_ratios_hold_at_every_step_of_every_recipe(path):
    cfg = Config.fromfile(ROOT / path)
    if "/mmdet3d/" in path and "eta_min=" in cfg.pretty_text:
        pytest.skip("the schedule is mmdet3d's own")
    epochs, length = cfg.train_cfg.max_epochs, 40
    assert not check_schedules(cfg.param_scheduler, epochs, epochs * length)
    parts = {name: torch.nn.Linear(1, 1) for name in ("whole", "tenth", "still")}
    keys = {"tenth": {"lr_mult": 0.1}, "still": {"lr_mult": 0.0, "decay_mult": 0.0}}
    wrapper = build_optim_wrapper(
        torch.nn.ModuleDict(parts), {**cfg.optim_wrapper, "paramwise_cfg": {"custom_keys": keys}}
    )
    schedulers = []
    for part in cfg.param_scheduler:
        part = {"end": epochs if part.get("by_epoch", True) else epochs * length, **part}
        cls = PARAM_SCHEDULERS.get(part.pop("type"))
        make = cls.build_iter_from_epoch if part.pop("convert_to_iter_based", False) else cls
        extra = {"epoch_length": length} if make is not cls else {}
        schedulers.append(make(wrapper, **part, **extra))
    before = parts["still"].weight.clone()
    for _ in range(epochs * length):
        rates = {name: g["lr"] for name in parts for g in wrapper.param_groups if g["params"][0] is parts[name].weight}
        assert rates["tenth"] == pytest.approx(0.1 * rates["whole"])
        assert rates["still"] == 0
        parts["still"].weight.grad = torch.ones(1, 1)
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert torch.equal(parts["still"].weight, before)
    assert rates["whole"] < 0.05 * cfg.optim_wrapper.optimizer.lr  # and it came down

"""Weights by iteration: drawn values, what they multiply, and a run that is resumed."""

import copy

import pytest
import torch
from distill_fakes import FakeDetector
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from bevkd.distill import Distiller, LiveTeacher, UniDistill
from bevkd.distill.schedule import Schedule
from bevkd.errors import ConfigError


@pytest.fixture(autouse=True)
def no_runner():
    """No iteration of a run that an earlier test led."""
    MessageHub.get_instance("bevkd_schedule_test")
    yield
    MessageHub._instance_dict.pop("bevkd_schedule_test")


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0, 0.5)], {0: 0.5, 9: 0.5}),
        ([(0, 0.0), (4, 1.0)], {0: 0.0, 1: 0.25, 3: 0.75, 4: 1.0, 99: 1.0}),
        ([(10, 1.0), (20, 0.1)], {0: 1.0, 10: 1.0, 15: 0.55, 20: 0.1, 30: 0.1}),
        ([(0, 0.0), (2, 1.0), (4, 1.0), (6, 0.0)], {1: 0.5, 2: 1.0, 3: 1.0, 5: 0.5, 7: 0.0}),
    ],
)
def test_constant_ramp_decay_and_all_of_them(points, expected):
    schedule = Schedule(points)
    assert {at: schedule(at) for at in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([], r"is \[\], expected \[\(iteration, factor\)"),
        (3, "is 3, expected"),
        ([(0, 1, 2)], "expected"),
        ([(5, 1.0), (5, 0.0)], r"iterations \[5, 5\], expected them to grow"),
        ([(0, -1.0)], r"factors \[-1.0\], expected none negative, all finite"),
        ([(0, float("nan"))], "factors"),
    ],
)
def test_bad_points_are_refused(points, found):
    with pytest.raises(ConfigError, match=found):
        Schedule(points)


def distiller(schedules):
    torch.manual_seed(0)
    methods = {"first": UniDistill(response=0), "second": UniDistill(feature=0)}
    return Distiller(FakeDetector(), LiveTeacher(FakeDetector()), methods, schedules=schedules)


def test_methods_and_parts_are_scaled_and_logged(batch):
    plain = distiller(None)(*batch, mode="loss")
    model = distiller({"first": [(0, 0.0), (4, 1.0)], "first/relation": [(0, 0.5)], "second/response": [(0, 0.1)]})
    for step in range(3):
        losses = model(*batch, mode="loss")
        ramp = step / 4
        torch.testing.assert_close(losses["kd/first/feature"], ramp * plain["kd/first/feature"])
        torch.testing.assert_close(losses["kd/first/relation"], ramp * 0.5 * plain["kd/first/relation"])
        torch.testing.assert_close(losses["kd/second/response"], 0.1 * plain["kd/second/response"])
        torch.testing.assert_close(losses["kd/second/relation"], plain["kd/second/relation"])
        infos = {name: value for name, value in losses.items() if name.startswith("info/")}
        assert infos == {
            "info/schedule/first": ramp,
            "info/schedule/first/relation": 0.5,
            "info/schedule/second/response": 0.1,
        }
    total, log = model.parse_losses(losses)
    assert total == sum(v for k, v in log.items() if k.startswith("kd/") or k == "task0.loss_heatmap")


def test_validation_losses_do_not_count_as_steps(batch):
    model = distiller({"first": [(0, 0.0), (4, 1.0)]})
    model(*batch, mode="loss")
    model.eval()
    assert [model(*batch, mode="loss")["info/schedule/first"] for _ in range(2)] == [0.25, 0.25]


def test_schedules_that_fit_nothing_are_refused(batch):
    with pytest.raises(ConfigError, match=r"schedules name 'frist/x'.*nearest: first"):
        distiller({"frist/x": [(0, 1.0)]})
    with pytest.raises(ConfigError, match="'first/relatoin', which 'first' does not return; nearest: relation"):
        distiller({"first/relatoin": [(0, 1.0)]})(*batch, mode="loss")


def run(batch, folder, until, resume=False):
    """Train for ``until`` steps under mmengine's own runner; the first schedule's factor at every step."""
    seen = []

    class Seeing(Distiller):
        def forward(self, *args, **kwargs):
            losses = super().forward(*args, **kwargs)
            seen.append(losses["info/schedule/first"])
            return losses

    torch.manual_seed(0)
    teacher = LiveTeacher(FakeDetector())
    model = Seeing(FakeDetector(), teacher, {"first": UniDistill()}, schedules={"first": [(0, 0.0), (8, 1.0)]})
    loader = DataLoader([0] * 2, collate_fn=lambda _: {"inputs": batch[0], "data_samples": copy.copy(batch[1])})
    Runner(
        model,
        work_dir=str(folder),
        train_dataloader=loader,
        train_cfg={"by_epoch": False, "max_iters": until},
        optim_wrapper=OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3)),
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 2, "by_epoch": False}},
        resume=resume,
        experiment_name=f"schedule_{until}",
        log_level="ERROR",
        default_scope="mmdet3d",
        cfg=Config(),
    ).train()
    return seen


def test_a_resumed_run_goes_on_where_it_stopped(batch, tmp_path):
    from bevkd.structures.checkpoint import SAFE_GLOBALS

    assert run(batch, tmp_path, 4) == [0.0, 0.125, 0.25, 0.375]
    with torch.serialization.safe_globals(SAFE_GLOBALS):
        assert run(batch, tmp_path, 6, resume=True) == [0.5, 0.625]
    for name in ("schedule_4", "schedule_6"):
        MessageHub._instance_dict.pop(name, None)

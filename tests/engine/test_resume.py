"""A killed run goes on exactly where it stopped: weights, losses, learning rates, with dropout and augmentation."""

import shutil
import signal

import pytest
import torch

from bevkd.engine import build_runner
from bevkd.engine import checkpoint as files
from bevkd.engine.config import apply_flags
from bevkd.errors import CheckpointError, ConfigError
from tests.engine.toy import ToyModel, read_log, toy_config, toy_loader

ITERS = {"by_epoch": False, "max_iters": 14, "val_interval": 5}
SAVE_ITERS = {"checkpoint": {"type": "CheckpointHook", "interval": 3, "by_epoch": False, "max_keep_ckpts": 2}}


def train(work_dir, resume=False, load_from=None, **changes) -> None:
    build_runner(toy_config(work_dir, resume=resume, load_from=load_from, **changes)).train()


def final_state(work_dir) -> dict:
    path = files.find_latest(work_dir)
    return files.load_checkpoint(path)


def assert_same_run(broken, whole) -> None:
    assert read_log(broken) == read_log(whole)
    ours, theirs = final_state(broken), final_state(whole)
    for key, value in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][key], value), key
    for key, state in theirs["optimizer"]["state"].items():
        assert all(torch.equal(ours["optimizer"]["state"][key][k], v) for k, v in state.items())
    assert ours["param_schedulers"] == theirs["param_schedulers"]


@pytest.mark.parametrize(
    ("at", "kill", "in_val", "workers"),
    [
        (1, 15, False, 0),
        (6, 15, False, 0),
        (8, 15, False, 0),
        (8, 15, True, 0),
        (6, 9, False, 0),
        (8, 9, True, 0),
        (6, 15, False, 2),
        (8, 9, True, 2),
    ],
)
def test_killed_epochs_go_on_bit_exactly(tmp_path, in_child, at, kill, in_val, workers):
    loader = toy_loader(shuffle=True, num_workers=workers)
    train(tmp_path / "whole", train_dataloader=loader)
    hook = {"type": "LossLog", "at": at, "kill": kill, "in_val": in_val}

    def broken():
        train(tmp_path / "broken", train_dataloader=loader, custom_hooks=[hook])

    assert in_child(broken) == (-9 if kill == 9 else 143)
    train(tmp_path / "broken", resume=True, train_dataloader=loader)
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.parametrize(
    ("sampler", "at", "kill"),
    [("DefaultSampler", 7, 9), ("DefaultSampler", 7, 15), ("InfiniteSampler", 7, 15), ("InfiniteSampler", 12, 9)],
)
def test_killed_iterations_go_on_bit_exactly(tmp_path, in_child, at, kill, sampler):
    loader = {**toy_loader(shuffle=True), "sampler": {"type": sampler, "shuffle": True}}
    changes = {"train_cfg": ITERS, "default_hooks": SAVE_ITERS, "train_dataloader": loader}
    train(tmp_path / "whole", **changes)

    def broken():
        train(tmp_path / "broken", **changes, custom_hooks=[{"type": "LossLog", "at": at, "kill": kill}])

    assert in_child(broken) == (-9 if kill == 9 else 143)
    train(tmp_path / "broken", resume=True, **changes)
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


def test_the_number_of_workers_changes_nothing(tmp_path):
    train(tmp_path / "none")
    train(tmp_path / "two", train_dataloader=toy_loader(shuffle=True, num_workers=2))
    assert read_log(tmp_path / "none") == read_log(tmp_path / "two")


def test_moving_average_weights_resume(tmp_path):
    changes = {"custom_hooks": [{"type": "LossLog"}, {"type": "EMAHook", "momentum": 0.1}]}
    train(tmp_path, **changes)
    whole, log = final_state(tmp_path), read_log(tmp_path)
    train(tmp_path, resume=True, load_from=str(tmp_path / "epoch_2.pth"), **changes)
    again = final_state(tmp_path)
    assert read_log(tmp_path) == log
    for part in ("state_dict", "ema_state_dict"):
        assert all(torch.equal(again[part][k], v) for k, v in whole[part].items())


def test_a_run_without_a_seed_keeps_the_one_it_drew(tmp_path):
    train(tmp_path, randomness={"seed": None})
    log = read_log(tmp_path)
    train(tmp_path, resume=True, load_from=str(tmp_path / "epoch_1.pth"), randomness={"seed": None})
    assert read_log(tmp_path) == log


def test_more_epochs_keep_the_schedule_that_began(tmp_path, capsys):
    train(tmp_path, train_cfg={"by_epoch": True, "max_epochs": 2}, param_scheduler=_halving(2))
    last = read_log(tmp_path)[8][1]
    train(tmp_path, resume=True, train_cfg={"by_epoch": True, "max_epochs": 4}, param_scheduler=_halving(4))
    rates = [rate for _, rate in read_log(tmp_path).values()]
    # Two epochs of decay from 0.01, then the rate that the schedule ended on; the four-epoch schedule is not taken up.
    assert last == "0.00500000"
    assert rates[8:] == ["0.00250000"] * 8
    assert "-train_cfg = dict(by_epoch=True, max_epochs=2)" in capsys.readouterr().out


def _halving(epochs: int) -> list:
    return [{"type": "ExponentialLR", "gamma": 0.5, "begin": 0, "end": epochs + 1, "by_epoch": True}]


def test_auto_resume_without_a_checkpoint_starts_anew(tmp_path, capsys):
    train(tmp_path, resume=True)
    assert len(read_log(tmp_path)) == 16
    assert "training starts anew" in capsys.readouterr().out


def test_weights_alone_are_no_training_state(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": ToyModel().state_dict(), "meta": {}}, path)
    with pytest.raises(CheckpointError, match="holds weights only, expected a training state"):
        train(tmp_path / "run", resume=True, load_from=str(path))


def test_another_number_of_processes_is_refused(tmp_path):
    train(tmp_path)
    found = final_state(tmp_path)
    found["meta"]["world_size"] = 2
    files.save_checkpoint(found, tmp_path / "two.pth")
    with pytest.raises(ConfigError, match="written by 2 processes and this run has 1"):
        train(tmp_path / "run", resume=True, load_from=str(tmp_path / "two.pth"))


@pytest.mark.parametrize(("sha", "fits"), [("a" * 64, True), ("b" * 64, False)])
def test_another_teacher_is_refused(tmp_path, monkeypatch, sha, fits):
    monkeypatch.setattr(
        ToyModel, "teacher_info", lambda self: {"checkpoint": "old.pth", "sha256": "a" * 64}, raising=False
    )
    train(tmp_path)
    assert final_state(tmp_path)["meta"]["teacher"] == {"checkpoint": "old.pth", "sha256": "a" * 64}
    monkeypatch.setattr(ToyModel, "teacher_info", lambda self: {"checkpoint": "new.pth", "sha256": sha}, raising=False)
    if fits:
        train(tmp_path, resume=True)
    else:
        with pytest.raises(ConfigError, match=r"old\.pth \(sha256 aaaaaaaaaaaa\).*new\.pth \(sha256 bbbbbbbbbbbb\)"):
            train(tmp_path, resume=True)


def test_a_teacher_with_other_settings_is_refused(tmp_path, monkeypatch):
    def teach(voxels):
        settings = {"lidar_encoder": {"max_points": voxels}, "type": "Teacher"}
        info = {"config": "t.py", "checkpoint": "t.pth", "sha256": "a" * 64, "settings": settings}
        monkeypatch.setattr(ToyModel, "teacher_info", lambda self: info, raising=False)

    teach(16)
    train(tmp_path)
    teach(20)
    with pytest.raises(
        ConfigError,
        match=r"had model.lidar_encoder.max_points 16 and that of this run has 20 \(t.py\), expected the same",
    ):
        train(tmp_path, resume=True)
    teach(16)
    train(tmp_path, resume=True)


def test_a_resume_without_a_checkpoint_starts_from_load_from(tmp_path):
    weights = ToyModel().state_dict()
    torch.save(weights, tmp_path / "start.pth")
    quiet = {"optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 1e-12}}}
    for given in (str(tmp_path / "start.pth"), {"checkpoint": str(tmp_path / "start.pth"), "parts": ["net"]}):
        cfg = toy_config(tmp_path / "run", load_from=given, **quiet)
        apply_flags(cfg, resume="auto")
        build_runner(cfg).train()
        assert torch.allclose(final_state(tmp_path / "run")["state_dict"]["net.3.weight"], weights["net.3.weight"])
        shutil.rmtree(tmp_path / "run")


def test_a_config_inside_a_checkpoint_is_never_run(tmp_path):
    train(tmp_path)
    found = final_state(tmp_path)
    found["meta"]["config"] = f"open({str(tmp_path / 'marker')!r}, 'w')"
    files.save_checkpoint(found, tmp_path / "evil.pth")
    train(tmp_path, resume=True, load_from=str(tmp_path / "evil.pth"))
    assert not (tmp_path / "marker").exists()


def test_load_from_is_strict(tmp_path):
    path = tmp_path / "weights.pth"
    state = ToyModel().state_dict()
    state["extra"] = state.pop("net.0.bias")
    torch.save({"state_dict": state}, path)
    with pytest.raises(CheckpointError, match=r"1 missing \(net\.0\.bias\); 1 unexpected \(extra\)"):
        train(tmp_path / "run", load_from=str(path))


def test_sigterm_leaves_one_checkpoint_that_is_cleared_later(tmp_path, in_child):
    def broken():
        train(tmp_path, custom_hooks=[{"type": "LossLog", "at": 6, "kill": signal.SIGTERM}])

    assert in_child(broken) == 143
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "stopped_iter_6.pth")
    train(tmp_path, resume=True)
    assert not list(tmp_path.glob("stopped_*"))

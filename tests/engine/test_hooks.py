"""What a run says and writes beside its checkpoints."""

import json
import logging

import pytest

from bevkd.engine import build_runner
from bevkd.engine.hooks import NonFiniteLossError
from bevkd.engine.workers import WorkerError
from bevkd.errors import ConfigError
from tests.engine.toy import toy_config, toy_loader


def test_a_nan_loss_stops_the_run_and_names_the_samples(tmp_path):
    cfg = toy_config(tmp_path, train_dataloader=toy_loader(shuffle=False, poison=7))
    with pytest.raises(NonFiniteLossError, match=r"step 3: loss is nan.*token6, token7, token8"):
        build_runner(cfg).train()
    report = json.loads((tmp_path / "nonfinite_loss.json").read_text())
    assert report == {"iter": 3, "epoch": 1, "losses": {"loss": "nan"}, "samples": ["token6", "token7", "token8"]}
    assert not list(tmp_path.glob("*.pth"))


def test_the_summary_holds_step_times_losses_and_metrics(tmp_path):
    build_runner(toy_config(tmp_path)).train()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == summary["total_iters"] == 16
    assert 0 < summary["median_data_s"] < summary["median_step_s"] < summary["wall_s"]
    assert set(summary["losses"]) == {"loss"}
    assert set(summary["metrics"]) == {"mean"}


def test_scalars_go_to_json_and_tensorboard(tmp_path):
    build_runner(toy_config(tmp_path, default_hooks={"logger": {"type": "LoggerHook", "interval": 1}})).train()
    scalars = [json.loads(line) for line in next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    assert [s["step"] for s in scalars if "loss" in s] == list(range(1, 17))
    assert list(tmp_path.glob("*/vis_data/events.out.tfevents.*"))


def test_the_console_is_short_and_the_log_file_is_not(tmp_path, capsys):
    build_runner(toy_config(tmp_path)).train()
    shown = capsys.readouterr().out
    assert "eta:" in shown
    assert "System environment" not in shown
    assert len(shown.splitlines()) < 16
    assert "System environment" in next(tmp_path.glob("*/*.log")).read_text()


def test_a_terminal_gets_a_bar_and_its_log_lines_back(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    runner = build_runner(toy_config(tmp_path))
    runner.train()
    shown = capsys.readouterr().out
    assert "16/16" in shown
    assert "Epoch(train)" not in shown
    assert "Epoch(train)" in next(tmp_path.glob("*/*.log")).read_text()
    assert {h.level for h in runner.logger.handlers if type(h) is logging.StreamHandler} == {logging.INFO}


def test_mixed_precision_without_a_gpu_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    cfg = toy_config(tmp_path)
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    with pytest.raises(ConfigError, match="needs a GPU, and torch sees none"):
        build_runner(cfg)


def test_a_killed_data_worker_ends_the_run_and_is_named(tmp_path):
    cfg = toy_config(tmp_path, train_dataloader=toy_loader(shuffle=False, num_workers=2, deadly=7))
    with pytest.raises(WorkerError, match=r"^data worker \d+ was killed by signal: Killed"):
        build_runner(cfg).train()

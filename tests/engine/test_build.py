"""What a config gets before it is built, and what is refused there."""

import errno
import io
import logging
import pickle
import subprocess
import sys

import pytest
from mmengine.config import Config

from bevkd.engine import build_runner
from bevkd.errors import DataError
from tests.engine.test_checkpoint import Evil
from tests.engine.toy import toy_config


def test_every_run_saves_safely_stops_on_nan_and_writes_tensorboard(tmp_path):
    cfg = toy_config(tmp_path, default_hooks={}, visualizer={"type": "Visualizer", "name": "fixed", "vis_backends": []})
    runner = build_runner(cfg)
    hooks = {type(hook).__name__ for hook in runner.hooks}
    ours = {"AtomicCheckpointHook", "NeutralValidationHook", "NonFiniteLossHook", "SummaryHook", "TerminationHook"}
    assert ours <= hooks
    assert set(runner.visualizer._vis_backends) == {"LocalVisBackend", "TensorboardVisBackend"}
    assert cfg.visualizer == {"type": "Visualizer", "name": "fixed", "vis_backends": []}


def test_two_runs_in_one_process_share_nothing(tmp_path):
    one, two = (build_runner(toy_config(tmp_path / name)) for name in "ab")
    assert one.visualizer is not two.visualizer
    assert one.message_hub is not two.message_hub
    assert one.logger is not two.logger


def test_code_in_an_info_file_is_refused_and_not_run(tmp_path):
    (tmp_path / "infos.pkl").write_bytes(pickle.dumps({"data_list": [Evil(tmp_path / "marker")]}))
    dataset = {"type": "NuScenesDataset", "data_root": str(tmp_path), "ann_file": "infos.pkl"}
    loader = {
        "batch_size": 1,
        "sampler": {"type": "DefaultSampler"},
        "dataset": {"type": "Wrapped", "dataset": dataset},
    }
    with pytest.raises(DataError, match=r"infos\.pkl"):
        build_runner(toy_config(tmp_path / "run", train_dataloader=loader))
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(("shared", "warned"), [("True", True), ("False", False)])
def test_restarts_over_a_shared_store_are_warned_of(tmp_path, monkeypatch, capsys, shared, warned):
    for name, value in {"MAX_RESTARTS": "1", "USE_AGENT_STORE": shared}.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    monkeypatch.setenv("RANK", "0")
    build_runner(toy_config(tmp_path))
    assert ("expected TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in capsys.readouterr().err) == warned


def test_the_run_s_config_is_kept_but_not_over_its_source(tmp_path):
    toy_config("unset").dump(tmp_path / "toy.py")
    text = (tmp_path / "toy.py").read_text()
    for work_dir in (tmp_path, tmp_path / "run"):
        cfg = Config.fromfile(tmp_path / "toy.py")
        cfg.work_dir = str(work_dir)
        build_runner(cfg)
    assert (tmp_path / "toy.py").read_text() == text
    assert Config.fromfile(tmp_path / "run" / "toy.py").work_dir == str(tmp_path / "run")


def test_a_full_disk_is_known_before_anything_is_built(tmp_path):
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({1 << 15}, {1 << 15}))"
    code = f"{limit}; from bevkd.engine.build import require_writable; require_writable({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert "ConfigError: work_dir" in done.stderr, done.stderr
    assert done.stderr.strip().endswith("File too large; expected a writable folder with room for 65536 bytes")
    assert not list(tmp_path.iterdir())


def test_a_log_line_without_room_stops_the_run(tmp_path, monkeypatch):
    runner = build_runner(toy_config(tmp_path))
    handler = next(h for h in runner.logger.handlers if isinstance(h, logging.FileHandler))

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(handler, "stream", Full())  # for this test alone: the logger outlives it
    with pytest.raises(OSError, match="No space left") as caught:
        runner.train()
    assert caught.value.filename == str(tmp_path)

"""Two processes over gloo: the same steps after a kill, and refusals that reach the exit code."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.toy import read_log, toy_config

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def launch(config, work_dir, *words):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [
        str(REPOSITORY / "tools" / "train.py"),
        str(config),
        "--work-dir",
        str(work_dir),
        "--launcher",
        "pytorch",
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    run = subprocess.Popen([*command, *words], env=environment, start_new_session=True, **pipes)
    try:
        out, _ = run.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        pytest.fail(f"the processes hang: {run.communicate()[0]}")
    return run.returncode, out


def write_config(path, **changes):
    cfg = toy_config("unset", find_unused_parameters=False, **changes)
    cfg.pop("work_dir")
    cfg.dump(path)
    return path


def test_two_processes_go_on_bit_exactly_after_one_is_killed(tmp_path):
    whole = write_config(tmp_path / "whole.py")
    killed = write_config(tmp_path / "killed.py", custom_hooks=[{"type": "LossLog", "at": 5, "kill": 9}])
    code, out = launch(whole, tmp_path / "a")
    assert code == 0, out
    assert launch(killed, tmp_path / "b")[0] != 0
    code, out = launch(whole, tmp_path / "b", "--resume")
    assert code == 0, out
    assert read_log(tmp_path / "a") == read_log(tmp_path / "b")
    assert json.loads((tmp_path / "b" / "summary.json").read_text())["total_iters"] == 8


def test_sigterm_stops_both_after_the_same_step(tmp_path):
    config = write_config(tmp_path / "c.py", custom_hooks=[{"type": "LossLog", "at": 3, "kill": 15}])
    code, out = launch(config, tmp_path / "run")
    assert code != 0
    assert "exitcode  : 143" in out, out
    assert (tmp_path / "run" / "stopped_iter_3.pth").exists()

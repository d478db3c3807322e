"""Two processes, each with gradients of its own in the middle of an accumulation: they resume bit for bit."""

import os

import pytest
import torch

from bevkd.engine import build_runner
from bevkd.engine import checkpoint as files
from tests.engine.toy import read_log, toy_config
from tests.two_ranks import run_ranks

pytestmark = pytest.mark.slow


def _train(rank, folder, changes):
    os.environ["LOCAL_RANK"] = str(rank)
    optimizer = {"type": "AdamW", "lr": 0.01}
    changes = {"optim_wrapper": {"type": "OptimWrapper", "optimizer": optimizer, "accumulative_counts": 3}, **changes}
    build_runner(toy_config(folder, launcher="pytorch", log_level="ERROR", **changes)).train()


def final_state(work_dir):
    return files.load_checkpoint(files.find_latest(work_dir))


@pytest.mark.parametrize("changes", [{}, {"fsdp": {"modules": ["net.0"]}}], ids=["ddp", "fsdp"])
def test_gradients_of_every_process_resume(tmp_path, changes):
    run = tmp_path / "run"
    run_ranks(_train, tmp_path / "first", run, changes)
    whole, log = final_state(run), read_log(run)
    first = files.load_checkpoint(run / "epoch_1.pth")["accumulation"]
    assert first["counts"] == {"optimizer": (2, 3)}
    one, other = first["gradients"]
    assert one.keys() == other.keys()
    assert not torch.equal(one["net.3.weight"], other["net.3.weight"])
    changes = {**changes, "resume": True, "load_from": str(run / "epoch_1.pth")}
    run_ranks(_train, tmp_path / "again", run, changes)
    again = final_state(run)
    assert all(torch.equal(again["state_dict"][key], value) for key, value in whole["state_dict"].items())
    assert read_log(run) == log

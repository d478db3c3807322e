"""One of two ranks is killed, early, late or while it validates: nobody hangs, and a resume goes on bit-exactly."""

import pytest
import torch

from bevkd.engine import build_runner
from bevkd.engine import checkpoint as files
from tests.engine.toy import read_log, toy_config
from tests.two_ranks import rank_exits, run_ranks

pytestmark = pytest.mark.slow


def _train(rank, folder, hook, resume):
    hooks = [{"type": "LossLog", **hook}]
    build_runner(toy_config(folder, launcher="pytorch", resume=resume, custom_hooks=hooks, log_level="ERROR")).train()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run_ranks(_train, folder / "ranks", folder / "run", {}, False)
    return folder / "run"


# Two steps an epoch, validation after the second and fourth.
@pytest.mark.parametrize(("at", "in_val"), [(1, False), (4, False), (5, False), (4, True)])
def test_a_resume_goes_on_bit_exactly(tmp_path, whole, at, in_val):
    run, hook = tmp_path / "run", {"at": at, "in_val": in_val, "rank": 1}
    first, killed = rank_exits(_train, tmp_path / "first", run, hook, False, seconds=60)
    assert killed == -9
    assert first == 1  # the rank that lost its partner says so and leaves
    run_ranks(_train, tmp_path / "second", run, {}, True)
    for name in ("losses.txt", "losses_1.txt"):
        assert read_log(run, name) == read_log(whole, name)
    ours, theirs = (files.load_checkpoint(files.find_latest(folder)) for folder in (run, whole))
    assert all(torch.equal(ours["state_dict"][key], value) for key, value in theirs["state_dict"].items())
    for index, entry in theirs["optimizer"]["state"].items():
        assert all(torch.equal(ours["optimizer"]["state"][index][key], value) for key, value in entry.items())

"""Two processes over gloo, as torchrun starts them: after a kill, an error or a SIGTERM, and what they score."""

import json
import os
import sys

import pytest
import torch

from bevkd.engine import checkpoint as files
from tests.engine.toy import read_log, toy_config, toy_loader
from tests.two_ranks import REPOSITORY, call, torchrun

pytestmark = pytest.mark.slow


OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def train(config, work_dir, *words, **options):
    return torchrun("train", config, "--work-dir", work_dir, *words, **options)


def write_config(path, **changes):
    still = toy_loader(shuffle=False, noise=False)
    cfg = toy_config("unset", **{"val_dataloader": still, "test_dataloader": still, **changes})
    cfg.pop("work_dir")
    cfg.dump(path)
    return path


def ending(path, **hook):
    return write_config(path, custom_hooks=[{"type": "LossLog", **hook}])


def final_state(work_dir):
    return files.load_checkpoint(files.find_latest(work_dir))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbs: its config and its work folder."""
    folder = tmp_path_factory.mktemp("whole")
    config = write_config(folder / "toy.py")
    code, out = train(config, folder / "run")
    assert code == 0, out
    return config, folder / "run"


def assert_same_run(broken, undisturbed):
    for name in ("losses.txt", "losses_1.txt"):
        assert read_log(broken, name) == read_log(undisturbed, name)
    ours, theirs = final_state(broken), final_state(undisturbed)
    for key, value in theirs["state_dict"].items():  # running statistics too
        assert torch.equal(ours["state_dict"][key], value), key
    assert json.loads((broken / "summary.json").read_text())["total_iters"] == 8


def test_a_killed_rank_ends_the_run_and_a_resume_goes_on_bit_exactly(tmp_path, whole):
    loader = toy_loader(shuffle=True, num_workers=2)
    killed = write_config(
        tmp_path / "killed.py",
        train_dataloader=loader,
        custom_hooks=[{"type": "LossLog", "at": 5, "kill": 9, "rank": 1}],
    )
    code, out = train(killed, tmp_path / "run")
    assert code != 0
    assert "SIGKILL" in out
    code, out = train(whole[0], tmp_path / "run", "--resume")
    assert code == 0, out
    assert_same_run(tmp_path / "run", whole[1])


def test_torchrun_restarts_after_a_kill_and_training_goes_on_bit_exactly(tmp_path, whole):
    config = ending(tmp_path / "killed.py", at=5, kill=9, rank=1)
    code, out = train(config, tmp_path / "run", "--resume", options=["--max-restarts", "1"], **OWN_STORE)
    assert code == 0, out
    assert "TORCH_DISABLE" not in out
    assert "training starts anew" in out  # the first time there was nothing to resume from
    assert "weights loaded from" in out
    assert_same_run(tmp_path / "run", whole[1])


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_failure_is_named_with_its_traceback(tmp_path, rank):
    code, out = train(ending(tmp_path / "c.py", at=3, kill=0, rank=rank), tmp_path / "run")
    assert code != 0
    summary = out[out.index("Root Cause") :]
    assert f"(local_rank: {rank})" in summary
    assert "RuntimeError: the first failure" in summary
    assert "in after_train_iter" in summary
    assert not list((tmp_path / "run").glob(".*.partial"))


def test_bad_input_of_one_rank_names_its_samples(tmp_path):
    loader = toy_loader(shuffle=False, poison=4)  # rank 0 loads the even samples, rank 1 the odd ones
    code, out = train(write_config(tmp_path / "c.py", train_dataloader=loader), tmp_path / "run")
    assert code != 0
    assert "error: step 1: loss is nan" in out
    assert "token4" in out[out.index("Root Cause") :]
    assert not list((tmp_path / "run").glob("*.pth"))


def test_sigterm_stops_both_after_the_same_step(tmp_path):
    code, out = train(ending(tmp_path / "c.py", at=3, kill=15), tmp_path / "run")
    assert code != 0
    assert "exitcode  : 143" in out, out
    assert (tmp_path / "run" / "stopped_iter_3.pth").exists()


def test_a_second_run_in_the_folder_is_refused_on_every_rank(tmp_path, whole):
    from bevkd.engine.lock import WorkDirLock

    lock = WorkDirLock(tmp_path)
    lock.acquire()
    code, out = train(whole[0], tmp_path)
    lock.release()
    assert code != 0
    assert f"in use by process {os.getpid()}" in out
    assert not list(tmp_path.glob("*.pth"))


def test_two_processes_score_what_one_scores(tmp_path, whole):
    # Eleven samples: the last batch of one rank is filled up with a sample that must not count twice.
    config = write_config(tmp_path / "c.py", test_dataloader=toy_loader(shuffle=False, length=11, noise=False))
    checkpoint = files.find_latest(whole[1])
    code, out = torchrun("test", config, checkpoint, "--work-dir", tmp_path / "two")
    assert code == 0, out
    one = ("test.py", config, checkpoint, "--work-dir", tmp_path / "one")
    assert call(sys.executable, REPOSITORY / "tools" / one[0], *one[1:])[0] == 0
    scores = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("one", "two")]
    assert scores[1] == pytest.approx(scores[0], abs=1e-6)


def test_validation_during_training_scores_the_model_that_is_saved(tmp_path, whole):
    code, out = torchrun("test", whole[0], files.find_latest(whole[1]), "--work-dir", tmp_path)
    assert code == 0, out
    scored = json.loads((tmp_path / "metrics.json").read_text())
    assert json.loads((whole[1] / "summary.json").read_text())["metrics"] == pytest.approx(scored, abs=1e-6)


def test_ranks_see_other_samples_and_draw_other_numbers(whole):
    first, second = (read_log(whole[1], name) for name in ("losses.txt", "losses_1.txt"))
    assert not {loss for loss, _ in first.values()} & {loss for loss, _ in second.values()}
    states = final_state(whole[1])["random_state"]
    assert len(states) == 2
    assert not torch.equal(states[0]["torch"], states[1]["torch"])


FAKE_SLURM = {
    "scontrol": "echo localhost",
    "srun": 'for node in 1 2; do "$@" & pids="${pids:-} $!"; done; for pid in $pids; do wait "$pid"; done',
}


def test_the_slurm_script_trains_on_two_nodes(tmp_path, whole):
    """Each node is a torchrun of its own here, and the two meet at the first one's address."""
    for name, body in FAKE_SLURM.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nset -e\n{body}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "two"}
    variables = {**job, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable}
    script = REPOSITORY / "tools" / "slurm_train.sh"
    code, out = call("sh", script, whole[0], "--work-dir", tmp_path / "run", **variables)
    assert code == 0, out
    assert_same_run(tmp_path / "run", whole[1])
    code, out = call("sh", script, **variables)
    assert (code, out) == (2, "error: no config, expected: sbatch --nodes N tools/slurm_train.sh CONFIG [flags]\n")

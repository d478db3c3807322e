"""Comparisons of toy trainings: finished ones are not repeated, killed ones go on, failed ones are named."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config

from bevkd.engine.compare import read_grid, require_unchanged, run_grid, summarise
from bevkd.engine.compare import run as run_module
from bevkd.engine.compare.job import run_job, write_job
from bevkd.engine.compare.run import JobError
from bevkd.engine.lock import WorkDirLock
from bevkd.errors import ConfigError, run_tool
from tests.engine.toy import read_log, toy_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)  # where the jobs' processes find tests.engine.toy
    monkeypatch.setattr(run_module, "_POLL", 0.05)


class Forked:
    """A job in a forked process, with the parts of subprocess.Popen that matter; starting python anew takes seconds."""

    def __init__(self, job, log):
        self.process = multiprocessing.get_context("fork").Process(target=self._do, args=(job.work_dir, log))
        self.process.start()
        self.terminate = self.process.terminate

    @staticmethod
    def _do(folder, log):
        sys.stdout = sys.stderr = log
        run_tool(lambda: run_job(folder) and 0)

    def poll(self):
        return self.process.exitcode

    returncode = property(poll)

    def wait(self):
        self.process.join()


@pytest.fixture
def forked(monkeypatch):
    """Jobs as forks of this process; the names of those that were started."""
    started = []

    def start(job, threads, log):
        write_job(job)
        started.append(job.name)
        return Forked(job, log)

    monkeypatch.setattr(run_module, "start_job", start)
    return started


@pytest.fixture
def grid_file(tmp_path):
    def write(name="grid", student_hooks=(), **changes):
        toy_config(tmp_path).dump(tmp_path / "toy.py")
        hooks = [{"type": "LossLog"}, *student_hooks]
        toy_config(tmp_path, custom_hooks=hooks).dump(tmp_path / "student.py")
        arm = {"path": "toy to toy", "method": "copy", "config": str(tmp_path / "toy.py"), "teacher": "big",
               "student": "small", "teacher_key": "load_from"}  # fmt: skip
        grid = {
            "seeds": (0,),
            "teachers": {"big": {"config": str(tmp_path / "toy.py"), "seed": 7}},
            "students": {"small": {"config": str(tmp_path / "student.py")}},
            "arms": {"copy": {**arm, **changes}},
            "metrics": ("mean",),
        }
        Config(grid).dump(tmp_path / f"{name}.py")
        return tmp_path / f"{name}.py"

    return write


def test_a_comparison_from_nothing_and_again(grid_file, tmp_path, forked, capsys):
    grid, out, reports = read_grid(grid_file()), tmp_path / "out", []
    run_grid(grid, out, jobs=2, threads=1, report=lambda: reports.append(summarise(grid, out)["jobs"]["done"]))
    assert reports == sorted(reports)
    assert (reports[0], reports[-1]) == (0, 3)
    found = summarise(grid, out)
    arm = found["arms"]["copy"]
    assert arm["seeds"] == [0]
    scores = {role: json.loads((out / place / "result.json").read_text())["seen"]["mean"]
              for role, place in (("with", "arms/copy/seed0"), ("without", "students/small/seed0"))}  # fmt: skip
    assert arm["seen"]["mean"]["gain"] == pytest.approx(scores["with"] - scores["without"])
    assert "unseen" not in arm
    assert arm["step_ratio"] > 0
    assert "[3/3]" in capsys.readouterr().out
    # The student with a teacher began with its weights: another loss in the very first step, of the same samples.
    first = [read_log(out / place)[1] for place in ("arms/copy/seed0", "students/small/seed0")]
    assert first[0] != first[1]

    assert forked == ["teachers/big", "students/small/seed0", "arms/copy/seed0"]
    run_grid(grid, out)
    assert len(forked) == 3
    assert summarise(grid, out) == found


def test_a_killed_training_goes_on_from_its_checkpoint(grid_file, tmp_path, forked):
    out, marker = tmp_path / "out", tmp_path / "killed"
    grid = read_grid(grid_file(student_hooks=[{"type": "KillOnce", "at": 10, "marker": str(marker)}]))
    with pytest.raises(JobError, match="1 trainings failed: students/small/seed0 left with code -9"):
        run_grid(grid, out, threads=1)
    assert marker.exists()
    assert summarise(grid, out)["jobs"] == {"done": 2, "all": 3}  # the arm does not wait for its control
    run_grid(grid, out, threads=1)
    assert summarise(grid, out)["jobs"] == {"done": 3, "all": 3}
    undisturbed = tmp_path / "undisturbed"
    job = grid.student_job("small", 0, undisturbed)
    write_job(job)
    run_job(job.work_dir)
    assert read_log(out / "students/small/seed0") == read_log(undisturbed / "students/small/seed0")
    seen = [json.loads((root / "students/small/seed0/result.json").read_text())["seen"] for root in (out, undisturbed)]
    assert seen[0] == seen[1]


def test_a_teacher_that_is_trained_already_is_scored_alone(grid_file, tmp_path, forked):
    first = read_grid(grid_file())
    run_grid(first, tmp_path / "first", threads=1)
    weights = json.loads((tmp_path / "first/teachers/big/result.json").read_text())["checkpoint"]
    grid, out = read_grid(grid_file(), {"+teachers.big.checkpoint": weights}), tmp_path / "out"
    run_grid(grid, out, threads=1)
    teacher = json.loads((out / "teachers/big/result.json").read_text())
    assert (teacher["checkpoint"], teacher["steps"]) == (weights, 0)
    assert not list((out / "teachers/big").glob("*.pth"))
    scores = [
        summarise(*pair)["teachers"]["big"]["seen"]["mean"] for pair in ((grid, out), (first, tmp_path / "first"))
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)  # validation samples are noisy
    assert read_log(out / "arms/copy/seed0") == read_log(tmp_path / "first/arms/copy/seed0")


def test_without_its_teacher_an_arm_is_not_begun(grid_file, tmp_path, forked):
    grid = read_grid(grid_file())
    broken = grid.teachers["big"].__class__(
        str(tmp_path / "toy.py"), {"train_dataloader.dataset.type": "NoData"}, "big"
    )
    grid.teachers["big"] = broken
    with pytest.raises(JobError, match=r"2 trainings failed: teachers/big left with code 2: .*NoData.*arms/copy/seed0"):
        run_grid(grid, tmp_path / "out", threads=1)
    assert not (tmp_path / "out/arms").exists()
    assert summarise(grid, tmp_path / "out")["jobs"] == {"done": 1, "all": 3}


def test_other_settings_in_the_same_folder_are_refused(grid_file, tmp_path, forked):
    out = tmp_path / "out"
    run_grid(read_grid(grid_file()), out, threads=1)
    (out / "students/small/seed0/result.json").unlink()
    grid = read_grid(grid_file(), {"+options": {"optim_wrapper.optimizer.lr": 0.5}})
    with pytest.raises(
        ConfigError, match=r"students/small/seed0 holds a begun training with other settings.*optimizer.lr = 0\.5"
    ):
        run_grid(grid, out, threads=1)


def test_what_was_finished_with_other_settings_is_no_result(grid_file, tmp_path, forked):
    out = tmp_path / "out"
    run_grid(read_grid(grid_file()), out, threads=1)
    require_unchanged(read_grid(grid_file()), out)
    changed = read_grid(grid_file(), {"+options": {"train_cfg.max_epochs": 9}})
    with pytest.raises(ConfigError, match=r"teachers/big holds a finished training .*train_cfg.max_epochs = 9"):
        require_unchanged(changed, out)


def test_a_recipe_in_another_order_is_the_same(grid_file, tmp_path, forked):
    out, grid = tmp_path / "out", read_grid(grid_file())
    run_grid(grid, out, threads=1)
    recipe = Config.fromfile(tmp_path / "toy.py").to_dict()
    (tmp_path / "toy.py").write_text("\n".join(f"{key} = {value!r}" for key, value in reversed(recipe.items())))
    assert list(Config.fromfile(tmp_path / "toy.py").to_dict()) != list(recipe)
    require_unchanged(grid, out)


def test_two_runs_in_one_folder_are_refused(grid_file, tmp_path):
    held = WorkDirLock(tmp_path / "out")
    held.acquire()
    with pytest.raises(ConfigError, match=r"the comparison .*out is in use by process .* another --out"):
        run_grid(read_grid(grid_file()), tmp_path / "out")
    held.release()


def test_nonsense_numbers_are_refused(grid_file, tmp_path):
    with pytest.raises(ConfigError, match="--jobs 0 and --threads None"):
        run_grid(read_grid(grid_file()), tmp_path / "out", jobs=0)


@pytest.mark.slow
def test_sigterm_ends_the_running_training_with_a_checkpoint(grid_file, tmp_path):
    out = tmp_path / "out"
    toy_config(tmp_path, train_cfg={"by_epoch": True, "max_epochs": 100000, "val_interval": 1000000}).dump(
        tmp_path / "long.py"
    )
    path = grid_file()
    words = [sys.executable, "tools/compare.py", str(path), "--out", str(out), "--threads", "1", "--cfg-options",
             f"teachers.big.config={tmp_path / 'long.py'}"]  # fmt: skip
    run = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not (out / "teachers/big/progress.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    run.send_signal(signal.SIGTERM)
    assert run.wait(30) == 143, run.stdout.read()
    assert list((out / "teachers/big").glob("stopped_iter_*.pth"))
    lock = json.loads((out / "teachers/big/.bevkd.lock").read_text() or "{}")
    assert "pid" not in lock or not os.path.exists(f"/proc/{lock['pid']}")

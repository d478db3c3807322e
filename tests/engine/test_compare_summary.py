"""Gains and their intervals, from results written by hand."""

import json

import pytest

from bevkd.engine.compare.grid import Arm, Grid, Model
from bevkd.engine.compare.summary import interval, summarise


def test_students_interval():
    assert interval([1.0, 2.0, 3.0]) == pytest.approx(4.302653 / 3**0.5, abs=1e-5)  # t(0.975, 2) times s / sqrt n
    assert interval([0.5, 0.5]) == 0
    assert interval([1.0]) is None
    assert interval([]) is None


@pytest.fixture
def grid():
    models = {"m": Model("m.py", {}, "m")}
    arm = Arm("A to B", "KD", "kd.py", {}, "m", "m", goal=2.0)
    return Grid("drawn", (0, 1, 2), models, models, {"kd": arm})


def write(out, name, seen, unseen=None, step=1.0):
    folder = out / name
    folder.mkdir(parents=True)
    scores = [None if s is None else {"mAP": s, "NDS": s / 2, "AP/car": 0.9} for s in (seen, unseen)]
    (folder / "result.json").write_text(
        json.dumps({"seen": scores[0], "unseen": scores[1], "step_s": step, "checkpoint": "x.pth"})
    )


def test_gains_are_paired_by_seed(grid, tmp_path):
    write(tmp_path, "teachers/m", 0.5, 0.45)
    for seed, (control, mine) in enumerate([(0.10, 0.11), (0.20, 0.22), (0.30, 0.33)]):
        write(tmp_path, f"students/m/seed{seed}", control, control, step=0.2)
        write(tmp_path, f"arms/kd/seed{seed}", mine, control, step=0.2 + 0.1 * seed)
    arm = summarise(grid, tmp_path)["arms"]["kd"]
    seen = arm["seen"]["mAP"]
    assert seen["teacher"] == 0.5
    assert seen["without"] == pytest.approx(0.2)
    assert seen["with"] == pytest.approx(0.22)
    assert seen["gain"] == pytest.approx(0.02)
    assert seen["interval"] == pytest.approx(0.01 * 2.48414, abs=1e-6)  # not the 0.27 of unpaired students
    assert seen["gains"] == {"0": pytest.approx(0.01), "1": pytest.approx(0.02), "2": pytest.approx(0.03)}
    assert arm["seen"]["NDS"]["gain"] == pytest.approx(0.01)
    assert arm["unseen"]["mAP"]["gain"] == pytest.approx(0)
    assert arm["unseen"]["mAP"]["teacher"] == 0.45
    assert arm["step_ratio"] == pytest.approx(1.5)
    assert arm["goal"] == 2.0


def test_only_seeds_that_both_students_finished_count(grid, tmp_path):
    write(tmp_path, "students/m/seed0", 0.1)
    write(tmp_path, "students/m/seed1", 0.3)
    write(tmp_path, "arms/kd/seed1", 0.4)
    write(tmp_path, "arms/kd/seed2", 0.9)
    found = summarise(grid, tmp_path)
    arm = found["arms"]["kd"]
    assert arm["seeds"] == [1]
    assert arm["seen"]["mAP"]["gain"] == pytest.approx(0.1)
    assert arm["seen"]["mAP"]["interval"] is None
    assert arm["seen"]["mAP"]["teacher"] is None
    assert "unseen" not in arm
    assert found["jobs"] == {"done": 4, "all": 7}


def test_nothing_is_done_yet(grid, tmp_path):
    arm = summarise(grid, tmp_path)["arms"]["kd"]
    assert arm["seeds"] == []
    assert arm["step_ratio"] is None
    assert "seen" not in arm
    json.dumps(summarise(grid, tmp_path))

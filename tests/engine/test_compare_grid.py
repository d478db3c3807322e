"""A comparison's file: what it may say, which trainings it means, and that an unfair arm is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config

from bevkd.engine.compare import read_grid
from bevkd.engine.compare.fairness import require_fair
from bevkd.errors import ConfigError
from tests.engine.toy import toy_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recipe(tmp_path):
    toy_config(tmp_path).dump(tmp_path / "toy.py")
    return str(tmp_path / "toy.py")


@pytest.fixture
def write(tmp_path, recipe):
    def write(**changes):
        grid = {
            "seeds": (0, 1),
            "teachers": {"big": {"config": recipe, "options": {"+model.width": 16}}},
            "students": {"small": {"config": recipe}},
            "arms": {
                "copy": {"path": "big to small", "method": "copy", "config": recipe, "teacher": "big",
                         "student": "small", "teacher_key": "load_from"},
            },
            "metrics": ("mean",),
            **changes,
        }  # fmt: skip
        Config(grid).dump(tmp_path / "grid.py")
        return tmp_path / "grid.py"

    return write


def test_the_trainings_of_a_grid(write, tmp_path):
    grid = read_grid(write())
    jobs = grid.jobs(tmp_path)
    assert [job.name for job in jobs] == [
        "teachers/big", "students/small/seed0", "arms/copy/seed0", "students/small/seed1", "arms/copy/seed1",
    ]  # fmt: skip
    assert jobs[0].options == {"+model.width": 16}
    assert jobs[2].teacher == jobs[0].work_dir == str(tmp_path / "teachers/big")
    assert [job.seed for job in jobs] == [0, 0, 0, 1, 1]
    assert grid.teachers["big"].title == "big"
    assert grid.name == "grid"


def test_options_for_all_come_first(write, tmp_path):
    grid = read_grid(write(options={"+model.width": 4, "train_cfg.max_epochs": 2}))
    teacher, student = grid.jobs(tmp_path)[:2]
    assert teacher.resolve().model.width == 16
    assert student.resolve().model.width == 4
    assert teacher.resolve().train_cfg.max_epochs == 2


def test_a_part_of_a_grid(write, recipe, tmp_path):
    arm = {"path": "p", "method": "m", "config": recipe, "teacher": "other", "student": "small"}
    both = read_grid(write(teachers={"big": {"config": recipe}, "other": {"config": recipe}},
                           arms={"copy": {**arm, "teacher": "big"}, "lone": arm}))  # fmt: skip
    part = both.only(["lo*"], [5])
    assert [job.name for job in part.jobs(tmp_path)] == ["teachers/other", "students/small/seed5", "arms/lone/seed5"]
    assert both.only() == both
    with pytest.raises(ConfigError, match=r"'line'.*nearest: lone"):
        both.only(["line"])


def test_wrong_files_are_refused(write, recipe, tmp_path):
    arm = {"path": "p", "method": "m", "config": recipe, "teacher": "bigger", "student": "small"}
    for changes, sentence in (
        ({"seed": (0,)}, "unknown key 'seed'; nearest: seeds"),
        ({"seeds": (1, 1)}, r"seeds are \[1, 1\]"),
        ({"seeds": ()}, "seeds are"),
        ({"arms": {}}, "arms are empty"),
        ({"arms": {"x": arm}}, "arm 'x' names 'bigger'.*nearest: big"),
        ({"arms": {"x": {**arm, "methud": 1}}}, "arms.x has the unknown key 'methud'; nearest: method"),
        ({"arms": {"x": {"path": "p"}}}, "arms.x lacks method, config, teacher, student"),
        ({"students": {"small": {"config": recipe, "checkpoint": "x.pth"}}}, "student 'small' has a checkpoint"),
        ({"world": {"root": "data", "sinthetic": {}}}, "world has the unknown key 'sinthetic'; nearest: synthetic"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            read_grid(write(**changes))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"optim_wrapper.optimizer.lr": 0.02}, r"optim_wrapper\.optimizer\.lr: 0\.02, expected 0\.01"),
        ({"train_cfg.max_epochs": 8}, r"train_cfg\.max_epochs: 8, expected 4"),
        ({"train_dataloader.batch_size": 4}, r"train_dataloader\.batch_size: 4, expected 3"),
        ({"train_dataloader.dataset.+length": 24}, r"train_dataloader\.dataset\.length: 24, expected None"),
    ],
)
def test_an_unfair_arm_is_refused(write, recipe, tmp_path, options, sentence):
    options = {("+" + key.replace("+", "") if "+" in key else key): value for key, value in options.items()}
    arm = {"path": "p", "method": "m", "config": recipe, "teacher": "big", "student": "small", "options": options}
    grid = read_grid(write(arms={"x": {**arm, "teacher_key": "load_from"}}))
    with pytest.raises(ConfigError, match=f"arm 'x' and its student 'small' differ in {sentence}"):
        require_fair(grid, tmp_path)


def test_a_distiller_with_another_student_is_refused(write, tmp_path):
    student = {"type": "ToyModel", "width": 9}
    toy_config(tmp_path, model={"type": "Distiller", "student": student, "teacher": None}).dump(tmp_path / "kd.py")
    arm = {"path": "p", "method": "m", "config": str(tmp_path / "kd.py"), "teacher": "big", "student": "small"}
    grid = read_grid(write(arms={"x": {**arm, "teacher_key": "model.teacher"}}))
    with pytest.raises(ConfigError, match=r"differ in model\.width: 9, expected None"):
        require_fair(grid, tmp_path)


def test_a_recipe_with_another_teacher_is_refused(write, recipe, tmp_path):
    model = {"type": "Distiller", "student": {"type": "ToyModel"}, "teacher": {"config": "other.py", "checkpoint": "x"}}
    toy_config(tmp_path, model=model).dump(tmp_path / "kd.py")
    arm = {"path": "p", "method": "m", "config": str(tmp_path / "kd.py"), "teacher": "big", "student": "small"}
    with pytest.raises(ConfigError, match=r"arm 'x' has model.teacher.config 'other.py', expected .*toy.py"):
        require_fair(read_grid(write(arms={"x": arm})), tmp_path)


def test_other_sensors_for_the_teacher_are_fair(write, recipe, tmp_path):
    options = {"+train_dataloader.dataset.pipeline": [{"type": "LoadSweeps"}]}
    arm = {"path": "p", "method": "m", "config": recipe, "teacher": "big", "student": "small", "options": options}
    require_fair(read_grid(write(arms={"x": {**arm, "teacher_key": "load_from"}})), tmp_path)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "compare").glob("*.py")), ids=lambda path: path.stem)
def test_the_grids_of_the_repository_are_fair(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    grid = replace(read_grid(path), world=None, unseen=None)
    require_fair(grid, tmp_path)
    for job in grid.jobs(tmp_path):
        job.resolve()

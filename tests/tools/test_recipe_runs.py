"""The recipes and mmdet3d's own CenterPoint through the tools, on a synthetic world of two frames a scene."""

import json
import runpy
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
CENTERPOINT = "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d"
ONE_STEP = ["train_cfg.max_epochs=1", "+train_dataloader.num_batch_per_epoch=1", "train_dataloader.batch_size=2"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from bevkd.datasets.infos import create_infos
    from bevkd.datasets.synthetic import create

    root = create(tmp_path_factory.mktemp("data") / "world", frames=2, image_size=(128, 352))
    create_infos(root)
    return root


@pytest.fixture
def tool(monkeypatch):
    def run(name, *words):
        monkeypatch.setattr("sys.argv", [name, *map(str, words)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(TOOLS / name), run_name="__main__")
        assert not left.value.code

    return run


def test_stock_centerpoint_takes_a_step_and_is_scored(tool, world, tmp_path):
    words = ["--data-root", world, "--work-dir", tmp_path]
    quiet = [
        f"{loader}_dataloader.{key}"
        for loader in ("train", "val", "test")
        for key in ("num_workers=0", "persistent_workers=False")
    ]
    tool("train.py", CENTERPOINT, *words, "--cfg-options", *ONE_STEP, *quiet)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 1
    assert summary["losses"]["loss"] > 0
    assert any("NDS" in name for name in summary["metrics"])  # mmdet3d's names


def sensors(results):
    """The sensors that a result file names."""
    return [name for name, used in json.loads(results.read_text())["meta"].items() if used]


def test_teacher_then_distilled_student_then_the_student_alone(tool, world, tmp_path):
    root = ["--data-root", world]
    tool(
        "train.py",
        "configs/synthetic/lidar_teacher.py",
        *root,
        "--work-dir",
        tmp_path / "t",
        "--cfg-options",
        *ONE_STEP,
    )
    teacher = f"model.teacher.checkpoint={tmp_path / 't' / 'epoch_1.pth'}"
    student = "configs/synthetic/unidistill_lidar_to_camera.py"
    tool("train.py", student, *root, "--work-dir", tmp_path / "s", "--cfg-options", *ONE_STEP, teacher)
    trained = json.loads((tmp_path / "s" / "summary.json").read_text())
    assert trained["losses"]["kd/unidistill/feature"] > 0
    tool(
        "test.py",
        "configs/synthetic/camera_student.py",
        tmp_path / "s" / "epoch_1.pth",
        *root,
        "--work-dir",
        tmp_path / "alone",
    )
    alone = json.loads((tmp_path / "alone" / "metrics.json").read_text())
    assert alone["NDS"] == pytest.approx(trained["metrics"]["NDS"], abs=1e-9)
    assert sensors(tmp_path / "t" / "results_nusc.json") == ["use_lidar"]
    assert sensors(tmp_path / "s" / "results_nusc.json") == ["use_camera"]  # the teacher's LiDAR is not the student's
    assert sensors(tmp_path / "alone" / "results_nusc.json") == ["use_camera"]

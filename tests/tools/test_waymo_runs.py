"""The Waymo recipes through the tools, on a synthetic world of two frames a segment."""

import json
import runpy
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
ONE_STEP = ["train_cfg.max_epochs=1", "+train_dataloader.num_batch_per_epoch=1", "train_dataloader.batch_size=2"]
WORLD = "--format waymo --frames 2 --image-size 64 96 --azimuths 200 --beams 24 --scenes scene-0061 scene-0103"
pytestmark = pytest.mark.slow


@pytest.fixture
def tool(monkeypatch):
    def run(name, *words):
        monkeypatch.setattr("sys.argv", [name, *map(str, words)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(TOOLS / name), run_name="__main__")
        assert not left.value.code

    return run


def test_from_the_world_to_the_distilled_student_alone(tool, tmp_path):
    world = tmp_path / "world"
    tool("create_data.py", "synthetic", world, *WORLD.split())
    tool("create_data.py", "waymo", world, "--workers", 1)
    root, folder = ["--data-root", world], "configs/waymo"
    teacher, student = tmp_path / "t", tmp_path / "s"
    tool("train.py", f"{folder}/lidar_teacher_synthetic.py", *root, "--work-dir", teacher, "--cfg-options", *ONE_STEP)
    checkpoint = f"model.teacher.checkpoint={teacher / 'epoch_1.pth'}"
    recipe = f"{folder}/unidistill_lidar_to_camera_synthetic.py"
    tool("train.py", recipe, *root, "--work-dir", student, "--cfg-options", *ONE_STEP, checkpoint)
    trained = json.loads((student / "summary.json").read_text())
    assert trained["losses"]["kd/unidistill/feature"] > 0
    alone = tmp_path / "alone"
    tool("test.py", f"{folder}/camera_student_synthetic.py", student / "epoch_1.pth", *root, "--work-dir", alone)
    scores = json.loads((alone / "metrics.json").read_text())
    assert scores["AP/L2"] == pytest.approx(trained["metrics"]["AP/L2"], abs=1e-9)
    assert (alone / "predictions.bin").stat().st_size > 0

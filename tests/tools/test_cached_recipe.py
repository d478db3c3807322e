"""The recipe with a cached teacher through the tools: teacher, cache, one step of the student."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEACHER, STUDENT = "configs/synthetic/lidar_teacher.py", "configs/synthetic/unidistill_cached.py"
ONE_STEP = ["train_cfg.max_epochs=1", "+train_dataloader.num_batch_per_epoch=1", "train_cfg.val_interval=1000"]
pytestmark = pytest.mark.slow


def test_teacher_then_cache_then_student(tiny_nuscenes_readonly, tmp_path, monkeypatch):
    def tool(name, *words):
        monkeypatch.setattr("sys.argv", [name, *map(str, words), "--data-root", str(tiny_nuscenes_readonly)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
        assert not left.value.code

    monkeypatch.chdir(ROOT)
    tool("train.py", TEACHER, "--work-dir", tmp_path / "t", "--cfg-options", *ONE_STEP)
    tool("cache_teacher.py", TEACHER, tmp_path / "t" / "epoch_1.pth", "--out", tmp_path / "c")
    teacher = [f"model.teacher.cache={tmp_path / 'c'}", f"model.teacher.checkpoint={tmp_path / 't' / 'epoch_1.pth'}"]
    tool("train.py", STUDENT, "--work-dir", tmp_path / "s", "--cfg-options", *ONE_STEP, *teacher)
    losses = json.loads((tmp_path / "s" / "summary.json").read_text())["losses"]
    assert all(losses[f"kd/unidistill/{part}"] > 0 for part in ("feature", "relation", "response"))

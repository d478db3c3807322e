"""A real comparison, tiny: a LiDAR teacher and a compact student with and without RDD, one step each."""

import json
import runpy
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def compare(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(*words):
        monkeypatch.setattr("sys.argv", ["compare.py", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / "tools/compare.py"), run_name="__main__")
        return left.value.code

    return run


def test_one_step_of_everything(compare, tmp_path, capsys):
    world = {"frames": 2, "image_size": (64, 64), "azimuths": 256, "scenes": 1}
    grid = {
        "world": {"root": str(tmp_path / "world"), "synthetic": {**world, "seed": 0}},
        "unseen": {"root": str(tmp_path / "unseen"), "synthetic": {**world, "seed": 1}},
        "seeds": (0, 1),
        "options": {
            "train_cfg.max_epochs": 1,
            "train_dataloader.num_workers": 0,
            "train_dataloader.persistent_workers": False,
        },
        "teachers": {"lidar": {"config": "configs/synthetic/lidar_teacher.py"}},
        "students": {"compact": {"config": "configs/synthetic/lidar_pillar_coarse.py"}},
        "arms": {
            "rdd": {"path": "LiDAR to compact LiDAR", "method": "RDD", "config": "configs/rdd/pillar_synthetic.py",
                    "teacher": "lidar", "student": "compact"},
        },
    }  # fmt: skip
    Config(grid).dump(tmp_path / "tiny.py")
    readme = tmp_path / "README.md"
    readme.write_text("<!-- compare: begin -->\n<!-- compare: end -->\n")
    words = (tmp_path / "tiny.py", "--out", tmp_path / "out")
    assert not compare(*words, "--threads", 1, "--readme", readme)
    found = json.loads((tmp_path / "out/tiny.json").read_text())
    assert found["jobs"] == {"done": 5, "all": 5}
    arm = found["arms"]["rdd"]
    assert arm["seeds"] == [0, 1]
    assert set(arm["seen"]) == set(arm["unseen"]) == {"mAP", "NDS"}
    assert (tmp_path / "out/tiny.png").stat().st_size > 1000
    row = next(line for line in readme.read_text().splitlines() if line.startswith("| LiDAR to compact LiDAR | RDD |"))
    assert row.count(" ± ") == 4  # two metrics, validation and unseen scenes
    losses = json.loads((tmp_path / "out/arms/rdd/seed0/result.json").read_text())["losses"]
    assert any(name.startswith("kd/rdd/") for name in losses)
    capsys.readouterr()
    assert not compare(*words, "--list")
    assert capsys.readouterr().out.count("done  ") == 5
    grid["world"]["synthetic"]["seed"] = 5
    Config(grid).dump(tmp_path / "tiny.py")
    assert compare(*words) == 2
    assert "is a synthetic set with seed 0, expected 5" in capsys.readouterr().err

"""Steps of every teacher source are timed against the student's own, and missed goals are named."""

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def test_the_table_judges_ratios():
    from benchmarks.distill import table

    cost = {"wall_ms": 10.0, "cpu_ms": 8.0, "ratio": 1.0, "cpu_ratio": 1.0, "goal": None}
    steps = {"student": cost, "live": {**cost, "ratio": 1.45, "goal": 1.45},
             "cached_dense": {**cost, "ratio": 1.21, "goal": 1.2}}  # fmt: skip
    lines = table({"steps": steps, "loss_path": {"peak_mb": None, "maps_mb": 2.0}}).splitlines()
    assert not lines[1].endswith("reached")
    assert lines[2].endswith("<= 1.45: reached")
    assert lines[3].endswith("<= 1.20: MISSED")
    assert lines[4] == "loss path: peak unknown, student maps that it reads 2.0 MB"


@pytest.mark.slow
def test_the_small_recipe_is_timed(tiny_nuscenes_readonly, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = [
        "--data-root",
        tiny_nuscenes_readonly,
        "--batches",
        1,
        "--repeats",
        2,
        "--threads",
        1,
        "--output",
        tmp_path,
    ]
    monkeypatch.setattr("sys.argv", ["benchmark_distill.py", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        runpy.run_path("tools/benchmark_distill.py", run_name="__main__")
    assert not left.value.code
    report = json.loads(next(tmp_path.glob("unidistill_lidar_to_camera_*.json")).read_text())
    assert set(report["steps"]) == {"student", "live", "cached_dense", "cached_foreground"}
    assert report["steps"]["student"]["ratio"] == 1
    assert all(cost["wall_ms"] > 0 for cost in report["steps"].values())
    # Maps of one sample: 64 channels of low, 96 of high and 70 of the head's on 80 x 80 float32 cells.
    assert report["loss_path"]["maps_mb"] >= 80 * 80 * (64 + 96 + 70) * 4 / 2**20
    assert report["machine"]["hardware"]

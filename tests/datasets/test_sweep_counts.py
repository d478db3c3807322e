"""What is counted and cut while sweeps are joined."""

import numpy as np
import pytest

transforms = pytest.importorskip("bevkd.datasets.transforms")


def write(path, points):
    points.astype(np.float32).tofile(path)
    return {"lidar_path": str(path), "lidar2sensor": np.eye(4).tolist()}


def cloud(bad=0):
    """50 points, of which ``bad`` have no intensity."""
    points = np.tile([5.0, 5.0, 0.0, 7.0, 3.0], (50, 1))
    points[:bad, 3] = np.nan
    return points


def sample(folder, *bad):
    """A key frame and sweeps, 0.05 s apart, with so many bad points each."""
    key, *sweeps = [write(folder / f"{k}.bin", cloud(number)) for k, number in enumerate(bad)]
    earlier = [{"timestamp": 9 - 0.05 * k, "lidar_points": sweep} for k, sweep in enumerate(sweeps, 1)]
    return {"lidar_points": key, "timestamp": 9.0, "lidar_sweeps": earlier}


def test_bad_points_of_all_files_are_counted_and_a_bad_intensity_is_one(tmp_path):
    out = transforms.LoadSweeps(sweeps=2).transform(sample(tmp_path, 1, 2, 0))
    assert out["num_dropped_points"] == 3
    assert len(out["points"]) == 147


def test_only_so_many_sweeps_are_read_the_latest_first(tmp_path):
    out = transforms.LoadSweeps(sweeps=2).transform(sample(tmp_path, 0, 0, 0, 0))
    assert sorted(set(out["points"].tensor[:, 4].numpy().round(3).tolist())) == pytest.approx([0, 0.05, 0.1])

"""A small Waymo v2 folder, compared with what stands for the official reader, and its labels as a scene."""

from pathlib import Path

import numpy as np
import pytest

from bevkd.datasets.waymo.segment import Segment, find_segments
from bevkd.errors import ConfigError, DataError
from bevkd.evaluation.waymo_agreement.compare import report
from bevkd.evaluation.waymo_agreement.v2_folder import compare_points, labelled_scene


@pytest.fixture(scope="module")
def folder(waymo_set) -> Path:
    return waymo_set / "validation"


def official_stub(tmp_path: Path, folder: Path, change) -> Path:
    """An interpreter that, instead of running the official reader, leaves our points after ``change``."""
    points = {}
    for name in find_segments(folder):
        for frame in Segment(folder, name).frames(components=["lidar"]):
            for laser in frame.lasers:
                for echo in (1, 2):
                    found = frame.points_of(laser, echo)[0][:, :3]
                    points[f"points/{name}/{frame.timestamp}/{laser}/{echo}"] = change(found, laser)
    np.savez(tmp_path / "points_made.npz", **points)
    stub = tmp_path / "python"
    stub.write_text(f'#!/bin/sh\ncp "{tmp_path}/points_made.npz" "$3"\n')
    stub.chmod(0o755)
    return stub


def test_points_are_compared_laser_by_laser(folder, tmp_path):
    shifts = {1: 0.0, 2: 5e-4, 3: 0.0, 4: 2e-3, 5: 0.0}
    stub = official_stub(tmp_path, folder, lambda found, laser: found.astype(float) + np.array([0, shifts[laser], 0]))
    results = compare_points(stub, folder, tmp_path)
    assert [r.difference for r in results] == pytest.approx(list(shifts.values()), abs=1e-9)
    assert all(r.count > 0 for r in results)
    _, summary = report(results)
    assert summary["largest_difference"] == pytest.approx(2e-3)
    assert "laser 4" in summary["where"]
    assert not summary["agree"]
    assert report(results[:3])[1]["agree"]


def test_another_number_of_points_is_refused(folder, tmp_path):
    stub = official_stub(tmp_path, folder, lambda found, laser: found[laser == 3 :])
    with pytest.raises(DataError, match=r"laser 3, return 1: \d+ points, the official reader finds \d+"):
        compare_points(stub, folder, tmp_path)


def test_what_the_official_reader_says_is_passed_on(folder, tmp_path):
    stub = tmp_path / "python"
    stub.write_text("#!/bin/sh\necho 'lidar.parquet: key.laser_name: missing' >&2; exit 1\n")
    stub.chmod(0o755)
    with pytest.raises(ConfigError, match=r"left official_v2.py with code 1: lidar.parquet: key.laser_name: missing"):
        compare_points(stub, folder, tmp_path)


def test_labels_become_a_scene(folder):
    scene = labelled_scene(folder)
    (name,) = find_segments(folder)
    boxes = {frame.timestamp: frame.boxes for frame in Segment(folder, name).frames(components=["lidar_box"])}
    assert len(scene.ground_truth["box"]) == sum((b.types > 0).sum() for b in boxes.values()) > 0
    assert np.array_equal(
        scene.ground_truth["camera"] > 0, np.concatenate([b.synced_cameras for b in boxes.values()]) > 0
    )
    columns = scene.columns()
    assert set(columns["gt.context"]) == {name}
    assert set(columns["gt.time"]) | set(columns["pd.time"]) <= set(boxes)
    assert len(columns["pd.box"]) > 0

"""Camera-only ground truth, groups by camera, and the tool's LET table."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bevkd.errors import DataError
from bevkd.evaluation.waymo import evaluate_camera_only
from bevkd.evaluation.waymo_metrics.camera_only import CAMERA, by_best_camera, in_view, read_camera_truth
from bevkd.evaluation.waymo_metrics.messages import BOX_FIELDS, message
from bevkd.evaluation.waymo_metrics.objects import Objects

ROOT = Path(__file__).parents[2]
CAR = (4.0, 2.0, 1.5, 0.0)


def at(degrees: float, distance: float = 20.0) -> tuple:
    angle = np.radians(degrees)
    return (distance * np.cos(angle), distance * np.sin(angle), 1.0, *CAR)


def add(objects, box, camera=None, synced=None, top_points=9, points=9, score=None):
    entry = objects.objects.add(context_name="segment", frame_timestamp_micros=1_550_000_000_000_000)
    label = entry.object
    for field, value in zip(BOX_FIELDS, box):
        setattr(label.box, field, value)
    if synced is not None:
        for field, value in zip(BOX_FIELDS, synced):
            setattr(label.camera_synced_box, field, value)
    label.type = 1
    label.num_lidar_points_in_box, label.num_top_lidar_points_in_box = points, top_points
    if camera is not None:
        label.most_visible_camera_name = camera
    if score is not None:
        entry.score = score


@pytest.fixture
def write(tmp_path):
    def to(name: str, *rows: dict) -> Path:
        objects = message("Objects")()
        for row in rows:
            add(objects, **row)
        (tmp_path / name).write_bytes(objects.SerializeToString())
        return tmp_path / name

    return to


def test_the_truth_is_what_a_camera_sees(write):
    path = write(
        "gt.bin",
        {"box": at(0), "camera": "FRONT", "synced": at(1)},
        {"box": at(150)},
        {"box": at(-90), "camera": "SIDE_RIGHT", "synced": at(-91), "top_points": 3, "points": 50},
    )
    truth = read_camera_truth(path)
    assert truth.boxes == pytest.approx(np.array([at(1), at(-91)]))
    assert truth.cameras.tolist() == [1, 5]
    assert truth.points.tolist() == [9, 3]


def test_boxes_that_only_the_other_lidars_hit_do_not_count(write):
    row = {"box": at(0), "camera": "FRONT", "synced": at(0)}
    truth = write("gt.bin", row, {**row, "box": at(20), "synced": at(20), "top_points": 0})
    scores = evaluate_camera_only(write("pd.bin", {"box": at(0), "score": 0.7}), truth)
    assert scores["OBJECT_TYPE_TYPE_VEHICLE_LEVEL_2/LET-AP"] == pytest.approx(1)
    assert scores["OBJECT_TYPE_TYPE_VEHICLE_LEVEL_2/LET-APL"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"camera": "REAR", "synced": at(0)}, "most_visible_camera_name is unknown, expected one of FRONT, FRONT_LEFT"),
        ({"camera": "FRONT"}, "camera_synced_box is missing, expected one where most_visible_camera_name is set"),
        ({"camera": "FRONT", "synced": (*at(0)[:6], np.nan)}, "heading is nan, expected a finite number"),
    ],
)
def test_unusable_truth_is_one_sentence(write, row, sentence):
    good = {"box": at(40), "camera": "FRONT_LEFT", "synced": at(40)}
    with pytest.raises(DataError, match=rf"gt.bin: object 1 \(frame segment at 1550000000000000\): {sentence}"):
        read_camera_truth(write("gt.bin", good, {"box": at(0), **row}))


def test_fields_of_view_overlap_and_the_label_decides():
    boxes = np.array([at(a) for a in (0, 22, -22, 45, -90, 116, 180)])
    objects = Objects.from_arrays(boxes, np.ones(7), np.zeros(7))
    assert [np.flatnonzero(row).tolist() for row in in_view(objects)] == [[0], [0, 1], [0, 2], [1], [4], [], []]
    assert by_best_camera(objects).tolist() == [1, 1, 1, 2, 16, 0, 0]
    objects.cameras = np.array([1, 2, 0, 2, 5, 4, 0], np.uint8)
    assert by_best_camera(objects).tolist() == [1, 2, 1, 2, 16, 8, 0]
    objects.types[:] = 2
    assert by_best_camera(objects)[0] == 1 << 5
    assert CAMERA.names[:2] == ("CAMERA_TYPE_VEHICLE_FRONT", "CAMERA_TYPE_VEHICLE_FRONT-LEFT")


def test_a_hit_counts_for_the_labels_camera_alone(write):
    """At 22 degrees the front and the left camera look; the hit is the left one's, no false alarm for the front."""
    truth = write(
        "gt.bin",
        {"box": at(22), "camera": "FRONT_LEFT", "synced": at(22)},
        {"box": at(0), "camera": "FRONT", "synced": at(0)},
    )
    first, second = {"box": at(22), "score": 0.9}, {"box": at(0), "score": 0.8}
    scores = evaluate_camera_only(write("pd.bin", first, second), truth)
    assert scores["CAMERA_TYPE_VEHICLE_FRONT_LEVEL_2/LET-AP"] == pytest.approx(1)
    assert scores["CAMERA_TYPE_VEHICLE_FRONT-LEFT_LEVEL_2/LET-AP"] == pytest.approx(1)
    scores = evaluate_camera_only(write("pd.bin", first, {"box": at(0, 45), "score": 0.95}), truth)
    assert scores["CAMERA_TYPE_VEHICLE_FRONT_LEVEL_2/LET-AP"] == 0
    assert scores["CAMERA_TYPE_VEHICLE_FRONT-LEFT_LEVEL_2/LET-AP"] == pytest.approx(1)


def test_the_tool_prints_the_official_lines(tmp_path):
    vectors = ROOT / "tests/evaluation/waymo_vectors"
    zipfile.ZipFile(vectors / "scenes.zip").extractall(tmp_path)
    official = json.loads((vectors / "official.json").read_text())["let"]
    numbers = official["scenes"]["monocular-0"]
    command = [
        sys.executable,
        "tools/eval_waymo.py",
        "--let",
        "--unlabelled-frames",
        "--json",
        str(tmp_path / "s.json"),
    ]
    pair = ["--predictions", tmp_path / "monocular-0.pd.bin", "--ground-truth", tmp_path / "monocular-0.gt.bin"]
    run = subprocess.run([*command, *map(str, pair)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    lines = [
        f"{name}: [LET-mAPL {apl:g}] [LET-mAP {ap:g}] [LET-mAPH {aph:g}]"
        for name, apl, ap, aph in zip(official["breakdowns"], numbers["apl"], numbers["ap"], numbers["aph"])
    ]
    assert run.stdout.splitlines()[-len(lines) :] == lines
    assert len(json.loads((tmp_path / "s.json").read_text())) == 3 * len(lines)

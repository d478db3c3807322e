"""Waymo scores from Objects files and arrays: worked numbers, the official names, and everything that is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bevkd.errors import DataError
from bevkd.evaluation.files import write_whole
from bevkd.evaluation.waymo import evaluate, score_table
from bevkd.evaluation.waymo_metrics.average_precision import average_precision
from bevkd.evaluation.waymo_metrics.object_files import read_objects, write_chunks
from bevkd.evaluation.waymo_metrics.objects import FrameKey, Objects

ROOT = Path(__file__).parents[2]
SEGMENT, START = "segment-1", 1_550_083_467_346_370
CAR = (10.0, 0.0, 1.0, 4.0, 2.0, 2.0, 0.0)
F32 = np.float32


def keys(count: int, segment: str = SEGMENT) -> list[FrameKey]:
    return [FrameKey(segment, 0, START + 100_000 * i) for i in range(count)]


def objects(boxes, frames=None, types=1, scores=None, points=10, difficulties=0, excused=None, count=None, **kwargs):
    boxes = np.array(boxes, dtype=float).reshape(-1, 7)
    frames = np.zeros(len(boxes), int) if frames is None else np.asarray(frames)
    full = {name: np.broadcast_to(value, len(boxes)) for name, value in
            (("types", types), ("points", points), ("difficulties", difficulties))}  # fmt: skip
    count = count or int(frames.max(initial=0)) + 1
    return Objects.from_arrays(boxes, frames=frames, scores=scores, excused=excused, keys=keys(count), **full, **kwargs)


def at(x: float, y: float = 0.0) -> tuple:
    return (x, y, *CAR[2:])


def vehicle(scores: dict, level: int = 1) -> tuple[float, float]:
    name = f"OBJECT_TYPE_TYPE_VEHICLE_LEVEL_{level}"
    return scores[f"{name}/AP"], scores[f"{name}/APH"]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], 0),
        ([(1, 1)], 1),
        ([(0.5, 1)], 0.5),
        ([(1, 0.5)], 0.5),
        ([(1, 0.1), (0.2, 1)], 0.1 + 0.6 * 0.05 + 0.85 * 0.2),  # the gap counts with the precision at its far end
        ([(0.2, 1), (1, 0.1)], 0.1 + 0.6 * 0.05 + 0.85 * 0.2),
        ([(0.4, 0.5), (0.6, 0.52)], 0.52 * 0.6),  # never below the precision of a larger recall
        ([(0.5, 0.5), (0.7, 0.5)], 0.35),
    ],
)
def test_average_precision(points, expected):
    precisions, recalls = [F32(p) for p, _ in points], [F32(r) for _, r in points]
    assert average_precision(precisions, recalls) == pytest.approx(expected, abs=1e-6)


def test_perfect_predictions_score_one():
    truth = objects([at(10), at(40), at(60)], frames=[0, 0, 1])
    scores = evaluate(truth, truth)
    assert len(scores) == 2 * 2 * 16
    for span in ("[0, 30)", "[30, 50)", "[50, +inf)"):
        assert scores[f"RANGE_TYPE_VEHICLE_{span}_LEVEL_1/AP"] == pytest.approx(1)
    assert vehicle(scores) == (pytest.approx(1), pytest.approx(1))
    assert scores["OBJECT_TYPE_TYPE_CYCLIST_LEVEL_2/AP"] == 0


def test_levels_and_headings_by_hand():
    # Found with score 1: one easy car, headed 0.5 pi off. Not found: a hard one. So recall is 1 and 1/2, precision 1.
    square = (10.0, 0.0, 1.0, 2.0, 2.0, 2.0)
    turned = (*square, 0.5 * np.pi)
    truth = objects([(*square, 0.0), at(30)], points=[6, 5])
    scores = evaluate(objects([turned], scores=[1.0]), truth, exact_geometry=True)
    assert vehicle(scores, 1) == (pytest.approx(1), pytest.approx(0.5, abs=1e-5))
    assert vehicle(scores, 2) == (pytest.approx(0.5), pytest.approx(0.25, abs=1e-5))


def test_boxes_without_points_are_dropped_and_given_levels_stand():
    truth = objects([at(10), at(20), at(30)], points=[0, 3, 3], difficulties=[1, 1, 0])
    scores = evaluate(objects([at(20)], scores=[1.0]), truth)
    assert vehicle(scores, 1)[0] == pytest.approx(1)
    assert vehicle(scores, 2)[0] == pytest.approx(0.5)


def test_false_alarms_and_no_label_zones():
    truth = objects([at(10)])
    found = objects([at(10), at(25)], scores=[0.5, 0.9])
    assert vehicle(evaluate(found, truth))[0] == pytest.approx(0.5)
    excused = objects([at(10), at(25)], scores=[0.5, 0.9], excused=[False, True])
    assert vehicle(evaluate(excused, truth))[0] == pytest.approx(1)


def test_frames_of_arrays_may_be_any_numbers():
    one = np.array([CAR, at(40)])
    truth = Objects.from_arrays(one, [1, 1], [7, -3], difficulties=[1, 2])
    found = Objects.from_arrays(one, [1, 1], [7, -3], scores=[0.5, 0.5])
    assert vehicle(evaluate(found, truth), 2)[0] == pytest.approx(1)
    swapped = Objects.from_arrays(one, [1, 1], [-3, 7], scores=[0.5, 0.5])
    assert vehicle(evaluate(swapped, truth), 2)[0] == 0


def test_table_has_the_official_lines():
    scores = evaluate(objects([at(10)], scores=[1.0]), objects([at(10), at(12, 5), at(12, 9)]))
    lines = score_table(scores).splitlines()
    assert len(lines) == 32
    assert lines[0] == "OBJECT_TYPE_TYPE_VEHICLE_LEVEL_1: [mAP 0.333333] [mAPH 0.333333]"
    assert lines[8] == "RANGE_TYPE_VEHICLE_[0, 30)_LEVEL_1: [mAP 0.333333] [mAPH 0.333333]"
    assert lines[-1] == "RANGE_TYPE_CYCLIST_[50, +inf)_LEVEL_2: [mAP 0] [mAPH 0]"


def test_files_come_back_as_written(tmp_path):
    rng = np.random.default_rng(0)
    count = 9000  # three chunks
    written = objects(
        rng.normal(0, 20, (count, 7)) ** 2, rng.integers(0, 50, count), rng.integers(1, 5, count),
        rng.random(count, np.float32), rng.integers(0, 9, count), rng.integers(0, 3, count), rng.random(count) < 0.5,
    )  # fmt: skip
    read = read_objects(write_whole(tmp_path / "o.bin", write_chunks(written)))
    for name in ("boxes", "types", "scores", "points", "difficulties", "excused"):
        assert np.array_equal(getattr(read, name), getattr(written, name)), name
    assert [read.keys[f] for f in read.frames] == [written.keys[f] for f in written.frames]


def test_scores_from_files_are_those_from_arrays(tmp_path):
    truth, found = objects([at(10), at(40)], frames=[0, 1]), objects([at(10), at(20)], [0, 1], scores=[0.8, 0.9])
    paths = [write_whole(tmp_path / name, write_chunks(o)) for name, o in (("p.bin", found), ("g.bin", truth))]
    assert evaluate(*paths) == evaluate(found, truth)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"types": 5}, r"object 0 \(frame segment-1 at \d+\): type is 5, expected 1 \(TYPE_VEHICLE\), 2"),
        ({"types": 0}, "type is 0"),
        ({"difficulties": 3}, "difficulty is 3, expected 1"),
        ({"boxes": [(*CAR[:6], np.nan)]}, "heading is nan, expected a finite number"),
        ({"boxes": [(np.inf, *CAR[1:])]}, "center_x is inf"),
        ({"boxes": [(*CAR[:3], -1, 2, 2, 0)]}, "length is -1.0, expected at least 0"),
        ({"scores": [1.5]}, "score is 1.5, expected 0 to 1"),
        ({"scores": [np.nan]}, "score is nan"),
        ({"types": 1.5}, "types are float64, expected whole numbers"),
        ({"frames": [1], "count": 1}, "frames go to 1, expected rows of 1 keys"),
        ({"scores": [0.5, 0.5]}, "scores number 2, expected 1 like boxes"),
        ({"boxes": np.zeros((7, 1))}, None),
    ],
)
def test_bad_objects_are_refused(change, sentence):
    if sentence is None:
        with pytest.raises(DataError, match=r"boxes have shape \(7, 1\), expected \[N, 7\]"):
            Objects.from_arrays(change["boxes"], np.ones(7), np.zeros(7))
        return
    with pytest.raises(DataError, match=sentence):
        objects(**{"boxes": [CAR], **change})


def test_a_key_that_is_there_twice_is_refused():
    with pytest.raises(DataError, match=r"objects: frame s at 1 is among the keys twice"):
        Objects.from_arrays([CAR], [1], [0], keys=[FrameKey("s", 0, 1)] * 2)


def test_ungraded_truth_without_points_is_refused():
    truth = Objects.from_arrays([CAR], [1], [0], source="truth")
    with pytest.raises(DataError, match=r"truth: object 0 .*difficulty is 0 .*number of LiDAR points is not known"):
        evaluate(truth, truth)


def shifted(o: Objects, **change) -> Objects:
    return Objects.from_arrays(
        o.boxes, o.types, o.frames, o.scores, keys=[key._replace(**change) for key in o.keys], source="predictions"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"context": "segment-2"}, "1 of 1 frames are unknown, the first is frame segment-2 at .*does not hold"),
        (
            {"timestamp": START + 5},
            "5 us away from any frame of its segment in the ground truth objects; expected frame_timestamp_micros",
        ),
        ({"timestamp": START + 10**9}, "1000000000 us away"),
        ({"timestamp": START // 1000}, "in milliseconds; expected frame_timestamp_micros"),
        ({"timestamp": START // 10**6}, "in seconds"),
        ({"timestamp": START * 1000}, "in nanoseconds"),
    ],
)
def test_unknown_frames_are_refused_unless_asked_for(change, sentence):
    truth = objects([at(10)])
    found = shifted(truth, **change)
    with pytest.raises(DataError, match=sentence):
        evaluate(found, truth)
    assert vehicle(evaluate(found, truth, unlabelled_frames=True))[0] == 0


@pytest.mark.parametrize("frame", [1, 3, 9])
def test_a_frame_without_objects_may_lie_in_a_known_segment(tmp_path, frame):
    truth, found = objects([at(10)] * 2, frames=[0, 2]), objects([at(10)] * 3, [0, 2, frame], scores=[0.8, 0.8, 0.9])
    paths = [write_whole(tmp_path / name, write_chunks(o)) for name, o in (("p.bin", found), ("g.bin", truth))]
    with pytest.warns(UserWarning, match=r"p.bin: 1 of 3 frames hold no ground truth, all predictions in them count"):
        scores = evaluate(*paths)
    assert scores == evaluate(*paths, unlabelled_frames=True)
    assert vehicle(scores)[0] == pytest.approx(2 / 3)


def files(folder: Path) -> tuple[Path, Path]:
    truth = objects([at(10), at(20), at(40)], frames=[0, 0, 1])
    found = objects([at(10), at(20.1), at(60)], [0, 0, 1], scores=[0.8, 0.7, 0.3])
    return tuple(write_whole(folder / f"{n}.bin", write_chunks(o)) for n, o in (("pd", found), ("gt", truth)))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda b: b[:-3], r"pd.bin: truncated within object 2 \(byte \d+ of \d+\)"),
        (lambda b: b[:1], "truncated within object 0"),
        (lambda b: b"", "pd.bin: is empty"),
        (lambda b: b + b, "frame segment-1 at 1550083467346370 is there twice"),
        (lambda b: b'{"results": []}', "byte 0 begins no object; expected a serialized"),
        (lambda b: b[:2] + b"\xff" * 20 + b[22:], "objects 0 and following are damaged"),
    ],
)
def test_spoiled_files_are_refused(tmp_path, spoil, sentence):
    pd, gt = files(tmp_path)
    pd.write_bytes(spoil(pd.read_bytes()))
    with pytest.raises(DataError, match=sentence):
        evaluate(pd, gt)


def test_a_missing_file_is_named(tmp_path):
    _, gt = files(tmp_path)
    with pytest.raises(DataError, match=r"none.bin: cannot be read \(No such file"):
        evaluate(tmp_path / "none.bin", gt)


def run_tool(*args) -> subprocess.CompletedProcess:
    command = [sys.executable, "tools/eval_waymo.py", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_tool_prints_the_table_and_writes_the_files(tmp_path):
    pd, gt = files(tmp_path)
    (tmp_path / "info.txtpb").write_text('account_name: "a@b.org"\nunique_method_name: "m"\nsensor_type: LIDAR_ALL\n')
    run = run_tool(
        "--predictions", pd, "--ground-truth", gt, "--json", tmp_path / "scores.json",
        "--submission", tmp_path / "submission.bin", "--submission-info", tmp_path / "info.txtpb",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[:2] == ["2 examples found.", ""]
    assert lines[2] == "OBJECT_TYPE_TYPE_VEHICLE_LEVEL_1: [mAP 0.666667] [mAPH 0.666667]"
    assert len(lines) == 34
    assert json.loads((tmp_path / "scores.json").read_text()) == evaluate(pd, gt)
    assert (tmp_path / "submission.bin").exists()


def test_tool_refuses_with_one_sentence_and_writes_nothing(tmp_path):
    pd, gt = files(tmp_path)
    pd.write_bytes(pd.read_bytes()[:-1])
    run = run_tool("--predictions", pd, "--ground-truth", gt, "--json", tmp_path / "scores.json")
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gt.bin", "pd.bin"]

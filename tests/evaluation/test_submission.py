import json

import numpy as np
import pytest
import torch
from pyquaternion import Quaternion

from bevkd.errors import DataError
from bevkd.evaluation.submission import (
    check_results,
    format_results,
    matrix_to_quaternion,
    quaternion_product,
    read_results,
)


def pose(rotation, translation):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Quaternion(rotation).rotation_matrix, translation
    return matrix.tolist()


def info(lidar2ego=None, ego2global=None, token="t"):
    eye = np.eye(4).tolist()
    return {"token": token, "ego2global": ego2global or eye, "lidar_points": {"lidar2ego": lidar2ego or eye}}


def prediction(*rows, scores=None, labels=None):
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 9)
    return {
        "bboxes_3d": table,
        "scores_3d": torch.tensor(scores if scores is not None else [0.5] * len(table)),
        "labels_3d": torch.tensor(labels if labels is not None else [0] * len(table), dtype=torch.long),
    }


def test_drawn_box():
    # LiDAR x right and y forward; the ego frame is turned by 90 degrees, and the ego stands at (100, 200) heading
    # along global x. A car 10 m ahead drives forward: LiDAR yaw pi/2, global yaw 0.
    lidar2ego = pose(Quaternion(axis=[0, 0, 1], degrees=-90), [1.0, 0.0, 1.8])
    box = (0, 10, -1.8, 4.0, 2.0, 1.6, np.pi / 2, 0, 5.0)
    out = format_results({"t": prediction(box)}, [info(lidar2ego, pose([1, 0, 0, 0], [100, 200, 0]))])
    record = out["results"]["t"][0]
    np.testing.assert_allclose(record["translation"], [111, 200, 0.8], atol=1e-5)  # gravity centre: half of 1.6 m up
    assert record["size"] == pytest.approx([2.0, 4.0, 1.6])  # width, length, height
    assert Quaternion(record["rotation"]).yaw_pitch_roll[0] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(record["velocity"], [5, 0], atol=1e-5)
    assert (record["detection_name"], record["attribute_name"]) == ("car", "vehicle.moving")
    assert (record["sample_token"], record["detection_score"]) == ("t", 0.5)
    assert out["meta"]["use_map"] is False


@pytest.mark.parametrize("seed", range(5))
def test_rotations_against_pyquaternion(seed):
    rng = np.random.default_rng(seed)
    first, second = Quaternion.random(), Quaternion(rng.normal(size=4)).normalised
    product = quaternion_product(matrix_to_quaternion(first.rotation_matrix), second.elements)
    np.testing.assert_allclose(Quaternion(product).rotation_matrix, (first * second).rotation_matrix, atol=1e-12)
    for turn in (Quaternion(axis=[0, 0, 1], degrees=180), Quaternion(axis=[1, 1, 0], degrees=180), Quaternion()):
        found = Quaternion(matrix_to_quaternion(turn.rotation_matrix))
        np.testing.assert_allclose(found.rotation_matrix, turn.rotation_matrix, atol=1e-12)


@pytest.mark.parametrize(
    ("label", "speed", "attribute"),
    [
        (0, 0.1, "vehicle.parked"), (0, 0.3, "vehicle.moving"), (3, 0.0, "vehicle.stopped"),
        (5, 1.0, "cycle.with_rider"), (6, 0.0, "cycle.without_rider"), (7, 1.0, "pedestrian.moving"),
        (7, 0.0, "pedestrian.standing"), (8, 1.0, ""), (9, 0.0, ""),
    ],
)  # fmt: skip
def test_attributes_follow_mmdet3d(label, speed, attribute):
    box = (0, 0, 0, 1, 1, 1, 0, speed, 0)
    record = format_results({"t": prediction(box, labels=[label])}, [info()])["results"]["t"][0]
    assert record["attribute_name"] == attribute


def test_best_500_in_order_and_empty():
    scores = np.random.default_rng(0).permutation(700) / 700
    out = format_results({"t": prediction(*[(i, 0, 0, 1, 1, 1, 0, 0, 0) for i in range(700)], scores=scores)}, [info()])
    found = [record["detection_score"] for record in out["results"]["t"]]
    np.testing.assert_allclose(found, np.sort(scores)[::-1][:500], rtol=1e-6)
    assert format_results({"t": prediction()}, [info()])["results"] == {"t": []}


def test_bad_predictions_are_named():
    with pytest.raises(DataError, match="sample t holds a value that is not finite"):
        format_results({"t": prediction((float("nan"), 0, 0, 1, 1, 1, 0, 0, 0))}, [info()])
    with pytest.raises(DataError, match="sample u, which is not in the info file"):
        format_results({"u": prediction()}, [info()])


@pytest.fixture
def content():
    boxes = prediction(*[(i, 0, 0, 1, 1, 1, 0, 0, 0) for i in range(3)])
    return json.loads(json.dumps(format_results({"t": boxes, "u": boxes}, [info(), info(token="u")])))


def test_good_file_passes(content, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(content))
    check_results(read_results(tmp_path / "r.json"), ["t", "u"], "r.json")


def change(**fields):
    return lambda results: results["t"][1].update(fields)


BAD = {
    "missing sample": (lambda r: r.pop("u"), "1 of 2 samples of split to evaluate have no entry, the first is u"),
    "extra sample": (lambda r: r.update(v=[]), "the first is v"),
    "too many": (lambda r: r.update(t=r["t"] * 167), "sample t has 501 boxes; nuScenes admits at most 500"),
    "no list": (lambda r: r.update(t={}), "sample t: a dict, expected a list"),
    "NaN score": (change(detection_score=float("nan")), "sample t: box 1: detection_score is nan"),
    "int score": (change(detection_score=1), "detection_score is 1, expected a finite float"),
    "NaN centre": (change(translation=[0, float("nan"), 0]), "translation is .*expected 3 finite"),
    "inf velocity": (change(velocity=[0, float("inf")]), "velocity"),
    "short size": (change(size=[1, 1]), r"size is \[1, 1\], expected 3"),
    "flat": (change(size=[1, 1, 0]), "expected positive"),
    "zero rotation": (change(rotation=[0, 0, 0, 0]), "rotation is zero"),
    "class": (change(detection_name="cars"), "'cars' is none of the ten classes; nearest: car"),
    "attribute": (change(attribute_name="vehicle.move"), "attribute_name 'vehicle.move' is unknown; nearest"),
    "field": (lambda r: r["t"][1].pop("velocity"), "box 1: 'velocity' is missing"),
    "token": (change(sample_token="u"), "sample_token is u"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_named(content, case):
    damage, message = BAD[case]
    damage(content["results"])
    with pytest.raises(DataError, match=r"r\.json: .*" + message):
        check_results(content, ["t", "u"], "r.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "truncated or not JSON"), ('{"meta": {}, "results": {"a"', "truncated"), ("[]", "no object 'meta'"),
     ('{"meta": {}}', "no object 'results'")],
)  # fmt: skip
def test_unreadable_file_is_named(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match=r"r\.json: .*" + message):
        read_results(tmp_path / "r.json")
    with pytest.raises(DataError, match="No such file"):
        read_results(tmp_path / "none.json")

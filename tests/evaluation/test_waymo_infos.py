"""Waymo infos and detectors' results as objects, and the metric that joins them."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch

from bevkd.errors import DataError
from bevkd.evaluation.waymo import evaluate, evaluate_camera_only
from bevkd.evaluation.waymo_metric import WaymoBEVMetric
from bevkd.evaluation.waymo_metrics.infos import objects_from_infos, objects_from_results
from bevkd.evaluation.waymo_metrics.object_files import read_objects

START = 1_550_083_467_346_370
CLASSES = ("Car", "Pedestrian", "Cyclist")


def instance(box, label=0, points=20, difficulty=0) -> dict:
    return {"bbox_3d": list(box), "bbox_label_3d": label, "num_lidar_pts": points, "difficulty": difficulty}


def make_infos() -> dict:
    cars = [instance((10, 0, 1, 4, 2, 1.6, 0.1)), instance((40, 3, 1, 4, 2, 1.6, -2), points=3)]
    others = [((5, 5, 1, 1, 1, 2, 0), 1), ((9, 9, 1, 2, 1, 2, 0), 2), ((1, 1, 1, 1, 1, 1, 0), -1)]
    return {
        "metainfo": {"categories": {"Car": 0, "Pedestrian": 1, "Cyclist": 2, "Sign": -1}, "classes": CLASSES},
        "data_list": [
            {"context_name": "s", "timestamp": START + 100_000 * frame, "instances": instances}
            for frame, instances in enumerate([cars, [instance(*other) for other in others], []])
        ],
    }


def make_results(infos: dict) -> dict:
    """The ground truth as a detector would predict it: bottom centres, as in the infos."""
    results = {}
    for sample, info in enumerate(infos["data_list"]):
        known = [i for i in info["instances"] if i["bbox_label_3d"] >= 0]
        boxes = torch.tensor([[*i["bbox_3d"], 0.0, 0.0] for i in known]).reshape(-1, 9)
        labels = torch.tensor([i["bbox_label_3d"] for i in known], dtype=torch.int64)
        results[sample] = {"bboxes_3d": boxes, "scores_3d": torch.full((len(known),), 0.9), "labels_3d": labels}
    return results


def test_ground_truth_scores_perfectly():
    infos = make_infos()
    truth, found = objects_from_infos(infos), objects_from_results(make_results(infos), infos, CLASSES)
    assert truth.types.tolist() == found.types.tolist() == [1, 1, 2, 4]
    assert truth.frames.tolist() == [0, 0, 1, 1]
    assert len(truth.keys) == 3
    np.testing.assert_allclose(found.boxes, truth.boxes, atol=1e-6)
    assert truth.boxes[0, 2] == pytest.approx(1 + 1.6 / 2)  # the middle, which Waymo's messages hold
    scores = evaluate(found, truth)
    for name in ("VEHICLE", "PEDESTRIAN", "CYCLIST"):
        assert scores[f"OBJECT_TYPE_TYPE_{name}_LEVEL_2/APH"] == pytest.approx(1, abs=1e-6)
    assert scores["OBJECT_TYPE_TYPE_SIGN_LEVEL_2/AP"] == 0


def test_a_prediction_in_an_empty_frame_counts():
    infos = make_infos()
    results = make_results(infos)
    results[2] = results[0]
    scores = evaluate(objects_from_results(results, infos, CLASSES), objects_from_infos(infos))
    assert scores["OBJECT_TYPE_TYPE_VEHICLE_LEVEL_2/AP"] == pytest.approx(0.5, abs=1e-6)


def spoiled(change) -> dict:
    infos = make_infos()
    change(infos["data_list"])
    return infos


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.append(copy.deepcopy(d[0])), r"infos: data_list\[3\]: frame s at \d+ is there twice, first at"),
        (lambda d: d[1].update(timestamp=START / 1e6), r"timestamp is 1550083467.\d+, expected whole microseconds"),
        (lambda d: d[1].update(timestamp=START // 1000), "timestamp is 1550083467346, expected whole microseconds"),
        (lambda d: d[1].pop("context_name"), "context_name is missing"),
        (lambda d: d[0]["instances"][1].pop("difficulty"), r"instances\[1\]: difficulty is missing; make the infos"),
        (lambda d: d[0]["instances"][1].update(difficulty=7), "difficulty is 7, expected 1"),
        (lambda d: d[0]["instances"][0].update(bbox_label_3d=9), "bbox_label_3d is 9, expected one of"),
        (lambda d: d[0]["instances"][0]["bbox_3d"].__setitem__(6, float("nan")), "heading is nan"),
    ],
)
def test_bad_infos_are_refused(change, sentence):
    with pytest.raises(DataError, match=sentence):
        objects_from_infos(spoiled(change))


def test_bad_results_are_refused():
    infos = make_infos()
    with pytest.raises(DataError, match="class Lorry is no Waymo type"):
        objects_from_results({}, infos, ("Lorry",))
    with pytest.raises(DataError, match="sample 3 is not among the 3"):
        objects_from_results({3: make_results(infos)[0]}, infos, CLASSES)
    results = make_results(infos)
    results[0]["bboxes_3d"][0, 0] = float("nan")
    with pytest.raises(DataError, match=r"results: object 0 .* center_x is nan"):
        objects_from_results(results, infos, CLASSES)


def with_synced(infos: dict) -> dict:
    """Every instance half a metre further along at the camera's shot, seen by the front camera."""
    for info in infos["data_list"]:
        info["cam_sync_instances"] = [
            {**i, "bbox_3d": [i["bbox_3d"][0] + 0.5, *i["bbox_3d"][1:]], "num_top_lidar_pts": 9, "camera_id": 0}
            for i in info["instances"]
        ]
    return infos


def test_camera_only_truth_is_that_of_the_shot(tmp_path):
    infos = with_synced(make_infos())
    truth = objects_from_infos(infos, camera_only=True)
    assert truth.boxes[0, 0] == 10.5
    assert truth.cameras.tolist() == [1] * 4
    (tmp_path / "infos.pkl").write_bytes(pickle.dumps(infos, protocol=4))
    moved = {i: {**info, "instances": info["cam_sync_instances"]} for i, info in enumerate(infos["data_list"])}
    found = objects_from_results(make_results({"data_list": list(moved.values())}), infos, CLASSES)
    for ground_truth in (truth, tmp_path / "infos.pkl"):
        scores = evaluate_camera_only(found, ground_truth)
        for name in ("VEHICLE", "PEDESTRIAN", "CYCLIST"):
            assert scores[f"OBJECT_TYPE_TYPE_{name}_LEVEL_2/LET-APL"] == pytest.approx(1, abs=1e-5)
        assert scores["CAMERA_TYPE_VEHICLE_FRONT_LEVEL_2/LET-AP"] == pytest.approx(1, abs=1e-5)
    infos["data_list"][0]["cam_sync_instances"][0].pop("camera_id")
    with pytest.raises(DataError, match=r"cam_sync_instances\[0\]: camera_id is missing"):
        objects_from_infos(infos, camera_only=True)
    with pytest.raises(DataError, match=r"infos: frame s at \d+: cam_sync_instances is missing; make the infos again"):
        objects_from_infos(make_infos(), camera_only=True)


def run_metric(folder, results, **kwargs):
    from mmdet3d.structures import LiDARInstance3DBoxes

    (folder / "infos.pkl").write_bytes(pickle.dumps(with_synced(make_infos()), protocol=4))
    metric = WaymoBEVMetric(str(folder), "infos.pkl", output_dir=str(folder / "out"), **kwargs)
    metric.dataset_meta = {"classes": CLASSES}
    for sample, result in results.items():
        boxes = LiDARInstance3DBoxes(result["bboxes_3d"], box_dim=9)
        metric.process({}, [{"sample_idx": sample, "pred_instances_3d": {**result, "bboxes_3d": boxes}}])
    return metric.evaluate(len(results))


def test_metric_scores_and_leaves_files(tmp_path):
    results = make_results(make_infos())
    metrics = run_metric(tmp_path, results)
    assert metrics["AP/L1"] == metrics["APH/L2"] == pytest.approx(1, abs=1e-6)
    assert metrics["OBJECT_TYPE_TYPE_CYCLIST_LEVEL_1/AP"] == pytest.approx(1)
    assert len(json.loads((tmp_path / "out/scores.json").read_text())) == 64
    written = read_objects(tmp_path / "out/predictions.bin")
    scores = evaluate(written, objects_from_infos(make_infos()))
    assert scores["OBJECT_TYPE_TYPE_VEHICLE_LEVEL_1/AP"] == pytest.approx(1)


def test_metric_scores_cameras_alone_as_well(tmp_path):
    metrics = run_metric(tmp_path, make_results(make_infos()), camera_only=True)
    assert set(metrics) > {"LET-APL/L2", "LET-AP/L2", "LET-APH/L2", "AP/L1", "APH/L2"}
    assert metrics["AP/L1"] == pytest.approx(1, abs=1e-6)
    assert len(json.loads((tmp_path / "out/scores.json").read_text())) == 64 + 108
    assert 0 < metrics["LET-APL/L2"] < metrics["LET-AP/L2"]  # half a metre too near


def test_predictions_of_the_metric_score_against_the_infos(tmp_path):
    metrics = run_metric(tmp_path, make_results(make_infos()))
    scores = evaluate(tmp_path / "out/predictions.bin", tmp_path / "infos.pkl")
    assert all(scores[name] == metrics[name] for name in metrics if name.startswith("OBJECT_TYPE"))


def test_metric_writes_only_when_asked_to_format(tmp_path):
    assert run_metric(tmp_path, make_results(make_infos()), format_only=True) == {}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.bin"]


def test_metric_wants_every_frame(tmp_path):
    results = make_results(make_infos())
    results.pop(1)
    with pytest.raises(DataError, match=r"1 of 3 frames were not predicted, the first is data_list\[1\]"):
        run_metric(tmp_path, results)
    assert not (tmp_path / "out").exists()

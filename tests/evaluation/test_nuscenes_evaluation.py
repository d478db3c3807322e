import json
import math
import random
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger

from bevkd.datasets import safe_pickle
from bevkd.datasets.constants import CLASSES
from bevkd.errors import ConfigError, DataError
from bevkd.evaluation.nuscenes import HEADLINE, NuScenesBEVMetric, evaluate, score_table, write_json
from bevkd.evaluation.submission import format_results

ROOT = Path(__file__).parents[2]
PRESENT = ("car", "pedestrian", "barrier")  # classes in the tiny world


@pytest.fixture(scope="module")
def val(tiny_nuscenes_readonly):
    return safe_pickle.load(tiny_nuscenes_readonly / "nuscenes_infos_val.pkl")["data_list"]


def truth(infos):
    """Ground truth in the form of predictions: LiDAR frame, bottom centre."""
    result = {}
    for info in infos:
        instances = [i for i in info["instances"] if i["bbox_label_3d"] >= 0]
        boxes = np.array([[*i["bbox_3d"], *i["velocity"]] for i in instances])
        boxes[:, 2] -= boxes[:, 5] / 2
        result[info["token"]] = {
            "bboxes_3d": boxes, "scores_3d": np.linspace(0.9, 0.5, len(boxes)),
            "labels_3d": np.array([i["bbox_label_3d"] for i in instances]),
        }  # fmt: skip
    return result


def score(predictions, infos, root, folder, **kwargs):
    path = write_json(format_results(predictions, infos), folder / "results_nusc.json")
    return evaluate(path, root, "v1.0-mini", **kwargs)


def test_ground_truth_scores_perfectly(val, tiny_nuscenes_readonly, tmp_path, capfd):
    scores = score(truth(val), val, tiny_nuscenes_readonly, tmp_path)
    for name in PRESENT:
        row = scores["per_class"][name]
        assert row["AP"] == pytest.approx(1.0)
        assert row["ATE"] < 1e-6
        assert row["ASE"] < 1e-6
        assert row["AOE"] < 1e-3  # the LiDAR frame is tilted, boxes are upright in it
        if name != "barrier":
            assert row["AVE"] < 0.01
            assert row["AAE"] < 1e-6
    assert math.isnan(scores["per_class"]["barrier"]["AVE"])
    absent = len(CLASSES) - len(PRESENT)
    assert scores["mAP"] == pytest.approx(len(PRESENT) / len(CLASSES))
    assert scores["mATE"] == pytest.approx(absent / len(CLASSES), abs=1e-6)  # 1 where a class is never found
    assert all(isinstance(scores[name], float) for name in HEADLINE)
    assert capfd.readouterr() == ("", "")


def test_wrong_convention_has_the_signature(val, tiny_nuscenes_readonly, tmp_path):
    wrong = truth(val)
    for sample in wrong.values():
        boxes = sample["bboxes_3d"]
        boxes[:, [3, 4]] = boxes[:, [4, 3]]
    good = score(truth(val), val, tiny_nuscenes_readonly, tmp_path)["per_class"]["car"]
    bad = score(wrong, val, tiny_nuscenes_readonly, tmp_path)["per_class"]["car"]
    assert good["ASE"] < 1e-6
    assert bad["ASE"] > 0.6


def test_order_of_predictions_changes_nothing(val, tiny_nuscenes_readonly, tmp_path):
    rng = np.random.default_rng(0)
    noisy = truth(val)
    for sample in noisy.values():
        sample["bboxes_3d"][:, :2] += rng.normal(0, 0.7, (len(sample["bboxes_3d"]), 2))
    shuffled = {}
    for token in reversed(noisy):
        order = rng.permutation(len(noisy[token]["scores_3d"]))
        shuffled[token] = {key: value[order] for key, value in noisy[token].items()}
    first = score(noisy, val, tiny_nuscenes_readonly, tmp_path)
    second = score(shuffled, val, tiny_nuscenes_readonly, tmp_path)
    assert first["per_class"]["car"]["ATE"] > 0
    assert [second[name] for name in HEADLINE] == [first[name] for name in HEADLINE]


def test_nothing_found_scores_zero(val, tiny_nuscenes_readonly, tmp_path):
    empty = {info["token"]: {"bboxes_3d": np.zeros((0, 9)), "scores_3d": [], "labels_3d": []} for info in val}
    scores = score(empty, val, tiny_nuscenes_readonly, tmp_path)
    assert (scores["mAP"], scores["NDS"], scores["mATE"]) == (0.0, 0.0, 1.0)


class Boxes:
    def __init__(self, tensor):
        self.tensor = tensor


def samples(predictions, by_index=None):
    for token, sample in predictions.items():
        instances = {
            "bboxes_3d": Boxes(torch.tensor(sample["bboxes_3d"])), "scores_3d": torch.tensor(sample["scores_3d"]),
            "labels_3d": torch.tensor(sample["labels_3d"]),
        }  # fmt: skip
        name = {"token": token} if by_index is None else {"sample_idx": by_index[token]}
        yield {"pred_instances_3d": instances, **name}


def metric(root, folder, **kwargs):
    made = NuScenesBEVMetric(str(root), "nuscenes_infos_val.pkl", output_dir=folder, **kwargs)
    made.dataset_meta = {"classes": CLASSES}
    return made


@pytest.mark.parametrize("named_by", ["token", "index"])
def test_metric_writes_and_scores(val, tiny_nuscenes_readonly, tmp_path, named_by):
    judge = metric(tiny_nuscenes_readonly, tmp_path / "run", modality={"use_camera": True})
    by_index = {info["token"]: i for i, info in enumerate(val)} if named_by == "index" else None
    for sample in samples(truth(val), by_index):
        judge.process(None, [sample])
    scores = judge.evaluate(len(val))
    assert scores["mAP"] == pytest.approx(0.3)
    assert scores["AP/car"] == pytest.approx(1.0)
    assert all(isinstance(value, float) for value in scores.values())
    written = json.loads((tmp_path / "run/results_nusc.json").read_text())
    assert written["meta"]["use_camera"] is True
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "results_nusc.json", "scores.json", "metrics_summary.json", "metrics_details.json",
    }  # fmt: skip


def test_metric_needs_a_place_and_every_sample(val, tiny_nuscenes_readonly, tmp_path):
    judge = metric(tiny_nuscenes_readonly, tmp_path)
    judge.process(None, list(samples(truth(val)))[:2])
    with pytest.raises(DataError, match="1 of 3 samples of split mini_val have no entry"):
        judge.evaluate(2)
    MMLogger.get_instance(tmp_path.name)  # the current logger, whatever ran before, writes no file
    judge = metric(tiny_nuscenes_readonly, None)
    judge.process(None, list(samples(truth(val))))
    with pytest.raises(ConfigError, match="output_dir"):
        judge.evaluate(len(val))
    only = metric(tiny_nuscenes_readonly, tmp_path / "only", format_only=True)
    only.process(None, list(samples(truth(val))))
    assert only.evaluate(len(val)) == {}
    assert (tmp_path / "only/results_nusc.json").is_file()


def test_killed_write_leaves_the_old_file(tmp_path):
    path = write_json({"a": 1}, tmp_path / "r.json")
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def tool(*args):
    command = [sys.executable, "tools/eval_nuscenes.py", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env={"PYTHONPATH": str(ROOT)})


def test_tool_prints_a_table_and_json(val, tiny_nuscenes_readonly, tmp_path):
    path = write_json(format_results(truth(val), val), tmp_path / "r.json")
    run = tool("--result", path, "--data-root", tiny_nuscenes_readonly, "--version", "v1.0-mini",
               "--output-dir", tmp_path / "out")  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "| car | 1.000 |" in run.stdout
    printed = json.loads(run.stdout.splitlines()[-1], parse_constant=pytest.fail)  # strict JSON: no NaN
    assert printed["mAP"] == pytest.approx(0.3)
    assert printed["per_class"]["barrier"]["AVE"] is None
    assert (tmp_path / "out/scores.json").is_file()


def test_tool_refuses_with_one_sentence(tiny_nuscenes_readonly, tmp_path):
    (tmp_path / "r.json").write_text('{"meta": {}, "results": {}}')
    run = tool("--result", tmp_path / "r.json", "--data-root", tiny_nuscenes_readonly)
    assert run.returncode == 2
    assert (
        run.stderr.strip()
        .splitlines()[-1]
        .startswith(f"error: {tmp_path / 'r.json'}: 3 of 3 samples of split mini_val have no entry")
    )


def test_score_table_has_every_class(val, tiny_nuscenes_readonly, tmp_path):
    table = score_table(score(truth(val), val, tiny_nuscenes_readonly, tmp_path))
    assert all(f"| {name} |" in table for name in CLASSES)
    assert "| barrier | 1.000 | 0.000 | 0.000 |" in table


def test_devkit_golden_values():
    """The installed devkit reproduces its own published numbers, NDS 0.08606662159639042 among them, without data."""
    from nuscenes.eval.detection.tests import test_algo, test_utils

    state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        suite = unittest.TestSuite()
        for module in (test_algo, test_utils):
            suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(module))
        outcome = unittest.TestResult()
        suite.run(outcome)
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
    assert outcome.testsRun >= 17
    assert not outcome.errors + outcome.failures

"""Scores on other splits than the official ones, and on what is there of a split."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bevkd.datasets import safe_pickle
from bevkd.datasets.constants import CLASSES
from bevkd.datasets.infos import create_infos
from bevkd.errors import ConfigError, DataError
from bevkd.evaluation.files import write_json
from bevkd.evaluation.nuscenes import NuScenesBEVMetric, evaluate

ROOT = Path(__file__).parents[2]


class Boxes:
    def __init__(self, tensor):
        self.tensor = tensor


def predict(judge, infos, found=True):
    """Give a metric the ground truth, or nothing."""
    for info in infos:
        instances = [i for i in info["instances"] if found and i["bbox_label_3d"] >= 0]
        boxes = torch.tensor([[*i["bbox_3d"], *i["velocity"]] for i in instances]).reshape(-1, 9)
        boxes[:, 2] -= boxes[:, 5] / 2
        labels = torch.tensor([i["bbox_label_3d"] for i in instances], dtype=torch.long)
        predicted = {"bboxes_3d": Boxes(boxes), "scores_3d": torch.full((len(boxes),), 0.5), "labels_3d": labels}
        judge.process(None, [{"pred_instances_3d": predicted, "token": info["token"]}])
    return judge.evaluate(len(infos))


def metric(root, path, folder, **kwargs):
    judge = NuScenesBEVMetric(str(root), str(path), output_dir=folder, **kwargs)
    judge.dataset_meta = {"classes": CLASSES, **safe_pickle.load(path)["metainfo"]}
    return judge


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The tiny folder with splits.json, and infos of one of its splits."""
    import tiny_nuscenes

    root = tiny_nuscenes.write(tmp_path_factory.mktemp("splits") / "nuscenes")
    splits = {"mine": ["scene-0553", "scene-0103"], "one": ["scene-0553"], "gone": ["scene-0553", "scene-9999"]}
    (root / "v1.0-mini/splits.json").write_text(json.dumps(splits))
    create_infos(root, "v1.0-mini", splits=["mine"])
    return root


def test_a_metric_scores_the_split_of_its_info_file(world, tmp_path):
    path = world / "nuscenes_infos_mine.pkl"
    infos = safe_pickle.load(path)["data_list"]
    judge = metric(world, path, tmp_path)
    assert predict(judge, infos)["AP/car"] == pytest.approx(1.0)
    # the file holds two scenes; one of them is a split of its own, as the devkit takes it
    one = metric(world, path, tmp_path / "one", eval_set="one")
    assert predict(one, infos)["AP/car"] == pytest.approx(1.0)
    content = json.loads((tmp_path / "results_nusc.json").read_text())
    for info in infos[:3]:
        content["results"][info["token"]] = []
    half = evaluate(write_json(content, tmp_path / "half.json"), world, eval_set="mine")
    assert 0 < half["mAP"] < 0.3
    assert evaluate(tmp_path / "half.json", world, eval_set="one")["mAP"] == 0  # nothing found in this part


def test_tokens_that_do_not_fit_are_counted_on_both_sides(world, tmp_path):
    path = world / "nuscenes_infos_mine.pkl"
    infos = safe_pickle.load(path)["data_list"]
    predict(metric(world, path, tmp_path), infos)
    results = tmp_path / "results_nusc.json"
    with pytest.raises(DataError, match=r"3 of its 6 samples are not in split mini_val, the first is [0-9a-f]{32}"):
        evaluate(results, world, eval_set="mini_val")
    with pytest.raises(
        DataError, match=r"3 of 6 samples of split mini_train have no entry, the first is \w{32} and 3 of its 6 samples"
    ):
        evaluate(results, world, eval_set="mini_train")
    content = json.loads(results.read_text())
    content["results"]["f" * 32] = []  # no sample of the tables at all
    with pytest.raises(DataError, match="1 of its 7 samples are not in split mine, the first is ffff"):
        evaluate(write_json(content, tmp_path / "extra.json"), world, eval_set="mine")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eval_set": "mien"}, "split mien is neither .*; nearest: mine"),
        ({"eval_set": "val"}, r"split val belongs to v1\.0-trainval"),
        ({"eval_set": "gone"}, "1 of the 2 scenes of split gone are not in table scene, the first is scene-9999"),
    ],
)
def test_a_split_that_cannot_be_scored_is_known_before_anything_runs(world, tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        metric(world, world / "nuscenes_infos_mine.pkl", tmp_path, **options)
    metric(world, world / "nuscenes_infos_mine.pkl", tmp_path, format_only=True, **options)  # nothing is scored


def without_annotations(root):
    """Make the folder what the official test split is: tables of v1.0-test without annotations."""
    (root / "v1.0-mini").rename(root / "v1.0-test")
    for table in ("sample_annotation", "instance"):
        (root / f"v1.0-test/{table}.json").write_text("[]")
    scenes = json.loads((root / "v1.0-test/scene.json").read_text())
    scenes[0]["name"] = "scene-0077"  # one of the official test scenes
    (root / "v1.0-test/scene.json").write_text(json.dumps(scenes))


def test_the_test_split_is_written_and_never_scored(tiny_nuscenes, tmp_path):
    without_annotations(tiny_nuscenes)
    path = create_infos(tiny_nuscenes, "v1.0-test")["test"]
    infos = safe_pickle.load(path)
    assert len(infos["data_list"]) == 3
    assert "instances" not in infos["data_list"][0]
    with pytest.raises(DataError, match=r"sample_annotation is empty, .* format_only=True"):
        metric(tiny_nuscenes, path, tmp_path)
    judge = metric(tiny_nuscenes, path, tmp_path, format_only=True)
    assert predict(judge, [{**info, "instances": []} for info in infos["data_list"]]) == {}
    with pytest.raises(DataError, match="3 samples of split test have no annotation of the ten classes"):
        evaluate(tmp_path / "results_nusc.json", tiny_nuscenes, "v1.0-test")


@pytest.mark.parametrize("found", [True, False])
def test_scenes_that_were_left_out_are_not_scored(tiny_nuscenes, tmp_path, found):
    for path in tiny_nuscenes.glob("samples/*/scene-0061*"):
        path.unlink()
    path = create_infos(tiny_nuscenes, "v1.0-mini", log=lambda line: None)["train"]
    infos = safe_pickle.load(path)["data_list"]
    scores = predict(metric(tiny_nuscenes, path, tmp_path), infos, found)
    assert scores["AP/car"] == pytest.approx(float(found))
    with pytest.raises(DataError, match="3 of 6 samples of split mini_train have no entry"):
        evaluate(tmp_path / "results_nusc.json", tiny_nuscenes, eval_set="mini_train")
    assert not list(tiny_nuscenes.rglob("splits.json"))


def test_the_tool_scores_ones_own_split_and_names_the_nearest(world, tmp_path):
    path = world / "nuscenes_infos_mine.pkl"
    predict(metric(world, path, tmp_path), safe_pickle.load(path)["data_list"])
    command = [sys.executable, "tools/eval_nuscenes.py", "--result", str(tmp_path / "results_nusc.json"),
               "--data-root", str(world), "--eval-set"]  # fmt: skip
    runs = [
        subprocess.run([*command, split], cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
        for split in ("mine", "mines")
    ]
    assert runs[0].returncode == 0, runs[0].stderr
    assert "| car | 1.000 |" in runs[0].stdout
    assert runs[1].returncode == 2
    assert runs[1].stderr.strip().splitlines()[-1].startswith("error: split mines is neither")
    assert "nearest: mine" in runs[1].stderr


def test_modality_is_checked_and_completes_what_the_model_says(world, tmp_path):
    path = world / "nuscenes_infos_mine.pkl"
    for settings, message in (
        ({"use_lidr": True}, "has no 'use_lidr'; nearest: use_lidar"),
        ({"use_lidar": "yes"}, r"modality\.use_lidar of NuScenesBEVMetric is 'yes', expected True or False"),
    ):
        with pytest.raises(ConfigError, match=message):
            metric(world, path, tmp_path, modality=settings)
    judge = metric(world, path, tmp_path, modality={"use_external": True, "use_camera": False})
    with pytest.raises(ConfigError, match="says use_camera=False, and the model uses it"):
        judge.declare_inputs({"use_camera": True, "use_lidar": False})
    judge.declare_inputs({"use_camera": False, "use_lidar": True, "use_external": False})
    judge.note_batch({"inputs": {"points": [], "img": []}})  # a batch may hold more than the model reads
    said = {"use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False, "use_external": True}
    assert judge.inputs() == said


@pytest.mark.parametrize(
    ("keys", "used"),
    [(["points"], ["use_lidar"]), (["img"], ["use_camera"]), (["img", "points"], ["use_camera", "use_lidar"])],
)
def test_of_an_unknown_model_the_batches_speak(world, tmp_path, keys, used):
    judge = metric(world, world / "nuscenes_infos_mine.pkl", tmp_path)
    judge.declare_inputs({"use_external": True})
    judge.note_batch({"inputs": {key: [0] for key in keys}})
    assert [name for name, value in judge.inputs().items() if value] == [*used, "use_external"]

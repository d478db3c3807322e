"""mmdet3d's nuScenes metric in our hands: its own names and scores, and a score where it would end the run."""

import json

import pytest
import torch
from mmdet3d.structures import CameraInstance3DBoxes, LiDARInstance3DBoxes

from bevkd.datasets import safe_pickle
from bevkd.datasets.constants import CLASSES
from bevkd.errors import ConfigError, DataError
from bevkd.evaluation.nuscenes_stock import NuScenesStockMetric


@pytest.fixture(scope="module")
def val(tiny_nuscenes_readonly):
    return safe_pickle.load(tiny_nuscenes_readonly / "nuscenes_infos_val.pkl")


def judge(made, val, meta=True):
    made.dataset_meta = {"classes": CLASSES, **(val["metainfo"] if meta else {"version": "v1.0-mini"})}
    return made


def results(val, found=True):
    """Samples as mmdet3d's models return them: the truth, a little off, or nothing."""
    generator = torch.Generator().manual_seed(0)
    for index, info in enumerate(val["data_list"]):
        kept = [i for i in info["instances"] if found and i["bbox_label_3d"] >= 0]
        boxes = torch.tensor([[*i["bbox_3d"], *i["velocity"]] for i in kept]).reshape(-1, 9)
        boxes[:, :2] += torch.rand((len(boxes), 2), generator=generator)
        labels = torch.tensor([i["bbox_label_3d"] for i in kept], dtype=torch.long)
        instances = {
            "bboxes_3d": LiDARInstance3DBoxes(boxes, box_dim=9, origin=(0.5, 0.5, 0.5)),
            "scores_3d": torch.rand(len(boxes), generator=generator), "labels_3d": labels,
        }  # fmt: skip
        yield {"pred_instances_3d": instances, "pred_instances": {}, "sample_idx": index}


def score(metric, samples):
    for sample in samples:
        metric.process({"inputs": {"points": [0]}}, [sample])
    return metric.evaluate(len(metric.results))


@pytest.mark.parametrize("meta", [True, False])  # infos of mmdet3d's converter name no split
def test_names_and_scores_are_those_of_mmdet3d(tiny_nuscenes_readonly, val, tmp_path, meta, capsys):
    from mmdet3d.evaluation.metrics import NuScenesMetric

    root, file = str(tiny_nuscenes_readonly), str(tiny_nuscenes_readonly / "nuscenes_infos_val.pkl")
    theirs = score(judge(NuScenesMetric(root, file), val), results(val))
    ours = judge(NuScenesStockMetric(root, file, jsonfile_prefix=str(tmp_path)), val, meta)
    scores = score(ours, results(val))
    assert 0 < theirs["NuScenes metric/pred_instances_3d_NuScenes/NDS"] < 1
    assert set(scores) == set(theirs)
    assert scores == pytest.approx(theirs, nan_ok=True, rel=0, abs=0)
    written = json.loads((tmp_path / "pred_instances_3d/results_nusc.json").read_text())
    assert written["meta"] == {
        "use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False, "use_external": False,
    }  # fmt: skip


def test_nothing_found_scores_zero(tiny_nuscenes_readonly, val):
    root, file = str(tiny_nuscenes_readonly), str(tiny_nuscenes_readonly / "nuscenes_infos_val.pkl")
    scores = score(judge(NuScenesStockMetric(root, file), val), results(val, found=False))
    assert scores["NuScenes metric/pred_instances_3d_NuScenes/NDS"] == 0
    assert scores["NuScenes metric/pred_instances_3d_NuScenes/car_AP_dist_0.5"] == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="mmdet3d joins the boxes of six cameras on a GPU")
def test_boxes_of_single_cameras_need_a_gpu(tiny_nuscenes_readonly, val):
    root, file = str(tiny_nuscenes_readonly), str(tiny_nuscenes_readonly / "nuscenes_infos_val.pkl")
    metric = judge(NuScenesStockMetric(root, file), val)
    instances = {"bboxes_3d": CameraInstance3DBoxes(torch.zeros(0, 9), box_dim=9)}
    metric.process({}, [{"pred_instances_3d": instances, "pred_instances": {}, "sample_idx": 0}])
    with pytest.raises(ConfigError, match="joins the boxes of single cameras on a GPU, and torch sees none"):
        metric.evaluate(1)


def test_what_cannot_be_scored_is_known_before_the_run(tiny_nuscenes_readonly, val):
    metric = NuScenesStockMetric(str(tiny_nuscenes_readonly), "x.pkl", eval_set="mini_vla")
    with pytest.raises(DataError, match="nearest: mini_val"):
        judge(metric, val)

"""The synthetic Waymo world, its infos and the metric agree: the truth as predictions scores perfectly."""

import pytest
from mmengine.structures import InstanceData

from bevkd.datasets.synthetic.waymo_create import create_waymo
from bevkd.datasets.waymo.convert import convert
from bevkd.datasets.waymo.dataset import WaymoBEVDataset
from bevkd.evaluation.waymo_metric import WaymoBEVMetric


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("waymo_world") / "set"
    size = {"image_size": (48, 64), "azimuths": 200, "beams": 24, "scenes": ["scene-0103"]}
    convert(create_waymo(root, frames=3, progress=False, **size), workers=1, progress=False)
    return root


def score(folder, raised):
    import torch

    data = WaymoBEVDataset(str(folder), "waymo_infos_val.pkl", test_mode=True)
    metric = WaymoBEVMetric(str(folder), "waymo_infos_val.pkl", output_dir=str(folder / "out"))
    metric.dataset_meta = data.metainfo
    for index in range(len(data)):
        truth = data.get_data_info(index)["eval_ann_info"]
        boxes = truth["gt_bboxes_3d"].clone()
        boxes.translate([0, 0, raised])
        found = InstanceData(
            bboxes_3d=boxes, labels_3d=torch.from_numpy(truth["gt_labels_3d"]), scores_3d=torch.full((len(boxes),), 0.9)
        )
        metric.process(None, [{"sample_idx": index, "pred_instances_3d": found}])
    return metric.evaluate(len(data))


def test_the_truth_scores_perfectly_and_a_raised_truth_does_not(folder):
    scores = score(folder, 0.0)
    for name in ("VEHICLE", "PEDESTRIAN", "CYCLIST"):
        assert scores[f"OBJECT_TYPE_TYPE_{name}_LEVEL_2/APH"] == pytest.approx(1, abs=1e-6)
    raised = score(folder, 0.9)  # half a car's height, the price of taking a bottom for a middle
    assert raised["OBJECT_TYPE_TYPE_VEHICLE_LEVEL_2/AP"] < 0.5

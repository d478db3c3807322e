"""Metrics are told what the model uses, and mmdet3d's nuScenes metric is replaced wherever a config may have it."""

import pytest
from mmengine.config import Config
from torch import nn

from bevkd.engine.evaluators import model_inputs, replace_stock_metrics, tell_inputs


class Model(nn.Module):
    """A model with the given parts."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def part(init_cfg=None):
    module = nn.Linear(1, 1)
    module.init_cfg = init_cfg
    return module


LIDAR, CAMERA = {"use_lidar": True, "use_camera": False}, {"use_lidar": False, "use_camera": True}
BOTH = {"use_lidar": True, "use_camera": True}
MODELS = {
    "bevkd LiDAR": (Model(lidar_encoder=part(), camera_encoder=None), LIDAR),
    "bevkd camera": (Model(lidar_encoder=None, camera_encoder=part()), CAMERA),
    "bevkd fusion": (Model(lidar_encoder=part(), camera_encoder=part()), BOTH),
    "mmdet3d CenterPoint": (Model(pts_voxel_encoder=part(), pts_bbox_head=part()), LIDAR),
    "mmdet3d VoxelNet": (Model(voxel_encoder=part()), LIDAR),
    "mmdet3d fusion": (Model(pts_voxel_encoder=part(), img_backbone=part()), BOTH),
    "a distiller's student": (Model(student=Model(camera_encoder=part()), lidar_encoder=part()), CAMERA),
    "in DDP": (Model(module=Model(student=Model(camera_encoder=part()))), CAMERA),
    "unknown": (Model(backbone=part()), {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_sensors_follow_the_model_that_is_scored(name):
    model, expected = MODELS[name]
    assert model_inputs(model) == {**expected, "use_external": False}


@pytest.mark.parametrize(
    ("init_cfg", "external"),
    [
        ({"type": "Pretrained", "checkpoint": "https://download.pytorch.org/models/resnet50.pth"}, True),
        ([{"type": "Kaiming"}, {"type": "Pretrained", "checkpoint": "torchvision://resnet50"}], True),
        ([{"type": "Kaiming", "layer": "Conv2d"}], False),
        (None, False),
    ],
)
def test_pretrained_weights_are_external_data(init_cfg, external):
    student = Model(camera_encoder=Model(backbone=part(init_cfg)))
    assert model_inputs(student)["use_external"] is external
    other = Model(student=Model(camera_encoder=part()), methods=part(init_cfg))
    assert model_inputs(other)["use_external"] is False  # no part of the student


def test_metrics_that_ask_are_told():
    class Asks:
        def declare_inputs(self, found):
            self.found = found

    metric = Asks()
    tell_inputs([object(), metric], MODELS["bevkd fusion"][0])
    assert metric.found == {**BOTH, "use_external": False}


class NuScenesMetric:
    """Stands for mmdet3d's class in a config of pure Python."""


@pytest.mark.parametrize(
    "evaluator",
    [
        {"type": "NuScenesMetric"},
        {"type": "mmdet3d.NuScenesMetric"},
        [{"type": "KittiMetric"}, {"type": "NuScenesMetric"}],
        {"type": "Evaluator", "metrics": [{"type": "NuScenesMetric"}]},
    ],
)
def test_the_stock_metric_is_replaced(evaluator):
    cfg = Config({"val_evaluator": evaluator, "test_evaluator": None})
    replace_stock_metrics(cfg)
    assert "'NuScenesMetric'" not in str(cfg.val_evaluator)
    assert str(cfg.val_evaluator).count("NuScenesStockMetric") == 1
    assert str(cfg.val_evaluator).count("KittiMetric") == str(evaluator).count("KittiMetric")


def test_the_stock_metric_as_a_class_is_replaced():
    cfg = {"val_evaluator": {"type": NuScenesMetric}}
    replace_stock_metrics(cfg)
    assert cfg["val_evaluator"]["type"] == "NuScenesStockMetric"

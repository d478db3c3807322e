"""Metrics are told what the model uses, and mmdet3d's nuScenes metric is replaced wherever a config may have it."""

from pathlib import Path

import pytest
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from bevkd.engine import load_config, register_all
from bevkd.engine.evaluators import model_inputs, prepare_metrics, replace_stock_metrics
from bevkd.errors import ConfigError

ROOT = Path(__file__).parents[2]


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
KINDS = {
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


@pytest.mark.parametrize("name", KINDS)
def test_sensors_follow_the_model_that_is_scored(name):
    model, expected = KINDS[name]
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
    prepare_metrics([object(), metric], KINDS["bevkd fusion"][0])
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


class WaymoMetric:
    """Stands for mmdet3d's, which calls a program."""

    format_only = False


def test_stock_waymo_without_the_official_tool_is_refused_before_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metric = WaymoMetric()
    with pytest.raises(ConfigError, match=r"calls mmdet3d/.*_main, which is not there; expected WaymoBEVMetric"):
        prepare_metrics([metric], Model())
    metric.format_only = True
    prepare_metrics([metric], Model())
    metric.format_only = False
    tool = tmp_path / "mmdet3d/evaluation/functional/waymo_utils/compute_detection_metrics_main"
    tool.parent.mkdir(parents=True)
    tool.touch()
    prepare_metrics([metric], Model())


RECIPES = {
    "configs/synthetic/lidar_teacher.py": LIDAR,
    "configs/synthetic/camera_student.py": CAMERA,
    "configs/synthetic/fusion.py": BOTH,
    "configs/synthetic/unidistill_lidar_to_camera.py": CAMERA,  # the student's, whose teacher has LiDAR
    "configs/camera/lift_splat_r50_nuscenes.py": {**CAMERA, "use_external": True},  # ImageNet
    "mmdet3d::pointpillars/pointpillars_hv_secfpn_sbn-all_8xb4-2x_nus-3d": LIDAR,
    "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d": LIDAR,
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_say_what_they_are(recipe):
    register_all()
    spec = recipe if "::" in recipe else ROOT / recipe
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        model = MODELS.build(load_config(spec).model)
    assert model_inputs(model) == {"use_external": False, **RECIPES[recipe]}

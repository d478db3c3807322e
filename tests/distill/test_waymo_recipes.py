"""The Waymo recipes: teacher and student fit, and the small ones take a step on a synthetic world."""

import math
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper

from bevkd.datasets.waymo.names import CAMERAS, CLASSES
from bevkd.distill.models import build_model
from bevkd.engine import register_all

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "configs/waymo").glob("*.py"))
PAIRS = [path for path in RECIPES if "unidistill" in path]
SMALL = [path for path in RECIPES if path.endswith("_synthetic.py")]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)  # recipes name each other from there
    register_all()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from bevkd.datasets.synthetic.waymo_create import create_waymo
    from bevkd.datasets.waymo.convert import convert

    root = tmp_path_factory.mktemp("recipes") / "world"
    create_waymo(
        root, frames=2, image_size=(64, 96), azimuths=200, beams=24, scenes=["scene-0061", "scene-0103"], progress=False
    )
    convert(root, workers=1, progress=False)
    return root


def test_no_recipe_is_forgotten():
    assert len(RECIPES) == 6
    assert len(PAIRS) == 2


@pytest.mark.parametrize("path", PAIRS)
def test_teacher_and_student_fit(path):
    config = Config.fromfile(path).model
    student, teacher = build_model(config.student, path), build_model(config.teacher.config, path)
    assert student.grid == teacher.grid
    assert student.classes == teacher.classes == CLASSES
    assert student.camera_encoder.out_channels == teacher.lidar_encoder.out_channels
    assert student.bev_encoder.out_channels == teacher.bev_encoder.out_channels
    assert student.camera_encoder.z_range == teacher.lidar_encoder.point_range[2::3]


@pytest.mark.parametrize("path", RECIPES)
def test_data_hold_what_the_models_look_at(path):
    config = Config.fromfile(path)
    for loader, model in (
        (config.train_dataloader, config.model),
        (config.test_dataloader, config.model.get("student", config.model)),
    ):
        steps = {step["type"]: step for step in loader.dataset.pipeline}
        looked_at = str(model) + (str(Config.fromfile(model.teacher.config).model) if "teacher" in model else "")
        assert ("LoadWaymoPoints" in steps) == ("lidar_encoder" in looked_at)
        assert ("LoadCameras" in steps) == ("camera_encoder" in looked_at)
        if "LoadCameras" in steps:
            assert steps["LoadCameras"]["cameras"] == tuple(CAMERAS.values())
    assert config.test_evaluator.type == "WaymoBEVMetric"


@pytest.mark.parametrize("path", SMALL)
def test_small_recipes_take_a_step_and_predict(path, world, tmp_path):
    config = Config.fromfile(path)
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.dataset.data_root = str(world)
        for step in loader.dataset.pipeline:
            if "size" in step:
                step["size"] = (64, 96)
    torch.manual_seed(0)
    if "teacher" in config.model:
        checkpoint = tmp_path / "teacher.pth"
        torch.save(build_model(config.model.teacher.config, "teacher").state_dict(), checkpoint)
        config.model.teacher.checkpoint = str(checkpoint)
    model = build_model(config.model, "model")
    model.init_weights()
    model.train()
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3), clip_grad={"max_norm": 35})
    data = DATASETS.build(config.train_dataloader.dataset)
    log = model.train_step(pseudo_collate([data[0], data[1]]), optimizer)
    assert all(math.isfinite(float(value)) for value in log.values())
    assert ("unidistill" in path) == any(name.startswith("kd/unidistill/") for name in log)
    found = model.eval().test_step(pseudo_collate([DATASETS.build(config.val_dataloader.dataset)[0]]))
    assert (found[0].pred_instances_3d.labels_3d < 3).all()

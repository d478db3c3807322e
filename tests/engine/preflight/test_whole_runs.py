"""The checks as a run meets them: real data sets, the recipes' detectors, stock mmdet3d configs; no step is taken."""

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from bevkd.datasets.constants import CLASSES
from bevkd.engine import build_runner, load_config, preflight, register_all
from bevkd.engine.config import apply_flags
from bevkd.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[3]
TEACHER, CAMERA = "configs/synthetic/lidar_teacher.py", "configs/synthetic/camera_student.py"
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
SWAPPED = (CLASSES[1], CLASSES[0], *CLASSES[2:])


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def config(root, tmp_path, recipe=TEACHER):
    cfg = load_config(recipe)
    apply_flags(cfg, work_dir=str(tmp_path), data_root=str(root))
    for key in LOADERS:
        cfg[key].num_workers = 0
    return cfg


def train_loop(cfg):
    runner = build_runner(cfg)
    return runner.build_train_loop(runner._train_loop)


def test_a_recipe_passes_and_its_test_loader_too(tiny_nuscenes_readonly, tmp_path):
    runner = build_runner(config(tiny_nuscenes_readonly, tmp_path))
    runner.build_train_loop(runner._train_loop)
    runner.build_val_loop(runner._val_loop)
    runner.build_test_loop(runner._test_loop)


@pytest.mark.parametrize("loader", LOADERS)
def test_classes_of_any_loader(tiny_nuscenes_readonly, tmp_path, loader):
    cfg = config(tiny_nuscenes_readonly, tmp_path)
    cfg[loader].dataset.metainfo = {"classes": SWAPPED}
    with pytest.raises(ConfigError, match=rf"{loader}: the data set calls label 0 truck, model.classes calls it car"):
        train_loop(cfg)


def test_classes_behind_a_wrapper_and_those_of_testing(tiny_nuscenes_readonly, tmp_path):
    cfg = config(tiny_nuscenes_readonly, tmp_path)
    inner = {**cfg.train_dataloader.dataset, "metainfo": {"classes": SWAPPED}}
    cfg.train_dataloader.dataset = {"type": "RepeatDataset", "times": 2, "dataset": inner}
    with pytest.raises(ConfigError, match="train_dataloader: the data set calls label 0 truck"):
        train_loop(cfg)
    cfg = config(tiny_nuscenes_readonly, tmp_path)
    cfg.test_dataloader.dataset.metainfo = {"classes": CLASSES[:3]}
    runner = build_runner(cfg)
    with pytest.raises(ConfigError, match=r"test_dataloader: the data set has the classes .* only in model.classes"):
        runner.build_test_loop(runner._test_loop)


def test_a_subset_in_both_places_passes(tiny_nuscenes_readonly, tmp_path):
    cfg = config(tiny_nuscenes_readonly, tmp_path)
    for key in LOADERS:
        cfg[key].dataset.metainfo = {"classes": ("pedestrian", "car")}
    head = {"tasks": [("car",), ("pedestrian",)], "test_cfg": {"min_radius": [4.0, 0.175]}}
    cfg.model.update(classes=("pedestrian", "car"), head={**cfg.model.head, **head})
    train_loop(cfg)


def test_no_class_of_that_name(tiny_nuscenes_readonly, tmp_path):
    cfg = config(tiny_nuscenes_readonly, tmp_path)
    cfg.val_dataloader.dataset.metainfo = {"classes": ("car", "pedestrain")}
    with pytest.raises(ConfigError, match=r"val_dataloader: metainfo.classes has 'pedestrain'.*nearest: pedestrian"):
        build_runner(cfg)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"test_mode": True}, ConfigError, "test_mode=True"),
        ({"pipeline": [{"type": "LoadCameras", "size": (64, 96)}, {"type": "PackBEV"}]}, ConfigError, "loads points"),
        ({"with_velocity": False}, ConfigError, r"have 7 columns \(with_velocity=False\)"),
        ({"indices": 0}, ConfigError, r"infos_train.pkl has no sample, or indices"),
    ],
)
def test_a_training_set_that_cannot_teach(tiny_nuscenes_readonly, tmp_path, change, error, sentence):
    cfg = config(tiny_nuscenes_readonly, tmp_path)
    cfg.train_dataloader.dataset.update(change)
    with pytest.raises(error, match=sentence):
        build_runner(cfg).train()


def test_all_boxes_beyond_the_grid(tiny_nuscenes_readonly, tmp_path):
    cfg = config(tiny_nuscenes_readonly, tmp_path)
    cfg.model.grid = {"x_range": (300.0, 380.0), "y_range": (-40.0, 40.0), "cell": 1.0}
    with pytest.raises(DataError, match=r"nuscenes_infos_train.pkl: none of \d+ samples .* outside the model's grid"):
        train_loop(cfg)


def test_image_size_of_a_camera_student(tiny_nuscenes_readonly, tmp_path):
    cfg = config(tiny_nuscenes_readonly, tmp_path, CAMERA)
    train_loop(cfg)
    cfg.train_dataloader.dataset.pipeline[0]["size"] = (100, 352)
    with pytest.raises(ConfigError, match=r"train_dataloader: LoadCameras.size is \(100, 352\)"):
        train_loop(cfg)


def test_no_sample_is_loaded_and_infos_only_up_to_the_first_box(tiny_nuscenes_readonly, tmp_path, monkeypatch):
    from bevkd.datasets.nuscenes import NuScenesBEVDataset

    looked = []
    monkeypatch.setattr(NuScenesBEVDataset, "prepare_data", lambda self, index: pytest.fail("a sample was loaded"))
    read = NuScenesBEVDataset.get_data_info
    monkeypatch.setattr(NuScenesBEVDataset, "get_data_info", lambda s, i: looked.append(i) or read(s, i))
    cfg = config(tiny_nuscenes_readonly, tmp_path, CAMERA)
    cfg.train_dataloader.dataset = {"type": "RepeatDataset", "times": 500, "dataset": cfg.train_dataloader.dataset}
    train_loop(cfg)
    assert set(looked) == {0}


@pytest.mark.parametrize("tool", ["cache", "inspect", "export"])
def test_every_tool_that_joins_a_model_with_data(tiny_nuscenes_readonly, tmp_path, tool):
    import torch

    from bevkd.distill.models import build_model
    from bevkd.engine.export import load_student
    from bevkd.engine.teacher_cache import cache_teacher
    from bevkd.visualization.inspect import inspect_sample

    register_all()
    cfg = config(tiny_nuscenes_readonly, tmp_path)
    checkpoint = tmp_path / "weights.pth"
    torch.save({"state_dict": build_model(cfg.model, "model").state_dict()}, checkpoint)
    for key in LOADERS:
        cfg[key].dataset.metainfo = {**cfg[key].dataset.get("metainfo", {}), "classes": SWAPPED}
    run = {
        "cache": lambda: cache_teacher(cfg, checkpoint, tmp_path / "cache"),
        "inspect": lambda: inspect_sample(cfg, checkpoint),
        "export": lambda: load_student(cfg, checkpoint),
    }[tool]
    with pytest.raises(ConfigError, match=r"_dataloader: the data set calls label 0 truck, model.classes calls it car"):
        run()
    assert not list(tmp_path.glob("cache/*.json"))


@pytest.mark.slow
def test_stock_configs_pass():
    register_all()
    root = Path(find_spec("mmdet3d").submodule_search_locations[0], ".mim", "configs")
    refused, heads = [], 0
    for file in sorted(f for f in root.rglob("*.py") if "_base_" not in f.parts):
        try:
            cfg = load_config(file)
            preflight.check_settings(cfg)
            preflight.require_known_classes(cfg)
            head = (cfg.get("model") or {}).get("pts_bbox_head") or {}
            if head.get("type") == "CenterHead":
                heads += 1
                tasks = [name for task in head["tasks"] for name in task["class_names"]]
                preflight.require_configured_classes(cfg, SimpleNamespace(classes=tasks))
        except ConfigError as error:
            # Broken ones, and those of 2D detectors that name no data set, which mmengine refuses as well.
            if "cannot be read" not in str(error) and "but no train_dataloader" not in str(error):
                refused.append(f"{file.name}: {error}")
    assert heads > 5
    assert not refused


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pillar02", "voxel01", "voxel0075"])
def test_stock_centerpoints_state_one_range(name):
    register_all()
    from mmdet3d.registry import MODELS

    cfg = load_config(f"mmdet3d::centerpoint/centerpoint_{name}_second_secfpn_8xb4-cyclic-20e_nus-3d")
    model = MODELS.build(cfg.model)
    preflight.require_one_range(model, model.pts_bbox_head)
    model.pts_bbox_head.train_cfg["point_cloud_range"] = [-40, -40, -5, 40, 40, 3]
    with pytest.raises(ConfigError, match=r"head has train_cfg.point_cloud_range \[-40, .* its voxel_layer has"):
        preflight.require_one_range(model, model.pts_bbox_head)

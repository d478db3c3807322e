"""Every recipe builds; full-size ones are followed by shapes alone."""

import ast
import copy
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config

from bevkd.detectors.bev_attention import Views

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").glob("[!_]*/*.py"))
# Those of distillation and comparison name these.
DETECTORS = [
    p
    for p in RECIPES
    if p.split("/")[1] not in ("unidistill", "distillbev", "rdd", "mmdet3d", "compare", "classification")
]
PAIRS = [
    ("configs/lidar/pillar_nuscenes.py", "configs/unidistill/lidar_to_camera_nuscenes.py"),
    ("configs/synthetic/lidar_teacher.py", "configs/synthetic/unidistill_lidar_to_camera.py"),
]


def student(path: str):
    """The detector of a recipe, which for a distiller is its student."""
    model = Config.fromfile(ROOT / path).model
    if "VoxelEncoder" in str(model):
        pytest.importorskip("spconv")
    return MODELS.build(model.get("student", model))


def meta(module):
    module = copy.deepcopy(module).to("meta")
    module.eval()  # mmdet's ResNet returns None from it
    return module


def depth(path: Path) -> int:
    """How many files one passes from a recipe to its deepest base."""
    tree = ast.parse(path.read_text())
    named = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "_base_"]
    bases = ast.literal_eval(named[0]) if named else []
    bases = [bases] if isinstance(bases, str) else bases
    # What a package ships (mmdet3d::...) is not ours to count.
    return max((1 if "::" in base else 1 + depth(path.parent / base) for base in bases), default=0)


@pytest.mark.parametrize("path", RECIPES)
def test_recipes_inherit_at_most_twice(path):
    assert depth(ROOT / path) <= 2


@pytest.mark.parametrize("path", DETECTORS)
def test_recipes_build(path):
    model = student(path)
    low = torch.empty(1, next(model.bev_encoder.backbone.parameters()).shape[1], *model.grid.shape, device="meta")
    maps = meta(model.head)([meta(model.bev_encoder)(low)])
    assert all(m.shape[-2:] == model.grid.shape for task in maps for m in task[0].values())


@pytest.mark.parametrize(("teacher", "distilled"), PAIRS)
def test_teacher_and_student_fit(teacher, distilled):
    config = Config.fromfile(ROOT / distilled)
    assert config.model.teacher.config == teacher
    theirs, ours = student(teacher), student(distilled)
    assert theirs.grid == ours.grid
    assert theirs.lidar_encoder.out_channels == ours.camera_encoder.out_channels
    assert theirs.bev_encoder.out_channels == ours.bev_encoder.out_channels
    assert theirs.head.class_names == ours.head.class_names
    loaded = [step["type"] for step in config.train_dataloader.dataset.pipeline]
    assert loaded == ["LoadSweeps", "LoadCameras", "BEVAugment", "PackBEV"]
    assert [s["type"] for s in config.val_dataloader.dataset.pipeline] == ["LoadCameras", "PackBEV"]


def test_full_size_shapes():
    camera = student("configs/camera/lift_splat_r50_nuscenes.py").camera_encoder
    images = torch.empty(6, 3, 256, 704, device="meta")
    features = meta(camera.neck)(meta(camera.backbone)(images))[0]
    depth, lifted = meta(camera.depth_net)(features)
    assert depth.shape == (6, 112, 16, 44)
    assert lifted.shape == (6, 16, 44, 256)
    assert camera.out_channels == 256
    lidar = student("configs/lidar/pillar_nuscenes.py").lidar_encoder
    assert lidar.shape == (720, 720)
    assert meta(lidar.stem)(torch.empty(1, 64, 720, 720, device="meta")).shape == (1, 256, 180, 180)


def test_full_size_bevdepth():
    camera = student("configs/camera/bevdepth_r50_nuscenes.py").camera_encoder
    features = torch.empty(6, 512, 16, 44, device="meta")
    depth, lifted = meta(camera.depth_net)(features, None, torch.empty(6, 17, device="meta"))
    assert depth.shape == (6, 112, 16, 44)
    assert lifted.shape == (6, 16, 44, 80)
    assert meta(camera.stem)(torch.empty(1, 80, 180, 180, device="meta")).shape == (1, 256, 180, 180)
    assert camera.depth_weight == 3.0


@pytest.mark.parametrize("name", ["bevdet4d", "bevdepth4d"])
def test_full_size_temporal(name):
    camera = student(f"configs/camera/{name}_r50_nuscenes.py").camera_encoder
    assert camera.encoder.out_channels == camera.out_channels == 256
    assert (camera.encoder.depth_weight > 0) == (name == "bevdepth4d")
    assert meta(camera.fuse)(torch.empty(1, 512, 180, 180, device="meta")).shape == (1, 256, 180, 180)


def test_full_size_bevformer():
    camera = student("configs/camera/bevformer_r50_nuscenes.py").camera_encoder
    features = meta(camera.neck)(meta(camera.backbone)(torch.empty(6, 3, 256, 704, device="meta")))
    shapes = [(32, 88), (16, 44), (8, 22)]
    assert [tuple(f.shape) for f in features] == [(6, 256, *shape) for shape in shapes]

    def empty(*shape, dtype=torch.float32):
        return torch.empty(1, *shape, device="meta", dtype=dtype)

    views = Views(
        empty(6, 7000, dtype=torch.int64),
        empty(6, 7000, dtype=torch.bool),
        empty(6, 7000, 4, 2),
        empty(32400, dtype=torch.int64),
    )
    values, queries = empty(6, sum(h * w for h, w in shapes), 256), empty(32400, 256)
    assert camera.queries.weight.shape == (32400, 256)
    layer = meta(camera.layers[0])
    out = layer(queries, queries, queries, empty(32400, 1, 2), (180, 180), values, shapes, views)
    assert out.shape == (1, 32400, 256)


def test_full_size_fusion():
    model = student("configs/fusion/lidar_camera_nuscenes.py")
    maps = [
        torch.empty(1, part.out_channels, 180, 180, device="meta")
        for part in (model.lidar_encoder, model.camera_encoder)
    ]
    low = meta(model.fusion)(maps)
    assert low.shape == (1, 256, 180, 180)
    assert meta(model.bev_encoder)(low).shape == (1, 512, 180, 180)


@pytest.mark.parametrize(("size", "channels"), [("", 256), ("_s", 256), ("_xs", 192), ("_xxs", 128)])
def test_full_size_voxels(size, channels):
    lidar = student(f"configs/lidar/voxel{size}_nuscenes.py").lidar_encoder
    assert lidar.voxel_size == pytest.approx((0.075, 0.075, 0.2))
    assert lidar.sparse.sparse_shape == [41, 1440, 1440]
    cloud = torch.rand(50, 5) * torch.tensor([100, 100, 7, 255, 0.4]) - torch.tensor([50, 50, 4.5, 0, 0])
    assert lidar.eval()([cloud]).shape == (1, channels, 180, 180)


@pytest.mark.parametrize(("name", "cells"), [("032", 360), ("040", 288), ("048", 240), ("064", 180)])
def test_pillar_sizes_cover_the_same_ground(name, cells):
    model = student(f"configs/lidar/pillar{name}_nuscenes.py")
    assert model.grid.shape == (cells, cells)
    assert model.grid.x_range == model.grid.y_range == (-57.6, 57.6)
    assert model.lidar_encoder.side == pytest.approx(115.2 / cells)

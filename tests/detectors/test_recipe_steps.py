"""Every synthetic recipe of a detector: one real training step, then a prediction, on a tiny nuScenes folder."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper

import bevkd.detectors
from bevkd.distill import LiveTeacher

ROOT = Path(__file__).resolve().parents[2]
SIZE = (64, 192)  # far fewer pixels than the recipes have
RECIPES = sorted(
    path.stem for path in (ROOT / "configs/synthetic").glob("*.py") if Config.fromfile(path).model.type == "BEVDetector"
)
CHANNELS = {"lidar_voxel_s": 96, "lidar_voxel_xs": 72, "lidar_voxel_xxs": 48}


def recipe(name: str) -> Config:
    config = Config.fromfile(ROOT / f"configs/synthetic/{name}.py")
    for loader in (config.train_dataloader, config.val_dataloader):
        for step in loader.dataset.pipeline:
            if "size" in step:
                step["size"] = SIZE
    return config


def batch(config: Config, root: Path, split: str, count: int) -> dict:
    from bevkd.datasets.nuscenes import NuScenesBEVDataset

    options = copy.deepcopy(config[f"{split}_dataloader"].dataset.to_dict())
    assert options.pop("type") == "NuScenesBEVDataset"
    data = NuScenesBEVDataset(**{**options, "data_root": str(root)})
    return pseudo_collate([data[i] for i in range(count)])


NEEDS_SPCONV = pytest.mark.skipif(not importlib.util.find_spec("spconv"), reason="spconv is not installed")


@pytest.mark.parametrize("name", [pytest.param(n, marks=NEEDS_SPCONV if "voxel" in n else ()) for n in RECIPES])
def test_one_step_and_a_prediction(name, tiny_nuscenes_readonly):
    torch.manual_seed(0)
    config = recipe(name)
    model = MODELS.build(config.model)
    model.init_weights()
    model.train()
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3), clip_grad={"max_norm": 35})
    data = batch(config, tiny_nuscenes_readonly, "train", 2)
    log = model.train_step(copy.deepcopy(data), optimizer)
    assert torch.isfinite(log["loss"])
    assert ("loss_depth" in log) == ("bevdepth" in name)
    # Behind a residual branch that starts at zero a weight may wait a step; a whole part may not.
    moved = {k.split(".")[0] for k, p in model.named_parameters() if not torch.equal(p, before[k])}
    assert moved == {k.split(".")[0] for k in before}
    found = model.eval().test_step(batch(config, tiny_nuscenes_readonly, "val", 1))
    assert found[0].pred_instances_3d.bboxes_3d.tensor.isfinite().all()

    teacher = LiveTeacher(model)
    inputs = model.data_preprocessor(data)
    features = teacher(inputs["inputs"], inputs["data_samples"], torch.device("cpu"))
    assert set(features) >= {"low", "high", "head"}
    assert features["low"].shape[2:] == features["high"].shape[2:] == model.grid.shape
    assert features["low"].shape[1] == CHANNELS.get(name, features["low"].shape[1])


def test_recipes_are_there():
    assert {
        "lidar_teacher",
        "camera_student",
        "camera_bevdepth",
        "camera_bevdet4d",
        "camera_bevformer",
        "fusion",
        "lidar_voxel",
        *CHANNELS,
    } <= set(RECIPES)
    assert bevkd.detectors.BEVDetector.__name__ in MODELS

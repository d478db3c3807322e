"""The whole detector: modes, names of classes, gradients, empty clouds, half precision, refusals."""

import copy
import importlib.util

import pytest
import torch
from detector_scenes import (
    GRID,
    IMAGE,
    camera_config,
    detector_config,
    fusion_config,
    one_of_each,
    sample,
    voxel_config,
)
from mmdet3d.registry import MODELS

from bevkd.datasets.constants import CLASSES
from bevkd.errors import ConfigError, DataError
from bevkd.structures.taps import record_taps

CONFIGS = {"lidar": detector_config, "voxel": voxel_config, "camera": camera_config, "fusion": fusion_config}


def build(config):
    import bevkd.detectors  # noqa: F401

    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(config))


def batch(size: int = 2):
    """Inputs of both sensors and data samples, one object of each class in every sample."""
    boxes, labels, cloud = one_of_each()
    images = torch.rand(size, 6, 3, *IMAGE, generator=torch.Generator().manual_seed(1))
    return {"points": [cloud] * size, "imgs": images}, [sample(boxes, labels) for _ in range(size)]


NEEDS_SPCONV = pytest.mark.skipif(not importlib.util.find_spec("spconv"), reason="spconv is not installed")


@pytest.fixture(params=[pytest.param(name, marks=NEEDS_SPCONV if name == "voxel" else ()) for name in CONFIGS])
def model(request):
    model = build(CONFIGS[request.param]())
    model.init_weights()
    return model


def test_modes_and_taps(model):
    inputs, samples = batch()
    with record_taps(model) as features:
        losses = model(inputs, samples, mode="loss")
    assert sorted(losses) == sorted(f"task{k}.loss_{part}" for k in range(6) for part in ("heatmap", "bbox"))
    assert features["low"].shape == (2, 16, *GRID.shape)
    assert features["high"].shape == (2, 32, *GRID.shape)
    assert [task["heatmap"].shape[1] for task in features["head"]] == [1, 2, 2, 1, 2, 2]
    model.eval()
    maps = model(inputs, samples, mode="tensor")
    assert [sorted(task) for task in maps] == [["dim", "heatmap", "height", "reg", "rot", "vel"]] * 6
    assert all(m.shape[0] == 2 and m.shape[2:] == GRID.shape for task in maps for m in task.values())
    found = model(inputs, samples, mode="predict")
    assert all(len(s.pred_instances_3d.bboxes_3d) == len(s.pred_instances_3d.scores_3d) for s in found)


def test_heatmaps_start_low(model):
    inputs, samples = batch()
    heat = torch.cat([task["heatmap"].flatten() for task in model.eval()(inputs, samples, mode="tensor")])
    assert heat.sigmoid().mean() < 0.2


def test_every_parameter_gets_a_gradient(model):
    inputs, samples = batch()
    sum(model(inputs, samples, mode="loss").values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    # The signs of an L1 loss can cancel exactly in a bias, so zero gradients are looked for under random weights.
    model.zero_grad()
    maps = [m for task in model(inputs, samples, mode="tensor") for m in task.values()]
    sum((m * torch.randn_like(m)).sum() for m in maps).backward()
    assert [n for n, p in model.named_parameters() if not p.grad.any()] == []


def train(model, inputs, samples, steps: int, lr: float) -> list[float]:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    history = []
    for _ in range(steps):
        total = sum(model(inputs, samples, mode="loss").values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        cycle.step()
        history.append(float(total.detach()))
    return history


def test_an_object_of_each_class_is_found_under_its_name():
    model = build(detector_config())
    model.init_weights()
    inputs, samples = batch(1)
    history = train(model, inputs, samples, 80, 1e-2)
    assert history[-1] < 0.05 * history[0]
    found = model.eval()(inputs, samples, mode="predict")[0].pred_instances_3d
    sure = found.scores_3d > 0.3
    boxes, labels, _ = one_of_each()
    assert sorted(found.labels_3d[sure].tolist()) == labels.tolist()
    for box, label in zip(boxes, labels):
        mine = found.bboxes_3d.tensor[sure][found.labels_3d[sure] == label][0]
        assert (mine[:2] - box[:2]).norm() < 0.3, CLASSES[label]
        torch.testing.assert_close(mine[3:6], box[3:6], rtol=0.1, atol=0.1)


def test_the_camera_loss_falls():
    model = build(camera_config())
    model.init_weights()
    inputs, samples = batch(1)
    history = train(model, inputs, samples, 25, 5e-3)
    assert history[-1] < 0.5 * history[0]


@pytest.mark.parametrize("config", [detector_config, pytest.param(voxel_config, marks=NEEDS_SPCONV)])
@pytest.mark.parametrize("cloud", [torch.zeros(0, 5), torch.full((9, 5), 500.0), torch.full((3, 5), float("nan"))])
def test_nothing_in_range_trains_and_finds_nothing(cloud, config):
    model = build(config())
    inputs, samples = batch()
    inputs["points"] = [cloud, cloud]
    total = sum(model(inputs, samples, mode="loss").values())
    total.backward()
    assert total.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    found = model.eval()(inputs, samples, mode="predict")
    assert [len(s.pred_instances_3d.bboxes_3d) for s in found] == [0, 0]
    assert [len(s.pred_instances_3d.labels_3d) for s in found] == [0, 0]


def test_a_batch_without_boxes_trains(model):
    inputs, samples = batch()
    samples = [sample(torch.zeros(0, 9), torch.zeros(0, dtype=torch.long)) for _ in samples]
    total = sum(model(inputs, samples, mode="loss").values())
    total.backward()
    assert total.isfinite()


def test_half_precision(model):
    inputs, samples = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = sum(model(inputs, samples, mode="loss").values())
        found = model.eval()(inputs, samples, mode="predict")
    total.backward()
    assert total.isfinite()
    assert all(s.pred_instances_3d.bboxes_3d.tensor.dtype == torch.float32 for s in found)


def test_missing_sensors():
    inputs, samples = batch()
    with pytest.raises(DataError, match="no 'points'"):
        build(detector_config())({"imgs": inputs["imgs"]}, samples, mode="tensor")
    camera = build(camera_config())
    with pytest.raises(DataError, match="no 'imgs'"):
        camera({"points": inputs["points"]}, samples, mode="tensor")
    del samples[1].lidar2img
    with pytest.raises(DataError, match="no 'lidar2img'"):
        camera(inputs, samples, mode="tensor")
    for missing in ("points", "imgs"):
        with pytest.raises(DataError, match=f"no '{missing}'"):
            build(fusion_config())({**batch()[0], missing: None}, batch()[1], mode="tensor")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lidar_encoder": None}, "has no encoder and no fusion, expected lidar_encoder or camera_encoder"),
        ({"camera_encoder": camera_config()["camera_encoder"]}, "has lidar and camera encoders and no fusion"),
        ({"fusion": {"type": "ChannelAttentionFusion"}}, "has lidar encoder and a fusion"),
        ({"grid": {"x_range": (0, 1), "y_range": (0, 1)}}, "model.grid lacks cell"),
        ({"grid": {"x_range": (0, 1), "y_range": (0, 1), "cel": 1}}, "model.grid has the unknown key 'cel'.*cell"),
        ({"lidar_encoder": {"type": "PilarEncoder"}}, "lidar_encoder.type is 'PilarEncoder'.*nearest: PillarEncoder"),
        ({"lidar_encoder": {"type": "PillarEncoder", "downsampl": 2}}, "'downsampl'.*nearest: downsample"),
        ({"lidar_encoder": {"type": "PillarEncoder", "grid": 1}}, "lidar_encoder sets grid"),
        ({"classes": ("car", "tram")}, "model.classes has 'tram'"),
        ({"data_preprocessor": {"type": "Det3DDataPreprocessor", "voxl": 1}}, "data_preprocessor.*'voxl'"),
    ],
)
def test_wrong_configs(changes, message):
    with pytest.raises(ConfigError, match=message):
        build(detector_config(**changes))

"""Every part of a detector starts from a trained detector, by init_cfg and by load_from."""

import copy

import pytest
import torch
from detector_scenes import CAMERA, detector_config, voxel_config

from bevkd.distill.models import build_model
from bevkd.errors import ConfigError
from bevkd.structures.parts import start_from
from bevkd.structures.pretrained import Pretrained

FUSION = {"camera_encoder": CAMERA, "fusion": {"type": "ChannelAttentionFusion", "out_channels": 16}}


def trained(config, path):
    """A detector whose every weight and statistic is random, saved."""
    model = build_model(copy.deepcopy(config), "the model")
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.rand(value.shape) + 1)
    torch.save({"state_dict": model.state_dict()}, path)
    return model


def equal(one, other):
    state = other.state_dict()
    return all(torch.equal(value, state[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize(
    "path",
    ["lidar_encoder", "camera_encoder", "camera_encoder.backbone", "fusion", "bev_encoder", "bev_encoder.neck", "head"],
)
def test_any_part_starts_by_init_cfg(tmp_path, path):
    config = detector_config(**FUSION)
    teacher = trained(config, tmp_path / "a.pth")
    node = config = copy.deepcopy(config)
    for name in path.split("."):
        node = node[name]
    node["init_cfg"] = {"type": Pretrained.__name__, "checkpoint": str(tmp_path / "a.pth"), "prefix": f"{path}."}
    model = build_model(config, "the model")
    model.init_weights()
    assert equal(model.get_submodule(path), teacher.get_submodule(path))
    assert not equal(model, teacher)


def test_a_whole_detector_with_sparse_convolutions_starts_from_the_other_layout(tmp_path):
    config = voxel_config()
    teacher = trained(config, tmp_path / "a.pth")
    state = torch.load(tmp_path / "a.pth", weights_only=True)["state_dict"]
    turned = {key: v.permute(*range(1, v.ndim), 0).contiguous() if v.ndim == 5 else v for key, v in state.items()}
    assert any(turned[key].shape != state[key].shape for key in state)
    torch.save(turned, tmp_path / "mmcv.pth")
    config["init_cfg"] = {"type": Pretrained.__name__, "checkpoint": str(tmp_path / "mmcv.pth")}
    model = build_model(config, "the model")
    model.init_weights()
    assert equal(model, teacher)


def test_fusion_starts_from_a_lidar_detector(tmp_path):
    teacher = trained(detector_config(), tmp_path / "lidar.pth")
    model = build_model(detector_config(**FUSION), "the model")
    parts = ("lidar_encoder", "bev_encoder", "head")
    start_from(model, {"checkpoint": tmp_path / "lidar.pth", "parts": parts})
    assert all(equal(model.get_submodule(part), teacher.get_submodule(part)) for part in parts)
    with pytest.raises(ConfigError, match=r"names 'lidar'.*nearest: "):
        start_from(model, {"checkpoint": tmp_path / "lidar.pth", "parts": ("lidar",)})

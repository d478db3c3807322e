"""The bird's-eye-view encoder stays on its grid, or is refused when it is built."""

import copy

import pytest
import torch
from detector_scenes import GRID, detector_config

from bevkd.detectors import BEVEncoder
from bevkd.errors import ConfigError


def parts(**changes) -> dict:
    config = copy.deepcopy(detector_config()["bev_encoder"])
    config.pop("type")
    for name, values in changes.items():
        config[name].update(values)
    return config


def test_shape_and_channels():
    encoder = BEVEncoder(GRID, 5, **parts())
    high = encoder(torch.randn(2, 5, *GRID.shape))
    assert high.shape == (2, 32, *GRID.shape)
    assert encoder.out_channels == 32
    assert not any(p.is_meta for p in encoder.parameters())


def test_strides_that_leave_the_grid():
    with pytest.raises(ConfigError, match="a map of 8x16 cells for a grid of 16x32"):
        BEVEncoder(GRID, 5, **parts(backbone={"layer_strides": [2, 2]}))
    with pytest.raises(ConfigError, match="do not fit each other"):
        BEVEncoder(GRID, 5, **parts(neck={"upsample_strides": [1, 4]}))
    with pytest.raises(ConfigError, match="do not fit each other"):
        BEVEncoder(GRID, 5, **parts(neck={"in_channels": [16, 8]}))


def test_wrong_keys():
    with pytest.raises(ConfigError, match=r"bev_encoder.backbone.*'layer_num'.*nearest: layer_nums"):
        BEVEncoder(GRID, 5, **parts(backbone={"layer_num": [1, 1]}))
    with pytest.raises(ConfigError, match=r"bev_encoder.backbone sets in_channels"):
        BEVEncoder(GRID, 5, **parts(backbone={"in_channels": 5}))
    with pytest.raises(ConfigError, match=r"bev_encoder.neck.type is 'SECONDFPM'.*nearest: SECONDFPN"):
        BEVEncoder(GRID, 5, **parts(neck={"type": "SECONDFPM"}))
    with pytest.raises(ConfigError, match=r"bev_encoder.neck is None, expected a dict with a 'type'"):
        BEVEncoder(GRID, 5, backbone=parts()["backbone"], neck=None)

"""Configs in mmengine's pure-Python style become what their text twins are."""

import pytest
from mmengine.config import Config

from bevkd.errors import ConfigError
from bevkd.structures.config_types import named_types, read_config, type_name

BASE = """
from mmengine.hooks import LoggerHook
from mmengine.optim.scheduler.lr_scheduler import CosineAnnealingLR
default_hooks = dict(logger=dict(type=LoggerHook, interval=3))
param_scheduler = [dict(type=CosineAnnealingLR, T_max=4)]
"""
LAZY = """
from mmengine.config import read_base
with read_base():
    from .base import *
import torch.nn as nn
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch.optim import AdamW
optim_wrapper = dict(
    type=OptimWrapper, constructor=DefaultOptimWrapperConstructor, optimizer=dict(type=AdamW, betas=(0.9, 0.99)))
norm_cfg = dict(type=nn.BatchNorm2d)
default_hooks.update(logger=dict(interval=7))
"""


@pytest.fixture
def lazy(tmp_path):
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "lazy.py").write_text(LAZY)
    return tmp_path / "lazy.py"


def test_classes_become_names(lazy):
    cfg = read_config(lazy)
    assert cfg.optim_wrapper == {
        "type": "OptimWrapper",
        "constructor": "DefaultOptimWrapperConstructor",
        "optimizer": {"type": "AdamW", "betas": (0.9, 0.99)},
    }
    assert cfg.param_scheduler == [{"type": "CosineAnnealingLR", "T_max": 4}]
    assert cfg.default_hooks == {"logger": {"type": "LoggerHook", "interval": 7}}
    assert set(cfg) == {"optim_wrapper", "param_scheduler", "default_hooks", "norm_cfg"}  # no imported name


def test_what_is_written_down_reads_as_the_same(lazy):
    cfg = read_config(lazy)
    cfg.dump(lazy.with_name("dumped.py"))
    dumped = Config.fromfile(lazy.with_name("dumped.py"))
    assert dumped.to_dict() == cfg.to_dict()
    assert dumped.pretty_text == cfg.pretty_text


def test_a_name_leads_back_to_its_class(lazy):
    import torch
    from mmengine.registry import MODELS

    cfg = read_config(lazy)
    assert MODELS.get(cfg.norm_cfg.type) is torch.nn.BatchNorm2d


def test_another_scope_is_named_and_the_default_scope_is_not():
    import bevkd  # noqa: F401  (serves mmcv's compiled ops)

    models = pytest.importorskip("mmdet3d.models")
    mmdet = pytest.importorskip("mmdet.models")
    parts = {"head": {"type": models.CenterHead}, "image": {"type": mmdet.ResNet}}
    named = named_types(Config({"default_scope": "mmdet3d", **parts}))
    assert (named.head.type, named["image"].type) == ("CenterHead", "mmdet.ResNet")
    assert named_types(Config(parts)).head.type == "mmdet3d.CenterHead"


def test_a_text_config_is_left_as_it_is():
    cfg = Config({"model": {"type": "M"}, "lr": 0.1})
    assert named_types(cfg) is cfg


def test_an_object_that_text_cannot_name_is_refused(lazy):
    lazy.write_text(LAZY + "model = dict(type='M', blocks=[dict(act=nn.ReLU)])\n")
    with pytest.raises(ConfigError, match=r"lazy.py sets model.blocks.0.act to the object .*ReLU.*as 'type' only"):
        read_config(lazy)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("A", "A"), ("mmdet3d.A", "A"), ("a.b.A", "A"), (Config, "Config"), (None, "")],
)
def test_type_names(kind, name):
    assert type_name(kind) == name

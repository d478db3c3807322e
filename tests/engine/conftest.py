"""Toy runs, quietly, in this process or in a forked one that may be killed."""

from __future__ import annotations

import multiprocessing
import os
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # a child forked from a process whose OpenMP threads run would hang


@pytest.fixture
def in_child() -> Callable[..., int]:
    """Run a function in a forked process; returns its exit code, negative for a signal."""

    def run(function: Callable, *args) -> int:
        process = multiprocessing.get_context("fork").Process(target=_silently, args=(function, *args))
        process.start()
        process.join(60)
        if process.is_alive():
            process.kill()
            pytest.fail(f"{function.__name__} hangs")
        return process.exitcode

    return run


def _silently(function: Callable, *args) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    function(*args)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What the modules say through mmengine's print_log."""
    lines: list[str] = []
    for module in ("data_root", "sampling"):
        monkeypatch.setattr(f"bevkd.engine.{module}.print_log", lambda text, *args: lines.append(text))
    return lines


TOOL = Path(__file__).resolve().parents[2] / "tools" / "cache_teacher.py"
CONFIG = """
norm_cfg = dict(type="BN")
data_root = "{root}/"
model = dict(
    type="BEVDetector",
    data_preprocessor=dict(type="Det3DDataPreprocessor"),
    grid=dict(x_range=(-40.0, 40.0), y_range=(-40.0, 40.0), cell=4.0),
    lidar_encoder=dict(type="PillarEncoder", out_channels=8, pillar_channels=4, downsample=2, max_points=4),
    bev_encoder=dict(
        type="BEVEncoder",
        backbone=dict(type="SECOND", out_channels=[8], layer_nums=[1], layer_strides=[1]),
        neck=dict(type="SECONDFPN", in_channels=[8], out_channels=[12], upsample_strides=[1]),
    ),
    head=dict(type="SlimCenterHead", share_conv_channel=8),
)
dataset = dict(
    type="NuScenesBEVDataset", data_root=data_root, ann_file="nuscenes_infos_train.pkl",
    modality=dict(use_lidar=True, use_camera=False),
)
train_dataloader = dict(dataset=dict(
    **dataset, pipeline=[dict(type="LoadSweeps", sweeps=0), dict(type="BEVAugment"), dict(type="PackBEV")]))
test_dataloader = dict(dataset=dict(
    **dataset, test_mode=True, pipeline=[dict(type="LoadSweeps", sweeps=0), dict(type="PackBEV")]))
"""


@pytest.fixture(scope="module")
def trained_teacher(tmp_path_factory, tiny_nuscenes_readonly):
    """A config and a checkpoint of a small LiDAR teacher."""
    from bevkd.distill.models import build_model
    from bevkd.engine import register_all

    register_all()
    folder = tmp_path_factory.mktemp("teacher")
    config = folder / "teacher.py"
    config.write_text(CONFIG.format(root=tiny_nuscenes_readonly))
    torch.manual_seed(0)
    torch.save({"state_dict": build_model(config, "the teacher").state_dict()}, folder / "teacher.pth")
    return config, folder / "teacher.pth"


@pytest.fixture
def cache_tool(monkeypatch, capsys, trained_teacher):
    """Run the tool in this process; returns exit code, stdout and stderr."""

    def run(out, *words):
        words = [*trained_teacher, "--out", out, "--workers", "0", "--device", "cpu", *words]
        monkeypatch.setattr("sys.argv", list(map(str, [TOOL, *words])))
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(TOOL), run_name="__main__")
        return left.value.code, *capsys.readouterr()

    return run

"""Boxes on a GPU are not looked at: unusable ones must turn every part of every loss into NaN."""

import math

import pytest
import torch
from method_scenes import head, maps

from bevkd.distill import DistillBEV, UniDistill, distillbev, unidistill
from bevkd.structures.targets import Targets


@pytest.fixture
def scene(monkeypatch, grid, boxes):
    """Two models' taps and targets whose boxes check_boxes finds unusable, as it would say on a GPU."""
    for module in (distillbev, unidistill):
        monkeypatch.setattr(module, "check_boxes", lambda *_: torch.tensor(math.nan))
    taps = [{"low": maps(grid, seed=s), "high": maps(grid, 8, seed=s), "head": head(grid, seed=s)} for s in (1, 2)]
    return *taps, Targets(boxes, [], grid)


@pytest.mark.parametrize("method", [UniDistill(), DistillBEV({"low": {}, "high": {"false_positive": True}})])
def test_every_part_of_a_method(method, scene):
    losses = method(*scene)
    assert len(losses) >= 3
    assert all(loss.isnan() for loss in losses.values()), losses


@pytest.mark.parametrize(
    ("name", "tap"), [("feature_loss", "low"), ("relation_loss", "high"), ("response_loss", "head")]
)
def test_every_loss_on_its_own(name, tap, scene):
    student, teacher, targets = scene
    assert getattr(unidistill, name)(student[tap], teacher[tap], targets.boxes, targets.grid).isnan()

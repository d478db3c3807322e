"""Boxes on a GPU are not looked at: unusable ones must turn every part of every loss into NaN."""

import math

import pytest
import torch
from method_scenes import head, maps

from bevkd.methods import METHODS, unidistill
from bevkd.structures.targets import Targets


@pytest.fixture
def on_gpu(monkeypatch):
    """Targets whose boxes are unusable answer as they would on a GPU."""
    monkeypatch.setattr(Targets, "check", lambda self: torch.tensor(math.nan))


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.reads_boxes])
def test_every_part_of_a_method(name, on_gpu):
    losses = METHODS[name].example().losses()
    assert losses.keys() >= METHODS[name].example().method.parts.keys()
    assert all(loss.isnan() for part, loss in losses.items() if not part.startswith("info/")), losses


@pytest.mark.parametrize(
    ("name", "tap"), [("feature_loss", "low"), ("relation_loss", "high"), ("response_loss", "head")]
)
def test_every_loss_on_its_own(name, tap, on_gpu, grid, boxes):
    student, teacher = (
        {"low": maps(grid, seed=s), "high": maps(grid, 8, seed=s), "head": head(grid, seed=s)} for s in (1, 2)
    )
    assert getattr(unidistill, name)(student[tap], teacher[tap], boxes, grid).isnan()

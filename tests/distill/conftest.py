"""Fixtures of the distillation tests."""

import pytest
import torch

from tests.distill.distill_fakes import BOXES, GRID, FakeDetector, sample_of


@pytest.fixture
def grid():
    return GRID


@pytest.fixture
def boxes():
    return [BOXES.clone(), BOXES[:1] * torch.tensor([1.0, -1, 1, 1, 1, 1, 1, 1, 1])]


@pytest.fixture
def detector():
    """A factory: ``detector(seed=0, channels=4, grid=...)``."""

    def make(seed=0, **kwargs):
        torch.manual_seed(seed)
        return FakeDetector(**kwargs)

    return make


@pytest.fixture
def batch(boxes):
    """Inputs and data samples of two frames."""
    inputs = {"image": torch.rand(2, 1, 24, 24, generator=torch.Generator().manual_seed(1))}
    return inputs, [sample_of(b) for b in boxes]


@pytest.fixture
def empty_batch(batch):
    return batch[0], [sample_of(torch.zeros(0, 9)) for _ in range(2)]

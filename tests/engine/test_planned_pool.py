"""Pooling by gathers against the op and its twin: drawn, random, crowded and empty plans."""

import pytest
import torch

from bevkd.engine.export.planned_pool import PlannedPool, _cut
from bevkd.errors import ConfigError
from bevkd.ops import LiftPlan, bev_pool
from bevkd.ops.reference.bev_pool import bev_pool as twin
from bevkd.structures import BEVGrid

GRID = BEVGrid((0.0, 4.0), (0.0, 3.0), 1.0)
HEIGHTS = (-1.0, 1.0)


def plan_of(points: torch.Tensor, grid: BEVGrid = GRID) -> LiftPlan:
    return LiftPlan.build(points, grid, HEIGHTS)


def test_rows_by_hand():
    rows, offsets = _cut(torch.tensor([0, 9, 9, 11]), 99)
    assert rows.tolist() == [list(range(8)), [8, *[99] * 7], [9, 10, *[99] * 6]]
    assert offsets.tolist() == [0, 2, 2, 3]


def test_by_hand():
    # One camera, two depth bins, one row, two columns. Points: (0.5, 0.5), (0.5, 0.7) | (3.2, 2.1), outside.
    points = torch.tensor([[[0.5, 0.5, 0], [3.2, 2.1, 0]], [[0.5, 0.7, 0], [9.0, 0, 0]]])[None, None, :, None]
    depth = torch.tensor([[0.5, 0.25], [0.75, 1.0]])[None, None, :, None]
    feat = torch.tensor([[2.0, 1.0], [4.0, 3.0]])[None, None, None]
    maps = PlannedPool(plan_of(points))(depth, feat)
    expected = torch.zeros(1, 2, 3, 4)
    expected[0, :, 0, 0] = torch.tensor([0.5 * 2 + 0.75 * 2, 0.5 + 0.75])
    expected[0, :, 2, 3] = torch.tensor([0.25 * 4, 0.25 * 3])
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize(("spread", "cells"), [(1.3, 0.5), (0.9, 1.0), (0.01, 1.0), (0.0, 4.0)])
def test_random_plans(spread, cells):
    """From a few points in each cell to every point in one cell, which takes four levels of eight."""
    grid = BEVGrid((-8.0, 8.0), (-4.0, 4.0), cells)
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(1, 2, 9, 8, 16, 3, generator=generator) - 0.5) * spread * torch.tensor([16.0, 8.0, 2.0])
    plan = plan_of(points, grid)
    depth = torch.rand(1, 2, 9, 8, 16, generator=generator)
    feat = torch.randn(1, 2, 8, 16, 5, generator=generator)
    pool = PlannedPool(plan)
    maps = pool(depth, feat)
    assert maps.shape == (1, 5, *grid.shape)
    torch.testing.assert_close(maps, bev_pool(depth, feat, plan), rtol=1e-5, atol=1e-4)
    exact = twin(depth.double(), feat.double(), plan.cell.long(), plan.shape)
    torch.testing.assert_close(pool(depth.double(), feat.double()), exact)
    if spread == 0.0:
        assert pool.levels == 3


def test_a_plan_without_points_gives_zeros():
    pool = PlannedPool(plan_of(torch.full((1, 1, 2, 3, 4, 3), 50.0)))
    maps = pool(torch.ones(1, 1, 2, 3, 4), torch.ones(1, 1, 3, 4, 2))
    assert torch.equal(maps, torch.zeros(1, 2, 3, 4))


def test_several_samples_are_refused():
    with pytest.raises(ConfigError, match="the plan is of 2 samples, expected one"):
        PlannedPool(plan_of(torch.zeros(2, 1, 1, 1, 1, 3)))

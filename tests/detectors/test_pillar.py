"""The pillar encoder: the right cell, the right maximum, and nothing from nothing."""

import pytest
import torch
from detector_scenes import GRID
from torch import nn

from bevkd.detectors import PillarEncoder
from bevkd.errors import ConfigError, DataError

# 0.5 m pillars: column (5.3 + 16) / 0.5 = 42.6, row (-2.2 + 8) / 0.5 = 11.6
POINT = torch.tensor([[5.3, -2.2, -1.0, 100.0, 0.0]])


def encoder(**kwargs) -> PillarEncoder:
    torch.manual_seed(0)
    return PillarEncoder(GRID, out_channels=8, pillar_channels=12, **kwargs)


def bare(model: PillarEncoder) -> PillarEncoder:
    """Without the stem, and with pillars that are positive wherever there is a point."""
    model.stem = nn.Identity()
    nn.init.constant_(model.norm.bias, 10.0)
    return model.eval()


def occupied(canvas: torch.Tensor) -> list:
    return canvas.ne(0).any(0).nonzero().tolist()


def test_a_point_lands_in_its_pillar_of_its_sample():
    canvas = bare(encoder())([POINT, torch.zeros(0, 5), -POINT])
    assert canvas.shape == (3, 12, 32, 64)
    assert [occupied(c) for c in canvas] == [[[11, 42]], [], [[20, 21]]]


@pytest.mark.parametrize("downsample", [1, 2, 4])
def test_the_stem_brings_it_to_the_cell_of_the_grid(downsample):
    model = encoder(downsample=downsample).eval()
    low = model([POINT]) - model([torch.zeros(0, 5)])
    assert low.shape == (1, 8, *GRID.shape)
    cells = torch.tensor(occupied(low[0]))
    assert len(cells)
    # Column 21, row 5; convolutions of 3x3 reach one or two cells further.
    assert (cells - torch.tensor([5, 21])).abs().max() <= {1: 1, 2: 1, 4: 1}[downsample]


def test_pillars_are_the_maximum_over_their_points():
    generator = torch.Generator().manual_seed(3)
    cloud = torch.rand(300, 5, generator=generator) * torch.tensor([8, 6, 3, 255, 0.5]) - torch.tensor([4, 3, 2, 0, 0])
    model = bare(encoder(max_points=300))
    canvas = model([cloud])[0]
    cells = ((cloud[:, :2] + torch.tensor([16.0, 8.0])) / 0.5).floor()
    for cell in cells.unique(dim=0)[::17]:
        points = cloud[(cells == cell).all(1)]
        middle = (cell + 0.5) * 0.5 - torch.tensor([16.0, 8.0])
        scaled = (points - torch.tensor([0, 0, -1, 0, 0])) / torch.tensor([16, 8, 4, 255, 0.5])
        parts = (scaled, (points[:, :3] - points[:, :3].mean(0)) / 0.5, (points[:, :2] - middle) / 0.5)
        expected = model.norm(model.linear(torch.cat(parts, 1))).relu().amax(0)
        torch.testing.assert_close(canvas[:, int(cell[1]), int(cell[0])], expected, rtol=1e-4, atol=1e-4)


def test_statistics_are_those_of_real_points_only():
    cloud = POINT.repeat(40, 1) + torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 0.1
    few, many = encoder(max_points=64, momentum=1.0), encoder(max_points=200, momentum=1.0)
    few.train()([cloud])
    many.train()([cloud])
    torch.testing.assert_close(few.norm.running_mean, many.norm.running_mean)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("points", [0, 1])
def test_empty_and_single_point_clouds(training, points):
    model = encoder().train(training)
    low = model([POINT[:points], torch.zeros(0, 5)])
    low.sum().backward()
    assert low.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_training_and_evaluation_keep_their_own_number_of_pillars():
    cloud = torch.cat([POINT + k * torch.eye(5)[0] for k in range(5)])
    model = bare(encoder(max_pillars=(2, 4)))
    assert len(model.pillars(cloud).coords) == 4
    assert len(model.train().pillars(cloud).coords) == 2


def test_statistics_move_by_the_given_momentum():
    norms = [
        m for m in encoder(momentum=0.03, downsample=4).modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    assert [norm.momentum for norm in norms] == [0.03] * 3


def test_a_single_point_takes_the_running_statistics():
    norm, row = encoder().norm, torch.ones(1, 12)
    assert torch.equal(norm.train()(row), norm.eval()(row))


def test_points_in_double_precision_are_taken_as_float32():
    model = bare(encoder())
    assert torch.equal(model([POINT.double()]), model([POINT]))


def test_points_outside_or_not_finite_are_left_out():
    far = torch.tensor([[16.0, 0, 0, 1, 0], [0, -8.1, 0, 1, 0], [0, 0, 3.0, 1, 0], [float("nan"), 0, 0, 1, 0]])
    bad = torch.tensor([[0, 0, 0, float("nan"), 0]])
    model = bare(encoder())
    assert model([torch.cat((far, bad))]).eq(0).all()
    assert model.sees([far, POINT, torch.zeros(0, 5)]) == [False, True, False]


def test_refusals():
    with pytest.raises(ConfigError, match="downsample is 3, expected 1, 2 or 4"):
        encoder(downsample=3)
    with pytest.raises(ConfigError, match="z_range"):
        encoder(z_range=(3, -5))
    with pytest.raises(DataError, match=r"\(7, 4\), expected \[N, 5\]"):
        encoder()([torch.zeros(7, 4)])

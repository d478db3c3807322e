"""The lift-splat encoder: rays, depths and cells by hand, then random cameras, then the plan that is kept."""

import copy
import math

import numpy as np
import pytest
import torch
from detector_scenes import CAMERA, FOCAL, GRID, IMAGE, camera_matrix, ring
from torch import nn

from bevkd.detectors import CameraBatch, LiftSplatEncoder
from bevkd.detectors.camera_rays import depth_bins, frustum, ground_prior, stack_matrices
from bevkd.errors import ConfigError, DataError
from bevkd.ops import LiftPlan

STRIDE = 4
FEATURE = (IMAGE[0] // STRIDE, IMAGE[1] // STRIDE)


def encoder(**changes) -> LiftSplatEncoder:
    torch.manual_seed(0)
    config = {**copy.deepcopy(CAMERA), **changes}
    config.pop("type")
    return LiftSplatEncoder(GRID, **config)


class Fixed(nn.Module):
    """Stands for the image network: returns what it was given."""

    def __init__(self, features):
        super().__init__()
        self.features = features

    def forward(self, _images):
        return self.features


def test_depth_bins_are_centres():
    assert depth_bins(1, 3, 0.5).tolist() == [1.25, 1.75, 2.25, 2.75]
    assert len(depth_bins(2, 58, 0.5)) == 112


@pytest.mark.parametrize("depth", [(1, 3, 0.6), (3, 1, 0.5), (1, 3, 0), (-1, 3, 0.5)])
def test_depth_range_must_be_whole_steps(depth):
    with pytest.raises(ConfigError, match="expected 0 <= min and a whole number of steps"):
        depth_bins(*depth)


def test_frustum_by_hand():
    # A camera at the origin that looks along +y, as nuScenes' front camera does. Feature cell (row 2, column 9) covers
    # rows 8-11 and columns 36-39, so it looks through (u, v) = (37.5, 9.5); the centre of the image is (31.5, 15.5).
    matrices = stack_matrices([camera_matrix(math.pi / 2)[None]], 1, 1)
    points = frustum(matrices, torch.tensor([4.0, 12.0]), IMAGE, FEATURE)
    assert points.shape == (1, 1, 2, *FEATURE, 3)
    expected = torch.tensor([12 * 6 / FOCAL, 12.0, 12 * 6 / FOCAL])  # 3 m right, 12 m ahead, 3 m up
    torch.testing.assert_close(points[0, 0, 1, 2, 9], expected)


def test_frustum_projects_back_onto_its_pixels():
    rng = np.random.default_rng(0)
    matrices = np.stack([camera_matrix(a, rng.normal(size=3)) for a in rng.uniform(-3, 3, 5)])
    turn = np.eye(4)
    turn[:3, :3] *= 1.1  # as an augmented frame has it: depth stays metric
    matrices = matrices @ np.linalg.inv(turn)
    bins = depth_bins(1, 61, 0.5)
    points = frustum(stack_matrices([matrices], 1, 5), bins, IMAGE, FEATURE)[0].double()
    homogeneous = torch.cat((points, torch.ones_like(points[..., :1])), -1)
    pixels = torch.einsum("nij,ndhwj->ndhwi", torch.from_numpy(matrices), homogeneous)
    depth = pixels[..., 2]
    torch.testing.assert_close(depth, bins.double()[:, None, None].expand_as(depth), rtol=1e-6, atol=1e-5)
    columns = (torch.arange(FEATURE[1]) + 0.5) * STRIDE - 0.5
    torch.testing.assert_close(pixels[..., 0] / depth, columns.double().expand_as(depth), rtol=0, atol=1e-3)
    rows = ((torch.arange(FEATURE[0]) + 0.5) * STRIDE - 0.5)[:, None]
    torch.testing.assert_close(pixels[..., 1] / depth, rows.double().expand_as(depth), rtol=0, atol=1e-3)


@pytest.mark.parametrize("target", [(7.2, 1.3), (-9.6, 2.4), (1.7, 6.6), (-2.2, -5.5), (12.5, -3.5)])
def test_a_known_point_lands_in_its_cell(target):
    """A one-hot feature at the pixel of a 3D point, with a one-hot depth, shows up in the point's cell only."""
    model = encoder(out_channels=None, channels=2)
    point, matrices = np.array([*target, 0.1, 1.0]), ring()
    projected = matrices @ point
    u, v = projected[:, 0] / projected[:, 2], projected[:, 1] / projected[:, 2]
    hit = (projected[:, 2] > 1) & (u >= 0) & (u < IMAGE[1] - 1) & (v >= 0) & (v < IMAGE[0] - 1)
    camera = int(np.flatnonzero(hit)[0])
    row, column = int((v[camera] + 0.5) // STRIDE), int((u[camera] + 0.5) // STRIDE)
    depth = int(projected[camera, 2] - 1.0)  # bins of 1 m from 1 m on
    # A cell of 4 pixels is wider than a cell of the grid far out: the expected cell is that of the frustum point.
    lifted = frustum(stack_matrices([matrices], 1, 6), model.bins, IMAGE, FEATURE)[0, camera, depth, row, column]
    assert (lifted[:2] - torch.tensor(target)).norm() < 0.5 + STRIDE / FOCAL * projected[camera, 2]
    features = torch.zeros(6, len(model.bins) + 2, *FEATURE)
    features[camera, depth, row, column] = 100.0
    features[camera, -1, row, column] = 7.0
    model.backbone, model.neck, model.depth_net.layers = Fixed(features), nn.Identity(), nn.Identity()
    low = model(CameraBatch(torch.zeros(1, 6, 3, *IMAGE), [matrices]))
    assert low.shape == (1, 2, *GRID.shape)
    x, y = lifted[:2].tolist()
    expected = torch.zeros(2, *GRID.shape)
    expected[1, math.floor(y + 8), math.floor(x + 16)] = 7.0
    torch.testing.assert_close(low[0], expected)


def test_the_plan_is_kept_while_geometry_stays():
    model, device = encoder(), torch.device("cpu")
    first = stack_matrices([ring(), ring()], 2, 6)
    plan = model.plan(first, IMAGE, FEATURE, device)
    assert model.plan(first.clone(), IMAGE, FEATURE, device) is plan
    moved = first.clone()
    moved[1, 3, 0, 3] += 1e-6
    assert model.plan(moved, IMAGE, FEATURE, device) is not plan
    assert model.plan(first[:1], IMAGE, FEATURE, device).cell.shape[0] == 1
    assert "plan" not in "".join(model.state_dict())


def test_the_plan_is_not_fooled_by_matrices_changed_in_place():
    model, device = encoder(), torch.device("cpu")
    matrices = stack_matrices([ring(), ring()], 2, 6)
    before = model.plan(matrices, IMAGE, FEATURE, device)
    matrices[0, 0, 0, 3] += 50
    after = model.plan(matrices, IMAGE, FEATURE, device)
    assert not torch.equal(after.cell, before.cell)


def test_points_beyond_the_heights_are_left_out():
    matrices = stack_matrices([ring()], 1, 6)
    found = [
        encoder(z_range=z).plan(matrices, IMAGE, FEATURE, torch.device("cpu")) for z in ((-5, 3), (-1, 3), (50, 60))
    ]
    counts = [(plan.cell >= 0).sum().item() for plan in found]
    assert counts[0] > counts[1] > counts[2] == 0


def test_a_plan_of_another_device_is_not_taken(monkeypatch):
    model, devices = encoder(), []
    matrices = stack_matrices([ring()], 1, 6)
    model.plan(matrices, IMAGE, FEATURE, torch.device("cpu"))
    monkeypatch.setattr(LiftPlan, "build", lambda points, *_, **__: devices.append(points.device.type))
    model.plan(matrices, IMAGE, FEATURE, torch.device("meta"))
    assert devices == ["meta"]


def test_ground_prior_by_hand():
    # The camera of test_frustum_by_hand. Row 6 looks through v = 25.5, 10 pixels below the centre: a road 5 m below
    # is met at depth 24 * 5 / 10 = 12 m. Rows 0 to 3 look upward and never meet it.
    matrices = stack_matrices([camera_matrix(math.pi / 2)[None]], 1, 1)
    bins = torch.tensor([9.0, 10.0, 11.0, 12.0, 13.0, 14.0])
    prior = ground_prior(matrices, bins, IMAGE, FEATURE, z=-5.0)
    assert prior.shape == (1, 1, 6, *FEATURE)
    expected = torch.tensor([0.0, 0.0, 0.5, 1.0, 0.5, 0.0])
    torch.testing.assert_close(prior[0, 0, :, 6], expected[:, None].expand(-1, FEATURE[1]))
    assert not prior[0, 0, :, :4].any()


def test_the_ground_steers_an_untrained_depth():
    model = encoder(ground_z=-2.0).eval()
    for parameter in model.depth_net.layers.parameters():
        nn.init.zeros_(parameter)
    ground = torch.zeros(1, len(model.bins), 1, 1)
    ground[0, 4] = 1.0
    depth, _ = model.depth_net(torch.zeros(1, 16, 1, 1), ground)
    others = len(model.bins) - 1
    expected = math.exp(3) / (math.exp(3) + others)  # the prior at its peak weighs e^3, every other bin 1
    torch.testing.assert_close(depth[0, 4, 0, 0].item(), expected)


def test_normalised_cells_hold_the_soft_mean():
    model = encoder(out_channels=None, channels=2, normalise=True)
    plain = encoder(out_channels=None, channels=2)
    features = torch.randn(6, len(model.bins) + 2, *FEATURE)
    features[:, -2:] = torch.tensor([3.0, 1.0])[:, None, None]
    for one in (model, plain):
        one.backbone, one.neck, one.depth_net.layers = Fixed(features), nn.Identity(), nn.Identity()
    images = torch.zeros(1, 6, 3, *IMAGE)
    low, sums = model(CameraBatch(images, [ring()])), plain(CameraBatch(images, [ring()]))
    mass = sums[:, 1:]  # where every feature is 1 the sum is the mass
    assert mass.max() > 3
    torch.testing.assert_close(low, sums / (1 + mass))
    assert low[:, 0].max() < 3


@pytest.mark.parametrize("options", [{}, {"ground_z": -1.8, "normalise": True}])
def test_every_parameter_gets_a_gradient(options):
    model = encoder(**options).train()
    low = model(CameraBatch(torch.randn(2, 6, 3, *IMAGE), [ring(), ring()]))
    assert low.shape == (2, 16, *GRID.shape)
    low.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_refusals():
    model = encoder()
    images = torch.zeros(1, 6, 3, *IMAGE)
    with pytest.raises(DataError, match=r"lidar2img"):
        model(CameraBatch(images, [ring(5)]))
    singular = ring()
    singular[2, 2] = singular[2, 1]
    with pytest.raises(DataError, match="singular or not finite"):
        model(CameraBatch(images, [singular]))
    with pytest.raises(DataError, match="singular or not finite"):
        model(CameraBatch(images, [ring() * np.nan]))
    with pytest.raises(ConfigError, match=r"camera_encoder.backbone.*'depht'.*nearest: depth"):
        encoder(backbone={"type": "mmdet.ResNet", "depht": 18})
    with pytest.raises(ConfigError, match=r"depth has the keys \['min', 'step', 'stop'\]"):
        encoder(depth={"min": 1, "stop": 3, "step": 1})

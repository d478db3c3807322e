"""Augmentation in bird's-eye view and camera encoders: a known point lands in its cell of the augmented frame."""

# ruff: noqa: NPY002  (BEVAugment draws from numpy's global generator)

import copy
import math

import numpy as np
import pytest
import torch
from detector_scenes import CAMERA, GRID, IMAGE, one_of_each, ring
from torch import nn

from bevkd.datasets.transforms import BEVAugment
from bevkd.detectors import CameraBatch, LiftSplatEncoder
from bevkd.detectors.bev_attention import Views
from bevkd.detectors.camera_rays import camera_numbers, frustum, stack_matrices
from bevkd.detectors.depth_loss import depth_targets
from bevkd.detectors.temporal import previous_map

STRIDE = 4
FEATURE = (IMAGE[0] // STRIDE, IMAGE[1] // STRIDE)
SEEDS = range(6)


class Fixed(nn.Module):
    """Stands for the image network: returns what it was given."""

    def __init__(self, features):
        super().__init__()
        self.features = features

    def forward(self, _images):
        return self.features


def augmented(seed: int, **results) -> dict:
    """Results after a strong augmentation that keeps the test's points within the grid."""
    np.random.seed(seed)
    augment = BEVAugment(rotation=(-0.6, 0.6), scale=(0.85, 1.1), translation_std=(0.5, 0.5, 0.1), flip=0.5)
    return augment.transform({"lidar2img": ring(), **results})


def visible(point: np.ndarray) -> tuple[int, int, int, float]:
    """Camera, row and column of the feature cell, and depth at which a point of the unaugmented frame is seen."""
    u, v, depth = (ring() @ [*point, 1.0])[:, :3].T
    inside = (depth > 1) & (abs(u / depth - 31.5) < 31) & (abs(v / depth - 15.5) < 15)
    camera = int(np.flatnonzero(inside)[0])
    row, column = (int((x[camera] / depth[camera] + 0.5) // STRIDE) for x in (v, u))
    return camera, row, column, float(depth[camera])


def cell_of(bev_matrix: np.ndarray, point: np.ndarray) -> list[int]:
    """Row and column of the grid under the moved point."""
    x, y = (bev_matrix @ [*point, 1.0])[:2]
    return [math.floor((y - GRID.y_range[0]) / GRID.cell), math.floor((x - GRID.x_range[0]) / GRID.cell)]


def rigid(yaw: float, x: float, y: float) -> np.ndarray:
    """``[4, 4]``: turn about +z, then shift."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:2, 3] = x, y
    return matrix


def one_hot_encoder() -> tuple[LiftSplatEncoder, np.ndarray]:
    """An encoder whose features and depth are one-hot at one frustum point, and that point in the plain frame."""
    config = {**copy.deepcopy(CAMERA), "out_channels": None, "channels": 1}
    config.pop("type")
    model = LiftSplatEncoder(GRID, **config).eval()
    camera, row, column, depth = visible(np.array([3.4, 2.2, 0.1]))
    index = int(depth - 1.0)  # bins of 1 m from 1 m on
    features = torch.zeros(6, len(model.bins) + 1, *FEATURE)
    features[camera, index, row, column] = 100.0
    features[camera, -1, row, column] = 7.0
    model.backbone, model.neck, model.depth_net.layers = Fixed(features), nn.Identity(), nn.Identity()
    lifted = frustum(stack_matrices([ring()], 1, 6), model.bins, IMAGE, FEATURE)[0, camera, index, row, column]
    return model, lifted.numpy().astype(float)


@pytest.mark.parametrize("seed", SEEDS)
def test_lift_splat(seed):
    model, point = one_hot_encoder()
    results = augmented(seed)
    low = model(CameraBatch(torch.zeros(1, 6, 3, *IMAGE), [results["lidar2img"]]))
    assert (low[0, 0] > 1e-3).nonzero().tolist() == [cell_of(results["bev_matrix"], point)]


@pytest.mark.parametrize("seed", SEEDS)
def test_previous_frame(seed):
    """A point that stands still, seen in the previous frame, lands where it is in the augmented current frame."""
    model, point = one_hot_encoder()  # in the previous LiDAR frame
    motion = rigid(0.15, -0.7, -2.3)  # what lies there, lies so in the current frame
    results = augmented(seed, previous_lidar2img=ring(), previous_to_current=motion)
    before = CameraBatch(torch.zeros(1, 6, 3, *IMAGE), [results["previous_lidar2img"]])
    batch = CameraBatch(
        before.images, [results["lidar2img"]], previous=before, previous_to_current=[results["previous_to_current"]]
    )
    low = previous_map(model, batch, GRID)[0, 0]
    assert 4.0 < low.sum() < 11.0  # bilinear weights of one cell, which scaling neither thins nor thickens
    centre = ((GRID.centres() * low).sum((1, 2)) / low.sum()).double().numpy()
    expected = (results["bev_matrix"] @ motion @ [*point, 1.0])[:2]
    # The point is somewhere in its cell of the previous map (at most 0.71 cells off) and is sampled by whole cells.
    assert np.linalg.norm(centre - expected) < 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_bevformer(seed):
    """A point over the centre of an augmented cell is looked for at the pixel where the plain frame shows it."""
    results = augmented(seed)
    heights = [-0.5, 0.5]
    views = Views.build(stack_matrices([results["lidar2img"]], 1, 6), GRID, heights, IMAGE, torch.device("cpu"))
    centres = GRID.centres().flatten(1).double().numpy()
    checked = 0
    for camera, index in views.real[0].nonzero().tolist()[::23]:
        cell = int(views.cell[0, camera, index])
        for k, z in enumerate(heights):
            point = np.linalg.inv(results["bev_matrix"]) @ [*centres[:, cell], z, 1.0]
            u, v, depth = (ring()[camera] @ point)[:3]
            if depth < 0.1:
                continue
            expected = [(u / depth + 0.5) / IMAGE[1], (v / depth + 0.5) / IMAGE[0]]
            np.testing.assert_allclose(views.pixel[0, camera, index, k], expected, rtol=1e-3, atol=1e-3)
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("seed", SEEDS)
def test_depth_targets_and_camera_numbers_do_not_change(seed):
    from mmdet3d.structures import LiDARPoints

    cloud = one_of_each()[2]
    results = augmented(seed, points=LiDARPoints(cloud.clone(), points_dim=5))
    images = torch.zeros(1, 6, 3, *IMAGE)
    batch = CameraBatch(images, [results["lidar2img"]], [results["bev_matrix"]], [results["points"].tensor])
    plain = CameraBatch(images, [ring()], None, [cloud])
    before, after = (depth_targets(b.points, b.matrices(), (1.0, 17.0), 16, IMAGE, FEATURE) for b in (plain, batch))
    assert (before >= 0).sum() > 30
    assert (before != after).float().mean() < 0.005  # a point on the edge of a cell may fall to its other side
    torch.testing.assert_close(
        *(camera_numbers(b.unaugmented_matrices(), IMAGE) for b in (batch, plain)), rtol=1e-5, atol=1e-5
    )
    assert not torch.allclose(*(camera_numbers(b.matrices(), IMAGE) for b in (batch, plain)))

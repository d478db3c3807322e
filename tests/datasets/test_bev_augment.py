# ruff: noqa: NPY002  (transforms draw from numpy's global generator, which mmengine seeds)
import copy

import numpy as np
import pytest
import torch

from bevkd.datasets.transforms.augment import bev_matrix

transforms = pytest.importorskip("bevkd.datasets.transforms")


def sample(seed=0, boxes=6):
    from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints

    rng = np.random.default_rng(seed)
    table = np.concatenate([rng.uniform(-30, 30, (boxes, 3)), rng.uniform(1, 6, (boxes, 3)),
                            rng.uniform(-4, 4, (boxes, 1)), rng.normal(size=(boxes, 2))], axis=1)  # fmt: skip
    structure = LiDARInstance3DBoxes(torch.tensor(table, dtype=torch.float32), box_dim=9)
    corners = structure.corners.reshape(-1, 3)
    points = torch.cat([corners, torch.rand(len(corners), 2)], dim=1)
    lidar2img = rng.normal(size=(6, 4, 4))
    lidar2img[:, 3] = [0, 0, 0, 1]
    return {"points": LiDARPoints(points, points_dim=5), "gt_bboxes_3d": structure, "lidar2img": lidar2img}


def homogeneous(results):
    xyz = results["points"].tensor[:, :3].numpy().astype(np.float64)
    return np.column_stack([xyz, np.ones(len(xyz))])


def fixed(rotation=0.0, scale=1.0, flip=0.0, translation_std=0.0):
    return transforms.BEVAugment((rotation, rotation), (scale, scale), translation_std, flip)


def one_box():
    from mmdet3d.structures import LiDARInstance3DBoxes

    # 2 m ahead in x, 4 m long, heading +x, driving at 3 m/s along +x
    return LiDARInstance3DBoxes(torch.tensor([[2.0, 0, 0, 4, 2, 1, 0, 3, 0]]), box_dim=9)


def test_drawn_quarter_turn_and_double_scale():
    out = fixed(rotation=np.pi / 2, scale=2.0).transform({"gt_bboxes_3d": one_box()})
    expected = [[0, 4, 0, 8, 4, 2, np.pi / 2, 0, 6]]
    np.testing.assert_allclose(out["gt_bboxes_3d"].tensor, expected, atol=1e-5)
    np.testing.assert_allclose(out["bev_matrix"] @ [2, 0, 0, 1], [0, 4, 0, 1], atol=1e-12)


def test_drawn_mirrors():
    out = fixed(flip=1.0).transform({"gt_bboxes_3d": one_box()})["gt_bboxes_3d"].tensor[0]  # both axes: half a turn
    np.testing.assert_allclose(out[[0, 1, 7, 8]], [-2, 0, -3, 0], atol=1e-6)
    assert np.cos(out[6].item()) == pytest.approx(-1)


@pytest.mark.parametrize("seed", range(8))
def test_points_corners_velocities_and_pixels_move_together(seed):
    np.random.seed(seed)
    before = sample(seed)
    after = transforms.BEVAugment(flip=0.5).transform(copy.deepcopy(before))
    matrix = after["bev_matrix"]
    assert np.abs(matrix - np.eye(4)).max() > 0.01
    # points
    np.testing.assert_allclose(homogeneous(after), homogeneous(before) @ matrix.T, atol=1e-4)
    # corners: each moved box still has its moved corner points as corners, as a set (mirroring renumbers them)
    moved = after["points"].tensor[:, :3].reshape(-1, 8, 3)
    gaps = torch.cdist(after["gt_bboxes_3d"].corners, moved)
    assert gaps.min(dim=2).values.max() < 1e-3
    assert gaps.min(dim=1).values.max() < 1e-3
    # the heading, which corners leave open by half a turn
    for column, length in ((slice(6, 7), None), (slice(7, 9), 1)):
        old, new = before["gt_bboxes_3d"].tensor[:, column], after["gt_bboxes_3d"].tensor[:, column]
        if length is None:
            old, new = (torch.cat([v.cos(), v.sin()], dim=1) for v in (old, new))
            new = new * np.cbrt(np.abs(np.linalg.det(matrix[:3, :3])))
        np.testing.assert_allclose(new, old.numpy() @ matrix[:2, :2].T, atol=1e-4)
    # pixels and depths
    for old, new in zip(before["lidar2img"], after["lidar2img"]):
        np.testing.assert_allclose(homogeneous(after) @ new.T, homogeneous(before) @ old.T, atol=1e-3)


def pose(yaw, x, y, z):
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = x, y, z
    return matrix


@pytest.mark.parametrize("seed", range(4))
def test_a_previous_frame_moves_in_its_own_frame_and_still_leads_to_this_one(seed):
    np.random.seed(seed)
    before = sample(seed) | {
        "previous_to_current": pose(0.3, 2.0, -1.0, 0.1),
        "previous_lidar2img": sample(9)["lidar2img"],
    }
    after = transforms.BEVAugment(flip=0.5).transform(copy.deepcopy(before))
    matrix, there = after["bev_matrix"], homogeneous(before)  # points in the previous frame
    moved_there, moved_here = there @ matrix.T, there @ before["previous_to_current"].T @ matrix.T
    np.testing.assert_allclose(moved_there @ after["previous_to_current"].T, moved_here, atol=1e-9)
    for old, new in zip(before["previous_lidar2img"], after["previous_lidar2img"]):
        np.testing.assert_allclose(moved_there @ new.T, there @ old.T, atol=1e-9)


def test_two_augmentations_are_one_after_the_other():
    first = fixed(rotation=1.0, translation_std=(1.0, 2.0, 3.0)).transform({})["bev_matrix"]
    both = fixed(scale=2.0, rotation=-0.5, translation_std=1.0).transform({"bev_matrix": first})["bev_matrix"]
    second = both @ np.linalg.inv(first)
    np.testing.assert_allclose(second[:3, :3], bev_matrix(False, False, -0.5, 2.0, np.zeros(3))[:3, :3], atol=1e-12)
    assert len(set(first[:3, 3])) == 3  # each axis is shifted on its own


def test_both_axes_are_mirrored_on_their_own():
    np.random.seed(0)
    augment = transforms.BEVAugment((0.0, 0.0), (1.0, 1.0), 0.0, flip=0.25)
    signs = np.array([np.diag(augment.transform({})["bev_matrix"])[:2] for _ in range(400)]) < 0
    np.testing.assert_allclose(signs.mean(0), 0.25, atol=0.08)
    assert signs.all(1).mean() == pytest.approx(0.25**2, abs=0.04)


def test_camera_only_and_lidar_only_samples():
    whole = sample()
    for key in ("points", "lidar2img"):
        out = fixed(rotation=1.0).transform({key: copy.deepcopy(whole[key])})
        assert set(out) == {key, "bev_matrix"}


def test_no_boxes():
    assert len(transforms.BEVAugment().transform(sample(boxes=0))["gt_bboxes_3d"]) == 0


def test_same_seed_same_sample():
    runs = []
    for _ in range(2):
        np.random.seed(3)
        runs.append(transforms.BEVAugment().transform(sample())["bev_matrix"])
    np.testing.assert_array_equal(*runs)

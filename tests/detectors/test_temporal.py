"""The previous key frame: aligned by the ego motion, without gradient, and loaded with the right poses."""

import copy
import json

import numpy as np
import pytest
import torch
from detector_scenes import CAMERA, GRID, IMAGE, ring
from pyquaternion import Quaternion

from bevkd.detectors import CameraBatch, TemporalEncoder
from bevkd.detectors.temporal import align
from bevkd.errors import ConfigError, DataError

CAMERAS = {"type": "LoadCameras", "size": (45, 80), "previous": True}


def motion(x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:2, :2] = torch.tensor([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    matrix[:2, 3] = torch.tensor([x, y])
    return matrix[None]


def encoder() -> TemporalEncoder:
    torch.manual_seed(0)
    return TemporalEncoder(GRID, encoder=copy.deepcopy(CAMERA), out_channels=12)


def batch(size: int = 2, **changes) -> CameraBatch:
    images = torch.randn(2, size, 6, 3, *IMAGE, generator=torch.Generator().manual_seed(0))
    before = CameraBatch(images[0], [ring()] * size)
    values = {"previous": before, "previous_to_current": [motion(y=-2.0)[0].numpy()] * size, **changes}
    return CameraBatch(images[1], [ring()] * size, **values)


def test_align_by_hand():
    # The ego drove 2 m along +y and 1 m along +x, so what was at row 9, column 20 is now 2 rows and a column lower.
    low = torch.zeros(1, 1, *GRID.shape)
    low[0, 0, 9, 20] = 1.0
    moved = align(low, motion(x=-1.0, y=-2.0), GRID)
    expected = torch.zeros_like(low)
    expected[0, 0, 7, 19] = 1.0
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)
    # A quarter turn to the left of the ego: what was ahead (+y) is now to the right (+x).
    turned = align(low, motion(yaw=-np.pi / 2), GRID)
    # Cell (9, 20) is centred at (4.5, 1.5), which turns to (1.5, -4.5): row 3, column 17.
    assert turned[0, 0, 3, 17].item() == pytest.approx(1.0, abs=1e-4)
    half = align(low, motion(x=0.5), GRID)
    torch.testing.assert_close(half[0, 0, 9, 20:22], torch.tensor([0.5, 0.5]))


def test_no_motion_changes_nothing_and_all_motion_leaves_nothing():
    low = torch.randn(2, 3, *GRID.shape)
    torch.testing.assert_close(align(low, motion().expand(2, -1, -1), GRID), low, rtol=0, atol=1e-4)
    assert align(low, motion(x=200.0).expand(2, -1, -1), GRID).eq(0).all()


def test_each_sample_has_its_own_motion():
    low = torch.randn(2, 3, *GRID.shape)
    both = align(low, torch.cat((motion(x=1.0), motion(y=3.0, yaw=0.3))), GRID)
    torch.testing.assert_close(both[:1], align(low[:1], motion(x=1.0), GRID))
    torch.testing.assert_close(both[1:], align(low[1:], motion(y=3.0, yaw=0.3), GRID))


def test_both_frames_reach_the_map_and_only_the_current_one_has_a_gradient():
    model = encoder().eval()
    given = batch()
    given.images.requires_grad_()
    given.previous.images.requires_grad_()
    low = model(given)
    assert low.shape == (2, 12, *GRID.shape)
    low.square().sum().backward()
    assert given.images.grad.any()
    assert given.previous.images.grad is None
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    other = CameraBatch(given.previous.images * 0, given.previous.lidar2img)
    assert not torch.allclose(model(batch(previous=other)), low)


def test_refusals():
    with pytest.raises(DataError, match="no previous key frame, expected previous=True of both LoadCameras and"):
        encoder()(batch(previous=None))
    with pytest.raises(DataError, match="previous_to_current holds a matrix that is singular"):
        encoder()(batch(previous_to_current=[np.zeros((4, 4))] * 2))
    with pytest.raises(ConfigError, match=r"camera_encoder.encoder.type is 'LiftSplat'.*nearest: LiftSplatEncoder"):
        TemporalEncoder(GRID, encoder={"type": "LiftSplat"})


def test_collect_splits_the_two_frames():
    from mmdet3d.structures import Det3DDataSample

    meta = {"lidar2img": ring(), "previous_lidar2img": 2 * ring(), "previous_to_current": np.eye(4)}
    images = torch.randn(1, 12, 3, *IMAGE)
    found = CameraBatch.collect({"imgs": images}, [Det3DDataSample(metainfo=meta)])
    assert torch.equal(found.images, images[:, :6])
    assert torch.equal(found.previous.images, images[:, 6:])
    assert torch.equal(found.previous.matrices(), 2 * found.matrices())


def load(root, pipeline, **kwargs):
    from bevkd.datasets.nuscenes import NuScenesBEVDataset

    return NuScenesBEVDataset(root, "nuscenes_infos_train.pkl", pipeline, previous=True, **kwargs)


def table(root, name):
    return {record["token"]: record for record in json.loads((root / f"v1.0-mini/{name}.json").read_text())}


def lidar_pose(root, sample: str) -> np.ndarray:
    """LiDAR to map, from the tables alone."""
    data = next(
        d for d in table(root, "sample_data").values()
        if d["sample_token"] == sample and d["is_key_frame"] and "LIDAR" in d["filename"]
    )  # fmt: skip
    product = np.eye(4)
    for name in ("ego_pose", "calibrated_sensor"):
        record = table(root, name)[data[f"{name}_token"]]
        step = Quaternion(record["rotation"]).transformation_matrix
        step[:3, 3] = record["translation"]
        product = product @ step
    return product


def test_the_data_set_gives_the_key_frame_before(tiny_nuscenes_readonly):
    root = tiny_nuscenes_readonly
    data = load(root, [CAMERAS, {"type": "PackBEV"}])
    for index in range(len(data)):
        packed = data[index]
        meta, images = packed["data_samples"].metainfo, packed["inputs"]["img"]
        before = table(root, "sample")[meta["token"]]["prev"]
        assert images.shape == (12, 3, 45, 80)
        assert len(meta["img_path"]) == 6
        if not before:
            assert torch.equal(images[:6], images[6:])
            np.testing.assert_allclose(meta["previous_to_current"], np.eye(4), atol=1e-9)
            continue
        expected = np.linalg.inv(lidar_pose(root, meta["token"])) @ lidar_pose(root, before)
        np.testing.assert_allclose(meta["previous_to_current"], expected, atol=1e-6)
        assert np.abs(expected - np.eye(4)).max() > 0.1
        # The previous frame is itself a sample, with the same images and matrices.
        other = data[index - 1]
        assert other["data_samples"].metainfo["token"] == before
        assert torch.equal(other["inputs"]["img"][:6], images[6:])
        np.testing.assert_array_equal(other["data_samples"].metainfo["lidar2img"], meta["previous_lidar2img"])


def test_subsets_keep_their_predecessors(tiny_nuscenes_readonly):
    data = load(tiny_nuscenes_readonly, [CAMERAS, {"type": "PackBEV"}], indices=[2])
    assert len(data) == 1
    assert np.abs(data[0]["data_samples"].metainfo["previous_to_current"] - np.eye(4)).max() > 0.1


def test_infos_without_prev_and_pipelines_without_previous(tiny_nuscenes):
    import pickle

    from bevkd.datasets import safe_pickle
    from bevkd.datasets.nuscenes import NuScenesBEVDataset

    with pytest.raises(DataError, match="no 'previous' key frame, expected a data set with previous=True"):
        NuScenesBEVDataset(tiny_nuscenes, "nuscenes_infos_train.pkl", [CAMERAS])[1]
    path = tiny_nuscenes / "nuscenes_infos_train.pkl"
    infos = safe_pickle.load(path)
    infos["data_list"][1]["prev"] = "nowhere"
    path.write_bytes(pickle.dumps(infos))
    with pytest.raises(DataError, match="has prev nowhere, which is not in the file"):
        load(tiny_nuscenes, [CAMERAS])
    del infos["data_list"][1]["prev"]
    path.write_bytes(pickle.dumps(infos))
    with pytest.raises(DataError, match=r"has no 'prev'; expected it for previous=True: make it again with"):
        load(tiny_nuscenes, [CAMERAS])

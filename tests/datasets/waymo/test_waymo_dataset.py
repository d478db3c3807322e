"""Waymo samples through the pipelines: one world for points, boxes and images, and nothing broken passes."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmdet3d.datasets import WaymoDataset
from mmdet3d.datasets.transforms import LoadPointsFromFile

from bevkd.datasets.transforms.lidar import LoadWaymoPoints
from bevkd.datasets.waymo.convert import convert
from bevkd.datasets.waymo.dataset import WaymoBEVDataset
from bevkd.datasets.waymo.names import CAMERAS
from bevkd.errors import ConfigError, DataError

CAMERA_STEP = {"type": "LoadCameras", "size": (32, 64), "cameras": tuple(CAMERAS.values())}
PIPELINE = [{"type": "LoadWaymoPoints"}, CAMERA_STEP, {"type": "PackBEV"}]


@pytest.fixture(scope="module")
def folder(waymo_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("samples")
    convert(waymo_set, out, workers=1, progress=False)
    return out


def dataset(folder, split="train", pipeline=PIPELINE, **options):
    return WaymoBEVDataset(str(folder), f"waymo_infos_{split}.pkl", pipeline, **options)


def inside(points, boxes):
    """[M] number of points in boxes that stand on their bottom centre."""
    counts = []
    for box in boxes.tensor.numpy():
        x, y, z = (points[:, :3].numpy() - box[:3]).T
        cos, sin = np.cos(box[6]), np.sin(box[6])
        local = np.abs(np.stack([cos * x + sin * y, cos * y - sin * x, z - box[5] / 2], 1))
        counts.append((local <= box[3:6] / 2 + 1e-3).all(1).sum())
    return np.array(counts)


@pytest.mark.parametrize("augment", [(), ({"type": "BEVAugment"},)])
def test_a_sample_is_one_world(folder, augment):
    data = dataset(folder, pipeline=[*PIPELINE[:2], *augment, PIPELINE[2]])
    assert len(data) == 6
    for packed in (data[0], data[4]):
        sample, points = packed["data_samples"], packed["inputs"]["points"]
        truth = sample.gt_instances_3d
        assert points.shape[1] == 5
        assert packed["inputs"]["img"].shape == (5, 3, 32, 64)
        assert truth.bboxes_3d.tensor.shape[1] == 9
        assert (inside(points, truth.bboxes_3d) > 0).all()
        assert points[:, 3].min() >= 0
        assert points[:, 3].max() < 1
        assert points[:, 4].max() <= 1.5
        assert sample.metainfo["lidar2img"].shape == (5, 4, 4)
        assert isinstance(sample.metainfo["timestamp"], int)


def test_camera_synced_boxes_and_intervals(folder):
    plain, synced = dataset(folder), dataset(folder, camera_synced=True)
    assert 0 < len(synced[0]["data_samples"].gt_instances_3d) < len(plain[0]["data_samples"].gt_instances_3d)
    thin, every = dataset(folder, load_interval=2), dataset(folder)
    assert [thin.get_data_info(k)["token"] for k in range(3)] == [every.get_data_info(k)["token"] for k in (0, 2, 4)]


def test_no_label_zones_can_be_left_out(folder):
    every, outside = (
        dataset(folder, pipeline=[{"type": "LoadWaymoPoints", "no_label_zones": keep}, PIPELINE[2]])[0]
        for keep in (True, False)
    )
    assert 0 < len(outside["inputs"]["points"]) < len(every["inputs"]["points"])


@pytest.fixture
def marked(tmp_path):
    """``marked(column)``: the info of four points whose sixth column is given."""

    def write(*marks):
        cloud = np.arange(24, dtype=np.float32).reshape(4, 6)
        cloud[:, 5] = marks
        cloud.tofile(tmp_path / "points.bin")
        return {"lidar_points": {"lidar_path": str(tmp_path / "points.bin"), "num_pts_feats": 6, "num_points": 4}}

    return write


def test_minus_one_and_zero_are_outside_no_label_zones(marked):
    """Real range images mark 1 inside and -1 outside (waymo-research/waymo-open-dataset#116 and #132)."""
    info = marked(-1, 1, 0, -1)
    assert LoadWaymoPoints(no_label_zones=False).transform(dict(info))["points"].tensor[:, 0].tolist() == [0, 12, 18]
    assert len(LoadWaymoPoints().transform(dict(info))["points"]) == 4


def test_a_sixth_column_that_is_no_mark_is_refused(marked):
    """mmdet3d's own converter writes times there."""
    loader = LoadWaymoPoints(no_label_zones=False)
    for value in (1.5e9, np.nan):
        with pytest.raises(DataError, match=r"points.bin: in_no_label_zone is (1.5e\+09|nan), expected 1 \(in a"):
            loader.transform(marked(-1, value, 1, -1))
    info = marked(-1, -1, -1, -1)
    info["lidar_points"].update(num_pts_feats=4, num_points=6)
    with pytest.raises(DataError, match=r"points.bin: num_pts_feats is 4, expected 6 or more"):
        loader.transform(info)


def test_the_frame_before(folder):
    step = {**CAMERA_STEP, "previous": True}
    data = dataset(folder, pipeline=[step, PIPELINE[2]], previous=True)
    moved = data[1]["data_samples"].metainfo["previous_to_current"]
    assert 0.3 < np.linalg.norm(moved[:3, 3]) < 1.2
    assert np.allclose(data[3]["data_samples"].metainfo["previous_to_current"], np.eye(4))  # first of its segment
    assert data[1]["inputs"]["img"].shape[0] == 10


def test_plain_mmdet3d_reads_the_infos(folder):
    theirs = WaymoDataset(
        str(folder),
        "waymo_infos_val.pkl",
        data_prefix={"pts": "points", **dict.fromkeys(CAMERAS.values(), "images")},
        pipeline=[LoadPointsFromFile("LIDAR", load_dim=6, use_dim=5)],
        modality={"use_lidar": True, "use_camera": True},
        test_mode=True,
    )
    info = theirs.get_data_info(0)
    boxes = info["eval_ann_info"]["gt_bboxes_3d"]
    points = theirs[0]["points"].tensor
    assert len(boxes) > 10
    assert (inside(points, boxes) > 0).all()


def test_test_samples_keep_their_truth(folder):
    data = dataset(folder, "val", test_mode=True)
    assert "bboxes_3d" not in data[0]["data_samples"].gt_instances_3d
    assert len(data.get_data_info(0)["eval_ann_info"]["gt_labels_3d"]) > 10
    assert data.metainfo["classes"] == ("Car", "Pedestrian", "Cyclist")


def test_paths_are_whole_whichever_sensor_is_used(folder):
    info = dataset(folder, pipeline=[], modality={"use_lidar": True, "use_camera": False}).get_data_info(0)
    assert all(Path(image["img_path"]).is_file() for image in info["images"].values())
    info = dataset(folder, pipeline=[], modality={"use_lidar": False, "use_camera": True}).get_data_info(0)
    assert Path(info["lidar_points"]["lidar_path"]).is_file()


def test_broken_files_are_named(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "copy")
    info = dataset(broken).get_data_info(0)
    path = broken / "points" / f"{info['context_name']}" / f"{info['timestamp']}.bin"
    whole = path.read_bytes()
    for data, words in (
        (whole[:-4], "not a multiple of 24"),
        (whole[:-24], "but the info file says"),
        (b"", "0 bytes"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataError, match=words) as refused:
            dataset(broken)[0]
        assert str(path) in str(refused.value)
        assert info["token"] in str(refused.value)
    path.write_bytes(whole)
    image = broken / "images" / info["context_name"] / f"{info['timestamp']}_CAM_FRONT.jpg"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(DataError, match="not a complete image"):
        dataset(broken)[0]
    with pytest.raises(DataError, match=r"no such info file; make it with `python tools/create_data.py waymo"):
        dataset(broken, "test")
    for content, words in (([1, 2], "found list"), ({"infos": [], "metadata": {}}, "before 1.0")):
        (broken / "waymo_infos_train.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(DataError, match=words):
            dataset(broken)
    with pytest.raises(ConfigError, match="WaymoBEVDataset keeps it"):
        dataset(broken, filter_empty_gt=True)

"""Data sets with other point columns and other cameras than nuScenes': the pipeline says what is needed.

Public reports: open-mmlab/mmdetection3d#225 (columns), autowarefoundation/auto_e2e#77 (numbers of cameras).
"""

import os
import pickle

import cv2
import numpy as np
import pytest

from bevkd.datasets import safe_pickle
from bevkd.errors import ConfigError, DataError

nuscenes = pytest.importorskip("bevkd.datasets.nuscenes")

POINTS = [{"type": "LoadSweeps", "sweeps": 2}, {"type": "PackBEV"}]


def cameras(*names):
    return [{"type": "LoadCameras", "size": (45, 80), "cameras": names}, {"type": "PackBEV"}]


def dataset(root, change, pipeline, **options):
    infos = safe_pickle.load(root / "nuscenes_infos_train.pkl")
    for info in infos["data_list"]:
        change(info)
    (root / "changed.pkl").write_bytes(pickle.dumps(infos))
    return nuscenes.NuScenesBEVDataset(root, "changed.pkl", pipeline, **options)


def rewrite(root, columns):
    """All point files with ``columns`` numbers a point."""
    for path in root.glob("s*/LIDAR_TOP/*.bin"):
        points = np.fromfile(path, np.float32).reshape(-1, 5)
        np.pad(points, ((0, 0), (0, 1)))[:, :columns].tofile(path)


@pytest.mark.parametrize("columns", [4, 6])
def test_points_of_other_columns_come_as_stored(tiny_nuscenes, columns):
    before = dataset(tiny_nuscenes, lambda info: None, POINTS)[2]["inputs"]["points"]
    rewrite(tiny_nuscenes, columns)
    data = dataset(tiny_nuscenes, lambda info: info["lidar_points"].update(num_pts_feats=columns), POINTS)
    np.testing.assert_array_equal(data[2]["inputs"]["points"], before)  # sweeps follow their key frame


def test_sweeps_may_have_columns_of_their_own(tiny_nuscenes):
    before = dataset(tiny_nuscenes, lambda info: None, POINTS)[2]["inputs"]["points"]
    for path in (tiny_nuscenes / "sweeps/LIDAR_TOP").iterdir():
        np.fromfile(path, np.float32).reshape(-1, 5)[:, :4].tofile(path)

    def state(info):
        for sweep in info["lidar_sweeps"]:
            sweep["lidar_points"]["num_pts_feats"] = 4 if "sweeps/" in sweep["lidar_points"]["lidar_path"] else 5

    np.testing.assert_array_equal(dataset(tiny_nuscenes, state, POINTS)[2]["inputs"]["points"], before)


def test_three_columns_and_a_loader_of_other_columns_are_refused(tiny_nuscenes):
    rewrite(tiny_nuscenes, 3)
    data = dataset(tiny_nuscenes, lambda info: info["lidar_points"].update(num_pts_feats=3), POINTS)
    with pytest.raises(DataError, match=r"num_pts_feats is 3, expected 4 or more \(x, y, z, intensity\)"):
        data[0]
    loader = {"type": "LoadPointsFromFile", "coord_type": "LIDAR", "load_dim": 4, "use_dim": 4}
    with pytest.raises(DataError, match=r"num_pts_feats is 5, but LoadPointsFromFile has load_dim=4"):
        dataset(tiny_nuscenes, lambda info: None, [loader])


def test_paths_may_be_absolute_or_below_the_root(tiny_nuscenes):
    before = dataset(tiny_nuscenes, lambda info: None, [*POINTS[:1], *cameras("CAM_BACK")])[2]

    def everywhere(root):
        def change(info):
            info["lidar_points"]["lidar_path"] = root + "samples/LIDAR_TOP/" + info["lidar_points"]["lidar_path"]
            for sweep in info["lidar_sweeps"]:
                sweep["lidar_points"]["lidar_path"] = root + sweep["lidar_points"]["lidar_path"]
            for name, image in info["images"].items():
                image["img_path"] = f"{root}samples/{name}/{image['img_path']}"

        return change

    for root in ("", f"{tiny_nuscenes}{os.sep}"):
        found = dataset(tiny_nuscenes, everywhere(root), [*POINTS[:1], *cameras("CAM_BACK")])[2]
        np.testing.assert_array_equal(found["inputs"]["points"], before["inputs"]["points"])
        np.testing.assert_array_equal(found["inputs"]["img"], before["inputs"]["img"])


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_any_number_of_cameras_with_any_names_and_sizes(tiny_nuscenes, count):
    names = [f"wide_{k}" for k in range(count)]

    def rename(info):
        old = list(info["images"].items())
        info["images"] = {}
        for k, name in enumerate(names):
            channel, record = old[k % len(old)]
            height, width = 90 + 2 * k, 160 + 4 * k
            folder = tiny_nuscenes / "samples" / name
            folder.mkdir(exist_ok=True)
            image = cv2.imread(str(tiny_nuscenes / "samples" / channel / record["img_path"]))
            cv2.imwrite(str(folder / record["img_path"]), cv2.resize(image, (width, height)))
            info["images"][name] = {**record, "height": height, "width": width}

    data = dataset(tiny_nuscenes, rename, [*POINTS[:1], *cameras(*names)])
    packed = data[1]
    assert packed["inputs"]["img"].shape == (count, 3, 45, 80)
    assert packed["data_samples"].metainfo["lidar2img"].shape == (count, 4, 4)
    assert packed["data_samples"].metainfo["num_views"] == count


def test_only_what_the_pipeline_loads_is_asked_for(tiny_nuscenes):
    """Whatever ``modality`` says, the pipeline is the one place of truth."""
    without = dataset(tiny_nuscenes, lambda info: info.pop("images"), POINTS)
    assert "img" not in without[0]["inputs"]

    def no_points(info):
        del info["lidar_points"]["lidar_path"], info["lidar_sweeps"]

    for modality in (None, {"use_lidar": False, "use_camera": True}, {"use_lidar": True, "use_camera": False}):
        data = dataset(tiny_nuscenes, no_points, cameras("CAM_BACK", "CAM_FRONT"), modality=modality)
        assert data[0]["inputs"]["img"].shape[0] == 2
    with pytest.raises(DataError, match=r"lidar_points: 'lidar_path' is missing"):
        dataset(tiny_nuscenes, no_points, POINTS)
    step = nuscenes.transforms.LoadCameras((45, 80), cameras="CAM_SIDE")
    inside = [{"type": "RandomApply", "transforms": [step], "prob": 1.0}]
    with pytest.raises(DataError, match=r"sample \w{32}: camera CAM_SIDE is missing; there is: CAM_FRONT, "):
        dataset(tiny_nuscenes, lambda info: None, inside)


def test_one_camera_missing_in_one_sample_is_one_sentence(tiny_nuscenes):
    token = safe_pickle.load(tiny_nuscenes / "nuscenes_infos_train.pkl")["data_list"][3]["token"]

    def lose(info):
        if info["token"] == token:
            del info["images"]["CAM_BACK"]

    with pytest.raises(DataError, match=rf"changed\.pkl: sample {token}: camera CAM_BACK is missing"):
        dataset(tiny_nuscenes, lose, cameras("CAM_FRONT", "CAM_BACK"))
    assert len(dataset(tiny_nuscenes, lose, cameras("CAM_FRONT"))) == 6


@pytest.mark.parametrize("names", [(), ("CAM_BACK", "CAM_BACK")])
def test_no_camera_or_one_twice_is_refused(names):
    with pytest.raises(ConfigError, match=r"LoadCameras\.cameras is \[.*expected one or more different names"):
        nuscenes.transforms.LoadCameras((4, 4), cameras=names)


def test_an_image_smaller_than_its_camera_matrix_is_refused(tiny_nuscenes):
    """Images halved on disk, with an info file that states no sizes."""
    for path in tiny_nuscenes.glob("samples/CAM_*/*.jpg"):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (70, 40)))

    def forget(info):
        for image in info["images"].values():
            del image["height"], image["width"]

    data = dataset(tiny_nuscenes, forget, cameras("CAM_BACK"))
    with pytest.raises(DataError, match=r"jpg: image is 70x40 pixels, but the principal point of CAM_BACK\.cam2img is"):
        data[0]

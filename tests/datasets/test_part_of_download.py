"""Infos of a part of the nuScenes download: what is not there as a whole is left out and said, damage is refused."""

import shutil

import pytest
from tiny_nuscenes import IMAGE

from bevkd.datasets import safe_pickle
from bevkd.datasets.constants import CAMERAS
from bevkd.datasets.infos import create_infos
from bevkd.errors import DataError


def remove(root, *patterns):
    for pattern in patterns:
        found = list(root.glob(pattern))
        assert found, pattern
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def infos(root, tmp_path, split="train", **options):
    """The content of one info file and the lines about what was left out."""
    lines = []
    paths = create_infos(root, "v1.0-mini", tmp_path / "out", log=lines.append, **options)
    return safe_pickle.load(paths[split]), lines


def test_a_whole_folder_leaves_nothing_out(tiny_nuscenes_readonly, tmp_path):
    content, lines = infos(tiny_nuscenes_readonly, tmp_path)
    assert lines == []
    meta = content["metainfo"]
    assert (meta["split"], meta["sensors"], meta["left_out"]) == ("mini_train", ["lidar", "camera"], {})


@pytest.mark.parametrize("how", ["absent", "by option"])
def test_lidar_alone(tiny_nuscenes, tmp_path, how):
    options = {"sensors": ["lidar"]} if how == "by option" else {}
    if how == "absent":
        remove(tiny_nuscenes, "samples/CAM_*", "sweeps/CAM_*", "maps")
    whole = safe_pickle.load(tiny_nuscenes / "nuscenes_infos_train.pkl")["data_list"]
    content, lines = infos(tiny_nuscenes, tmp_path, **options)
    assert lines == ["left out: camera (the infos hold lidar alone)"]
    assert content["metainfo"]["sensors"] == ["lidar"]
    assert content["metainfo"]["left_out"] == {"sensors": ["camera"]}
    assert content["data_list"] == [{**info, "images": {}} for info in whole]


def test_cameras_alone(tiny_nuscenes, tmp_path):
    remove(tiny_nuscenes, "samples/LIDAR_TOP", "sweeps")
    content, lines = infos(tiny_nuscenes, tmp_path)
    assert lines == ["left out: lidar (the infos hold camera alone)"]
    for info in content["data_list"]:
        assert list(info["images"]) == list(CAMERAS)
        assert info["lidar_sweeps"] == []
        assert "num_points" not in info["lidar_points"]
        assert len(info["lidar_points"]["lidar2ego"]) == 4  # boxes lie in the LiDAR's frame still
        assert info["instances"]


def test_without_sweeps_key_frames_remain(tiny_nuscenes, tmp_path):
    remove(tiny_nuscenes, "sweeps")
    content, lines = infos(tiny_nuscenes, tmp_path)
    assert lines == ["left out: sweeps between key frames, of which no file is there"]
    assert content["metainfo"]["left_out"] == {"sweeps": True}
    lags = [[round(i["timestamp"] - s["timestamp"], 3) for s in i["lidar_sweeps"]] for i in content["data_list"][:3]]
    assert lags == [[], [0.5], [0.5, 1.0]]
    none, _ = infos(tiny_nuscenes, tmp_path, max_sweeps=0)
    assert not any(info["lidar_sweeps"] for info in none["data_list"])
    assert none["metainfo"]["left_out"] == {}  # nothing that was asked for is missing


def test_absent_scenes_are_counted_and_named(tiny_nuscenes, tmp_path):
    remove(tiny_nuscenes, "samples/*/scene-0061*")
    content, lines = infos(tiny_nuscenes, tmp_path)
    assert lines == ["left out: 1 scene of which no file is there: scene-0061"]
    assert content["metainfo"]["left_out"] == {"scenes": ["scene-0061"]}
    assert len(content["data_list"]) == 3
    assert [info["sample_idx"] for info in content["data_list"]] == [0, 1, 2]
    other = safe_pickle.load(tmp_path / "out/nuscenes_infos_val.pkl")
    assert other["metainfo"]["left_out"] == {}


def test_a_split_without_scenes_is_not_written_and_said(tiny_nuscenes, tmp_path):
    remove(tiny_nuscenes, "samples/*/scene-0103*")
    lines = []
    paths = create_infos(tiny_nuscenes, "v1.0-mini", tmp_path / "out", log=lines.append)
    assert list(paths) == ["train"]
    assert lines[-1] == "not written: infos of split mini_val, of which no scene is left"
    with pytest.raises(DataError, match="split mini_val has no scene left of 1"):
        create_infos(tiny_nuscenes, "v1.0-mini", tmp_path / "named", splits=["mini_train", "mini_val"])
    remove(tiny_nuscenes, "samples")
    with pytest.raises(DataError, match="none of the key frames that table sample_data names is there"):
        create_infos(tiny_nuscenes, "v1.0-mini", tmp_path / "named")
    assert not (tmp_path / "named").exists()


def cut(root, pattern, size=39):
    path = next(iter(sorted(root.glob(pattern))))
    path.write_bytes(b"x" * size)


DAMAGE = {
    "one image": (lambda r: next(r.glob("samples/CAM_BACK/scene-0061*")).unlink(), r"jpg: missing.*--sensors lidar"),
    "one camera": (lambda r: remove(r, "samples/CAM_BACK"), r"CAM_BACK.*jpg: missing.*--sensors lidar"),
    "an empty image": (lambda r: cut(r, "samples/CAM_FRONT/scene-0061*", 0), r"jpg: 0 bytes, expected an image"),
    "the images of a scene": (lambda r: remove(r, "samples/CAM_*/scene-0061*"), r"jpg: missing.*--sensors lidar"),
    "one key frame": (lambda r: next(r.glob("samples/LIDAR_TOP/scene-0061*")).unlink(), "missing.*--sensors camera"),
    "a truncated key frame": (lambda r: cut(r, "samples/LIDAR_TOP/scene-0061*"), "39 bytes.*--sensors camera"),
    "one sweep": (lambda r: next(r.glob("sweeps/LIDAR_TOP/scene-0061*")).unlink(), r"missing.*--max-sweeps 0"),
    "the sweeps of a scene": (lambda r: remove(r, "sweeps/LIDAR_TOP/scene-0061*"), r"missing.*--max-sweeps 0"),
    "a truncated sweep": (lambda r: cut(r, "sweeps/LIDAR_TOP/scene-0061*"), r"39 bytes.*--max-sweeps 0"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused_and_the_option_named_that_permits_it(tiny_nuscenes, tmp_path, case):
    damage, message = DAMAGE[case]
    damage(tiny_nuscenes)
    with pytest.raises(DataError, match=message + ".*--skip-missing-scenes"):
        infos(tiny_nuscenes, tmp_path)
    assert not (tmp_path / "out").exists()
    if case == "one camera":  # of every scene
        return
    content, lines = infos(tiny_nuscenes, tmp_path, skip_damaged=True)
    assert lines == ["left out: 1 scene with missing or broken files: scene-0061"]
    assert content["metainfo"]["left_out"] == {"scenes": ["scene-0061"]}
    option = {"lidar": {"sensors": ["lidar"]}, "camera": {"sensors": ["camera"]}, "0": {"max_sweeps": 0}}
    words = next((word for word in option if message.endswith(word)), "lidar")
    assert infos(tiny_nuscenes, tmp_path, **option[words])[0]["metainfo"]["left_out"].get("scenes") is None


def test_options_are_exact(tiny_nuscenes, tmp_path):
    with pytest.raises(DataError, match="sensor radar is none that infos hold; expected lidar or camera"):
        infos(tiny_nuscenes, tmp_path, sensors=["radar"])
    with pytest.raises(DataError, match="max_sweeps is -1, expected 0 or more"):
        infos(tiny_nuscenes, tmp_path, max_sweeps=-1)
    remove(tiny_nuscenes, "samples/CAM_*", "sweeps")
    with pytest.raises(DataError, match="sensors names camera, and no key frame of it is there"):
        infos(tiny_nuscenes, tmp_path, sensors=["lidar", "camera"])
    with pytest.raises(DataError, match=r"missing, but .* --max-sweeps 0"):
        infos(tiny_nuscenes, tmp_path, max_sweeps=3)
    content, _ = infos(tiny_nuscenes, tmp_path, sensors=["lidar"], max_sweeps=0)
    assert len(content["data_list"]) == 6


def dataset(root, folder, steps, **kwargs):
    nuscenes = pytest.importorskip("bevkd.datasets.nuscenes")
    steps = [getattr(nuscenes.transforms, step)(**({"size": IMAGE} if step == "LoadCameras" else {})) for step in steps]
    return nuscenes.NuScenesBEVDataset(root, folder / "out/nuscenes_infos_train.pkl", steps, **kwargs)


def test_a_data_set_takes_what_its_infos_hold_and_refuses_to_be_asked_for_more(tiny_nuscenes_readonly, tmp_path):
    infos(tiny_nuscenes_readonly, tmp_path, sensors=["lidar"])
    data = dataset(tiny_nuscenes_readonly, tmp_path, ["LoadSweeps", "PackBEV"])
    assert data[0]["inputs"]["points"].shape[1] == 5
    assert data.metainfo["sensors"] == ["lidar"]
    message = "train.pkl: made of lidar alone, and the data set is asked for camera data .* --sensors lidar camera"
    with pytest.raises(DataError, match=message):
        dataset(tiny_nuscenes_readonly, tmp_path, ["LoadSweeps", "LoadCameras", "PackBEV"])
    both = {"use_lidar": True, "use_camera": True}  # what is loaded decides, see bevkd.datasets.pipelines
    assert len(dataset(tiny_nuscenes_readonly, tmp_path, ["LoadSweeps", "PackBEV"], modality=both)) == len(data)


def test_a_camera_data_set_needs_no_lidar_file(tiny_nuscenes, tmp_path):
    remove(tiny_nuscenes, "samples/LIDAR_TOP", "sweeps")
    infos(tiny_nuscenes, tmp_path)
    sample = dataset(tiny_nuscenes, tmp_path, ["LoadCameras", "PackBEV"])[0]
    assert sample["inputs"]["img"].shape == (6, 3, *IMAGE)
    assert len(sample["data_samples"].gt_instances_3d) == 4
    with pytest.raises(DataError, match="made of camera alone, and the data set is asked for lidar data"):
        dataset(tiny_nuscenes, tmp_path, ["LoadSweeps", "LoadCameras", "PackBEV"])

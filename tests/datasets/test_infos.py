import importlib.util
import json
import pickletools
from pathlib import Path

import numpy as np
import pytest
from pyquaternion import Quaternion

from bevkd.datasets import safe_pickle
from bevkd.datasets.constants import CAMERAS
from bevkd.datasets.infos import create_infos, quaternion_to_matrix
from bevkd.errors import DataError


@pytest.fixture(scope="module")
def train(tiny_nuscenes_readonly):
    return safe_pickle.load(tiny_nuscenes_readonly / "nuscenes_infos_train.pkl")


def test_splits_and_header(tiny_nuscenes_readonly, train):
    val = safe_pickle.load(tiny_nuscenes_readonly / "nuscenes_infos_val.pkl")
    assert (len(train["data_list"]), len(val["data_list"])) == (6, 3)
    assert train["metainfo"]["categories"] == {
        "car": 0, "truck": 1, "trailer": 2, "bus": 3, "construction_vehicle": 4, "bicycle": 5, "motorcycle": 6,
        "pedestrian": 7, "traffic_cone": 8, "barrier": 9, "animal": -1,
    }  # fmt: skip
    assert (train["metainfo"]["version"], train["metainfo"]["info_version"]) == ("v1.0-mini", "1.1")
    assert [info["sample_idx"] for info in train["data_list"]] == list(range(6))
    assert not {i["token"] for i in train["data_list"]} & {i["token"] for i in val["data_list"]}


def test_only_builtin_types_and_same_bytes(tiny_nuscenes_readonly, tmp_path):
    paths = create_infos(tiny_nuscenes_readonly, "v1.0-mini", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nuscenes_infos_train.pkl", "nuscenes_infos_val.pkl"]
    for path in paths.values():
        raw = path.read_bytes()
        assert not [op for op, *_ in pickletools.genops(raw) if "GLOBAL" in op.name or op.name == "REDUCE"]
        assert raw == (tiny_nuscenes_readonly / path.name).read_bytes()


def test_prev_is_the_key_frame_before_it_in_its_scene(train):
    first, *_ = [info["prev"] for info in train["data_list"]]
    assert first == ""
    for one, other in zip(train["data_list"], train["data_list"][1:]):
        gap = other["timestamp"] - one["timestamp"]
        assert other["prev"] == (one["token"] if 0 < gap < 1 else "")
    assert sum(info["prev"] == "" for info in train["data_list"]) == 2  # two scenes


def schema(node):
    """Keys and types of an info, with lists of equals reduced to their first member."""
    if isinstance(node, dict):
        return {key: schema(value) for key, value in node.items()}
    if isinstance(node, list):
        return [schema(node[0])] if node else []
    return "number" if isinstance(node, (int, float, np.number, np.bool_)) else type(node).__name__


@pytest.mark.real_frame
def test_schema_is_that_of_mmdet3d(train, real_frame_infos):
    ours, theirs = schema(train["data_list"][0]), schema(real_frame_infos.info)
    for record in ours["images"].values():
        assert {record.pop("height"), record.pop("width")} == {"number"}
    ours["lidar_points"].pop("num_points")
    assert ours.pop("prev") == "str"
    assert ours.pop("lidar_sweeps") == []
    theirs.pop("cam_instances")  # 2D boxes, which nothing here reads
    assert ours == theirs
    assert list(ours["images"]) == list(theirs["images"]) == list(CAMERAS)


@pytest.fixture(scope="module")
def mmdet3d_infos(tiny_nuscenes_readonly):
    """What mmdet3d's own converter (shipped as a script in its wheel) makes of the same tables."""
    import mmdet3d
    from nuscenes import NuScenes

    path = Path(mmdet3d.__file__).parent / ".mim/tools/dataset_converters/nuscenes_converter.py"
    if not path.exists():
        pytest.skip("mmdet3d's wheel came without its tools")
    spec = importlib.util.spec_from_file_location("nuscenes_converter", path)
    converter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(converter)
    nusc = NuScenes("v1.0-mini", str(tiny_nuscenes_readonly), verbose=False)
    scenes = {s["token"] for s in nusc.scene if s["name"] != "scene-0103"}
    return converter._fill_trainval_infos(nusc, scenes, set(), max_sweeps=10)[0]


def rigid(rotation, translation):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def test_numbers_are_those_of_mmdet3ds_converter(train, mmdet3d_infos):
    assert len(mmdet3d_infos) == len(train["data_list"])
    for ours, theirs in zip(train["data_list"], mmdet3d_infos):
        assert ours["token"] == theirs["token"]
        assert ours["timestamp"] == theirs["timestamp"] / 1e6
        boxes = np.array([i["bbox_3d"] for i in ours["instances"]])
        np.testing.assert_allclose(boxes, theirs["gt_boxes"], atol=1e-9)
        np.testing.assert_allclose([i["velocity"] for i in ours["instances"]], theirs["gt_velocity"], atol=1e-9)
        assert [i["bbox_3d_isvalid"] for i in ours["instances"]] == theirs["valid_flag"].tolist()
        labels = [i["bbox_label_3d"] for i in ours["instances"]]
        assert [{0: "car", 7: "pedestrian", 9: "barrier", -1: "animal"}[x] for x in labels] == list(theirs["gt_names"])
        lidar2ego = rigid(Quaternion(theirs["lidar2ego_rotation"]).rotation_matrix, theirs["lidar2ego_translation"])
        np.testing.assert_allclose(ours["lidar_points"]["lidar2ego"], lidar2ego, atol=1e-12)
        for name, camera in theirs["cams"].items():
            cam2lidar = rigid(camera["sensor2lidar_rotation"], camera["sensor2lidar_translation"])
            np.testing.assert_allclose(ours["images"][name]["lidar2cam"], np.linalg.inv(cam2lidar), atol=1e-9)
            np.testing.assert_allclose(ours["images"][name]["cam2img"], camera["cam_intrinsic"])
        assert len(ours["lidar_sweeps"]) == len(theirs["sweeps"])
        for sweep, their_sweep in zip(ours["lidar_sweeps"], theirs["sweeps"]):
            to_key = rigid(their_sweep["sensor2lidar_rotation"], their_sweep["sensor2lidar_translation"])
            np.testing.assert_allclose(sweep["lidar_points"]["lidar2sensor"], np.linalg.inv(to_key), atol=1e-9)
            assert sweep["sample_data_token"] == their_sweep["sample_data_token"]


def test_sweeps_are_newest_first_and_limited(tiny_nuscenes_readonly, tmp_path, train):
    lags = [[round(i["timestamp"] - s["timestamp"], 3) for s in i["lidar_sweeps"]] for i in train["data_list"][:3]]
    assert lags == [[], [0.2, 0.35, 0.5], [0.2, 0.35, 0.5, 0.7, 0.85, 1.0]]  # key frames count as sweeps too
    create_infos(tiny_nuscenes_readonly, "v1.0-mini", tmp_path, max_sweeps=1)
    short = safe_pickle.load(tmp_path / "nuscenes_infos_train.pkl")["data_list"]
    assert [len(info["lidar_sweeps"]) for info in short] == [0, 1, 1, 0, 1, 1]


def test_quaternion_to_matrix_against_pyquaternion():
    quaternions = np.random.default_rng(0).normal(size=(20, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    expected = [Quaternion(q).rotation_matrix for q in quaternions]
    np.testing.assert_allclose(quaternion_to_matrix(quaternions), expected, atol=1e-12)


def edit(root, table, change):
    path = root / "v1.0-mini" / f"{table}.json"
    records = json.loads(path.read_text())
    change(records)
    path.write_text(json.dumps(records))


def first_sweep(root):
    return next((root / "samples/LIDAR_TOP").iterdir())


BAD = {
    "root": (lambda r: (r / "v1.0-mini").rename(r / "elsewhere"), r"no tables of version v1\.0-mini; nearest|there is"),
    "table": (lambda r: (r / "v1.0-mini/log.json").unlink(), r"log\.json is missing"),
    "truncated": (lambda r: (r / "v1.0-mini/ego_pose.json").write_text('[{"token": "a"'), r"ego_pose\.json: truncated"),
    "no list": (lambda r: (r / "v1.0-mini/log.json").write_text("3"), r"log\.json: a JSON int"),
    "empty": (lambda r: (r / "v1.0-mini/sample.json").write_text(""), r"sample\.json: truncated or not JSON"),
    "key": (lambda r: edit(r, "sample_data", lambda t: t[3].pop("ego_pose_token")),
            r"sample_data\.json: record 3 .* has no 'ego_pose_token'"),
    "dangling": (lambda r: edit(r, "sample_annotation", lambda t: t[2].update(instance_token="nowhere")),
                 r"sample_annotation\.json: record 2 .*instance_token nowhere is not in table instance"),
    "twice": (lambda r: edit(r, "sample_annotation", lambda t: t.append(t[0])), "a token occurs twice"),
    "category": (lambda r: edit(r, "category", lambda t: t[0].update(name="vehicle.spaceship")),
                 "unknown category 'vehicle.spaceship'"),
    "quaternion": (lambda r: edit(r, "calibrated_sensor", lambda t: t[0].update(rotation=[2, 0, 0, 0])),
                   "calibrated_sensor: token .*no unit quaternion"),
    "box quaternion": (lambda r: edit(r, "sample_annotation", lambda t: t[0].update(rotation=[0, 0, 0, 0])),
                       "sample_annotation: token .*no unit quaternion"),
    "box size": (lambda r: edit(r, "sample_annotation", lambda t: t[0].update(size=[1, -1, 1])), "not positive"),
    "NaN box": (lambda r: edit(r, "sample_annotation", lambda t: t[0].update(translation=[float("nan"), 0, 0])),
                "not finite"),
    "sweep gone": (lambda r: first_sweep(r).unlink(), r"\.pcd\.bin: missing"),
    "sweep cut": (lambda r: first_sweep(r).write_bytes(b"x" * 39), r"\.pcd\.bin: 39 bytes"),
    "sweep empty": (lambda r: first_sweep(r).write_bytes(b""), r"\.pcd\.bin: 0 bytes"),
    "image gone": (lambda r: next((r / "samples/CAM_BACK").iterdir()).unlink(), r"CAM_BACK__\d+\.jpg: missing"),
    "split": (lambda r: edit(r, "scene", lambda t: t[2].update(name="scene-9999")), "no scene of split mini_val"),
    "key frame": (lambda r: edit(r, "sample_data", lambda t: t[-1].update(is_key_frame=False)), "no key frame of CAM"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_folder_is_named_and_nothing_is_written(tiny_nuscenes, tmp_path, case):
    damage, message = BAD[case]
    damage(tiny_nuscenes)
    with pytest.raises(DataError, match=message):
        create_infos(tiny_nuscenes, "v1.0-mini", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_version_lists_the_real_one(tiny_nuscenes_readonly):
    with pytest.raises(DataError, match=r"no tables of version v1\.0-trainval; nearest: v1\.0-mini"):
        create_infos(tiny_nuscenes_readonly, "v1.0-trainval")
    with pytest.raises(DataError, match=r"v2 has no official split; expected one of v1\.0-mini"):
        create_infos(tiny_nuscenes_readonly, "v2")
    with pytest.raises(DataError, match="no such folder"):
        create_infos(tiny_nuscenes_readonly / "none")

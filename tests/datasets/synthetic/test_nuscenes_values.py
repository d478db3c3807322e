"""Every coded value of a synthetic set is one that real nuScenes holds (its schema and devkit are the source)."""

import numpy as np
from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.color_map import get_colormap

VISIBILITY = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}
KEYS = {
    "category": {"token", "name", "description"},
    "attribute": {"token", "name", "description"},
    "visibility": {"token", "level", "description"},
    "instance": {"token", "category_token", "nbr_annotations", "first_annotation_token", "last_annotation_token"},
    "sensor": {"token", "channel", "modality"},
    "calibrated_sensor": {"token", "sensor_token", "translation", "rotation", "camera_intrinsic"},
    "ego_pose": {"token", "translation", "rotation", "timestamp"},
    "log": {"token", "logfile", "vehicle", "date_captured", "location"},
    "scene": {"token", "name", "description", "log_token", "nbr_samples", "first_sample_token", "last_sample_token"},
    "sample": {"token", "timestamp", "scene_token", "next", "prev"},
    "sample_data": {
        "token", "sample_token", "ego_pose_token", "calibrated_sensor_token", "filename", "fileformat", "width",
        "height", "timestamp", "is_key_frame", "next", "prev"},
    "sample_annotation": {
        "token", "sample_token", "instance_token", "attribute_tokens", "visibility_token", "translation", "size",
        "rotation", "num_lidar_pts", "num_radar_pts", "next", "prev"},
    "map": {"token", "log_tokens", "category", "filename"},
}  # fmt: skip
LOCATIONS = {"singapore-onenorth", "singapore-hollandvillage", "singapore-queenstown", "boston-seaport"}


def test_records_have_the_schemas_fields(nusc, small_set):
    import json

    for table, keys in KEYS.items():
        for row in json.loads((small_set / "v1.0-mini" / f"{table}.json").read_text()):
            assert set(row) == keys, table


def test_names_are_those_of_nuscenes(nusc):
    known = {name for name in get_colormap() if name.split(".")[0] in ("human", "vehicle", "movable_object",
                                                                      "static_object", "animal")}  # fmt: skip
    assert {row["name"] for row in nusc.category} <= known
    assert len(nusc.category) == 23
    assert {row["name"] for row in nusc.attribute} == set(ATTRIBUTE_NAMES)
    assert {row["token"]: row["level"] for row in nusc.visibility} == VISIBILITY
    assert {row["location"] for row in nusc.log} <= LOCATIONS
    assert {row["category"] for row in nusc.map} == {"semantic_prior"}
    for row in nusc.sensor:
        assert row["modality"] == ("lidar" if row["channel"] == "LIDAR_TOP" else "camera")


def test_sensor_data_and_calibrations(nusc):
    for row in nusc.sample_data:
        laser = row["channel"] == "LIDAR_TOP"
        assert row["fileformat"] == ("pcd" if laser else "jpg")
        assert row["filename"].endswith(".pcd.bin" if laser else ".jpg")
        assert row["filename"].split("/")[0] == ("samples" if row["is_key_frame"] else "sweeps")
        assert (row["height"] == row["width"] == 0) == laser
        pose = nusc.get("ego_pose", row["ego_pose_token"])
        assert type(row["timestamp"]) is int
        assert 10**15 < row["timestamp"] < 10**16  # microseconds
        assert pose["timestamp"] == row["timestamp"]
        assert f"__{row['timestamp']}." in row["filename"]
        sensor = nusc.get("calibrated_sensor", row["calibrated_sensor_token"])
        assert np.shape(sensor["camera_intrinsic"]) == ((0,) if laser else (3, 3))
        for record in (pose, sensor):
            w, *axis = record["rotation"]
            assert abs(np.hypot(w, np.linalg.norm(axis)) - 1) < 1e-6
    for sample in nusc.sample:
        lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        assert lidar["timestamp"] == sample["timestamp"]
        ego = nusc.get("ego_pose", lidar["ego_pose_token"])
        assert abs(ego["rotation"][1]) + abs(ego["rotation"][2]) < 0.1  # w first: a road is level


def test_annotations(nusc):
    allowed = {"vehicle": "vehicle.", "pedestrian": "pedestrian.", "bicycle": "cycle.", "motorcycle": "cycle."}
    for row in nusc.sample_annotation:
        name = row["category_name"]
        attributes = [nusc.get("attribute", token)["name"] for token in row["attribute_tokens"]]
        kind = category_to_detection_name(name)
        prefix = allowed.get(kind, allowed.get(name.split(".")[0]))
        if kind in ("traffic_cone", "barrier"):
            assert attributes == []
        else:
            assert len(attributes) == 1
            assert attributes[0].startswith(prefix)
        assert row["visibility_token"] in VISIBILITY
        assert type(row["num_lidar_pts"]) is type(row["num_radar_pts"]) is int
        assert min(row["size"]) > 0
        assert abs(row["rotation"][1]) + abs(row["rotation"][2]) < 1e-9  # upright, w first


def test_points(nusc, small_set):
    for row in nusc.sample_data[:40]:
        if row["fileformat"] == "pcd":
            points = np.fromfile(small_set / row["filename"], np.float32).reshape(-1, 5)
            intensity, ring = points[:, 3], points[:, 4]
            assert (intensity == intensity.round()).all()
            assert 0 <= intensity.min() < 30
            assert 30 < intensity.max() <= 255
            assert set(ring.tolist()) <= set(range(32))
            assert ring.max() > 20
            # rings count from the lowest beam
            pitch = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
            assert np.corrcoef(ring, pitch)[0, 1] > 0.99

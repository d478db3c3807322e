"""The unmodified nuscenes-devkit reads, draws and evaluates a synthetic set."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from nuscenes.eval.detection.config import config_factory
from nuscenes.eval.detection.evaluate import NuScenesEval
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box

matplotlib.use("Agg")
TABLES = (
    "attribute calibrated_sensor category ego_pose instance log map sample sample_annotation sample_data scene sensor"
)


def test_tables_are_complete_and_linked(nusc, small_set):
    assert {path.stem for path in (small_set / "v1.0-mini").iterdir()} == {*TABLES.split(), "visibility"}
    assert [scene["name"] for scene in nusc.scene] == ["scene-0061", "scene-0103", "scene-0916"]
    for table in nusc.table_names:
        rows = getattr(nusc, table)
        assert rows
        assert len({row["token"] for row in rows}) == len(rows)
        for row in rows:
            for key, value in row.items():
                target = key.removeprefix("first_").removeprefix("last_").removesuffix("_token")
                target = {"annotation": "sample_annotation"}.get(target, target)
                if key.endswith("_token") and target in nusc.table_names:
                    nusc.get(target, value)
    for row in nusc.sample_data:
        path = small_set / row["filename"]
        assert path.stat().st_size > 0
        if row["fileformat"] == "pcd":
            assert path.stat().st_size % 20 == 0
        sample = nusc.get("sample", row["sample_token"])
        assert 0 <= sample["timestamp"] - row["timestamp"] < 200_000


def test_chains_run_both_ways(nusc):
    for table in ("sample", "sample_data", "sample_annotation"):
        for row in getattr(nusc, table):
            if row["next"]:
                later = nusc.get(table, row["next"])
                assert later["prev"] == row["token"]
                if "timestamp" in row:
                    assert later["timestamp"] > row["timestamp"]
    for instance in nusc.instance:
        length, token = 1, instance["first_annotation_token"]
        while nusc.get("sample_annotation", token)["next"]:
            length, token = length + 1, nusc.get("sample_annotation", token)["next"]
        assert token == instance["last_annotation_token"]
        assert length == instance["nbr_annotations"]


def test_sweeps_lie_fifty_milliseconds_apart(nusc):
    row = nusc.get("sample_data", nusc.sample[1]["data"]["LIDAR_TOP"])
    before = nusc.get("sample_data", row["prev"])
    assert row["is_key_frame"]
    assert not before["is_key_frame"]
    assert before["filename"].startswith("sweeps/LIDAR_TOP/")
    assert row["timestamp"] - before["timestamp"] == 50_000


def test_point_counts_are_the_devkits(nusc, small_set):
    total = 0
    for sample in nusc.sample[:6]:
        path, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = LidarPointCloud.from_file(path).points[:3]
        for box in boxes:
            count = int(points_in_box(box, points).sum())
            assert count == nusc.get("sample_annotation", box.token)["num_lidar_pts"]
            total += count
    assert total > 1000


def test_velocities_and_attributes_agree_with_positions(nusc):
    attributes = {row["token"]: row["name"] for row in nusc.attribute}
    seen = set()
    for row in nusc.sample_annotation:
        if not (row["prev"] and row["next"]):
            continue
        a, b = (nusc.get("sample_annotation", row[key]) for key in ("prev", "next"))
        seconds = 1e-6 * (
            nusc.get("sample", b["sample_token"])["timestamp"] - nusc.get("sample", a["sample_token"])["timestamp"]
        )
        velocity = (np.array(b["translation"]) - a["translation"])[:2] / seconds
        assert nusc.box_velocity(row["token"])[:2] == pytest.approx(velocity, abs=1e-9)
        names = [attributes[token] for token in row["attribute_tokens"]]
        speed = np.linalg.norm(velocity)
        seen.update(names)
        if row["category_name"] in ("movable_object.trafficcone", "movable_object.barrier"):
            assert names == []
        if names in (["vehicle.parked"], ["cycle.without_rider"], ["pedestrian.standing"]):
            assert speed < 0.8
        if speed > 2.0:
            assert names in (["vehicle.moving"], ["cycle.with_rider"])
    assert {"vehicle.parked", "vehicle.moving", "pedestrian.moving", "cycle.without_rider"} <= seen


def test_ground_truth_as_prediction_is_perfect(nusc, tmp_path):
    attributes = {row["token"]: row["name"] for row in nusc.attribute}
    results, present = {}, set()
    for sample in nusc.sample:
        if nusc.get("scene", sample["scene_token"])["name"] == "scene-0061":
            continue
        results[sample["token"]] = boxes = []
        for token in sample["anns"]:
            row = nusc.get("sample_annotation", token)
            name = category_to_detection_name(row["category_name"])
            velocity = np.nan_to_num(nusc.box_velocity(token)[:2])
            boxes.append(
                {
                    "sample_token": sample["token"],
                    "translation": row["translation"],
                    "size": row["size"],
                    "rotation": row["rotation"],
                    "velocity": velocity.tolist(),
                    "detection_name": name,
                    "detection_score": 0.9,
                    "attribute_name": attributes[row["attribute_tokens"][0]] if row["attribute_tokens"] else "",
                }
            )
            present.add(name)
            assert row["num_lidar_pts"] > 0
    meta = {f"use_{key}": key in ("camera", "lidar") for key in ("camera", "lidar", "radar", "map", "external")}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"meta": meta, "results": results}))
    config = config_factory("detection_cvpr_2019")
    judge = NuScenesEval(nusc, config, str(path), "mini_val", str(tmp_path / "out"), verbose=False)
    scores = judge.evaluate()[0]
    for name in present:
        assert scores.mean_dist_aps[name] > 0.99, name
        for error in ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err"):
            value = scores.get_label_tp(name, error)
            assert np.isnan(value) or value < 1e-6, (name, error)
    assert len(present) >= 8


def test_devkit_draws_every_kind_of_sensor(nusc, tmp_path):
    for channel in ("LIDAR_TOP", "CAM_FRONT", "CAM_BACK_LEFT"):
        out = tmp_path / f"{channel}.png"
        nusc.render_sample_data(nusc.sample[2]["data"][channel], out_path=str(out), verbose=False)
        assert out.stat().st_size > 1000
    matplotlib.pyplot.close("all")


def test_ego_drives_on_the_map(nusc):
    for log in nusc.log:
        mask = nusc.get("map", log["map_token"])["mask"]
        scene = next(scene for scene in nusc.scene if scene["log_token"] == log["token"])
        poses = [
            nusc.get("ego_pose", row["ego_pose_token"])["translation"]
            for row in nusc.sample_data
            if nusc.get("sample", row["sample_token"])["scene_token"] == scene["token"]
        ]
        x, y = np.array(poses)[:, :2].T
        assert mask.is_on_mask(x, y).all()
        assert not mask.is_on_mask(x - 45, y - 45).all()


def test_images_have_the_size_and_are_not_flat(nusc, small_set):
    import cv2

    for row in [row for row in nusc.sample_data if row["fileformat"] == "jpg"][:12]:
        image = cv2.imread(str(Path(small_set) / row["filename"]))
        assert image.shape == (row["height"], row["width"], 3) == (64, 176, 3)
        assert image.std() > 10

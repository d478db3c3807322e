"""Conversion of the synthetic Waymo set: infos that fit the files, resumed and never half-written."""

import pickle
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from waymo_checks import in_boxes

from bevkd.datasets import safe_pickle
from bevkd.datasets.waymo import convert as converter
from bevkd.datasets.waymo.convert import convert
from bevkd.datasets.waymo.infos import validate_waymo_infos
from bevkd.datasets.waymo.names import CAMERAS
from bevkd.datasets.waymo.segment import Segment, find_segments
from bevkd.errors import DataError


@pytest.fixture(scope="module")
def converted(waymo_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted")
    assert {k: p.name for k, p in convert(waymo_set, out, workers=1, progress=False).items()} == {
        "train": "waymo_infos_train.pkl",
        "val": "waymo_infos_val.pkl",
    }
    return out


@pytest.fixture
def source(waymo_set, tmp_path):
    """A copy of the training split alone, as a root that a test may change."""
    shutil.copytree(waymo_set / "training", tmp_path / "root" / "training")
    return tmp_path / "root"


def infos_of(folder, split="val"):
    return safe_pickle.load(folder / f"waymo_infos_{split}.pkl")["data_list"]


def points_of(folder, info):
    return np.fromfile(folder / "points" / info["lidar_points"]["lidar_path"], np.float32).reshape(-1, 6)


def test_frames_are_complete_and_in_order(converted, waymo_set):
    infos = infos_of(converted, "train")
    segments = [Segment(waymo_set / "training", name) for name in find_segments(waymo_set / "training")]
    assert [(i["context_name"], i["timestamp"]) for i in infos] == [(s.name, t) for s in segments for t in s.timestamps]
    assert [info["sample_idx"] for info in infos] == list(range(len(infos)))
    assert [bool(info["prev"]) for info in infos] == [False, True, True] * 2
    assert infos[1]["prev"] == infos[0]["token"]
    for info in infos:
        assert list(info["images"]) == list(CAMERAS.values())
        for image in info["images"].values():
            assert (converted / "images" / image["img_path"]).is_file()


def test_files_are_what_the_reader_reads(converted, waymo_set):
    name = find_segments(waymo_set / "validation")[0]
    for info, frame in zip(infos_of(converted), Segment(waymo_set / "validation", name).frames()):
        points = points_of(converted, info)
        assert (points == frame.points()).all()
        assert info["lidar_points"]["num_points"] == len(points)
        for camera, image in frame.images.items():
            path = converted / "images" / info["images"][CAMERAS[camera]]["img_path"]
            assert path.read_bytes() == image.jpeg
        assert np.allclose(info["ego2global"], frame.pose)


def test_boxes_stand_on_their_bottom_and_hold_their_points(converted):
    held = 0
    for info in infos_of(converted):
        boxes = np.array([instance["bbox_3d"] for instance in info["instances"]])
        middle = boxes + np.array([0, 0, 0.5, 0, 0, 0, 0]) * boxes[:, 5:6]
        counts = np.array([instance["num_lidar_pts"] for instance in info["instances"]])
        inside = in_boxes(points_of(converted, info)[:, :3].astype(float), middle)
        assert np.abs(inside - counts).max() <= 1
        held += inside.sum()
        assert {instance["difficulty"] for instance in info["instances"]} <= {0, 2}
        assert len({instance["track_id"] for instance in info["instances"]}) == len(boxes)
        assert 0 < len(info["cam_sync_instances"]) < len(boxes)
        assert all(0 <= instance["camera_id"] < 5 for instance in info["cam_sync_instances"])
    assert held > 500
    assert {i["bbox_label_3d"] for info in infos_of(converted) for i in info["instances"]} == {0, 1, 2}


def test_velocities_are_in_the_vehicle_frame(converted):
    first, last = infos_of(converted)[0], infos_of(converted)[-1]
    place = [
        {i["track_id"]: np.array(info["ego2global"])[:3] @ [*i["bbox_3d"][:3], 1] for i in info["instances"]}
        for info in (first, last)
    ]
    checked = 0
    for instance in first["instances"]:
        speed = np.array(instance["velocity"])
        if instance["track_id"] in place[1] and np.linalg.norm(speed) > 2:
            moved = place[1][instance["track_id"]] - place[0][instance["track_id"]]
            local = np.array(first["ego2global"])[:3, :3].T @ moved
            assert local[:2] == pytest.approx(0.2 * speed, abs=0.35)
            checked += 1
    assert checked >= 3


def test_points_project_where_the_file_says(converted, waymo_set):
    """lidar2cam and cam2img, against the component lidar_camera_projection (whose pixels begin at the edge)."""
    name = find_segments(waymo_set / "validation")[0]
    frame = list(Segment(waymo_set / "validation", name).frames(components=["lidar", "lidar_camera_projection"]))[1]
    info = infos_of(converted)[1]
    points, pixels = frame.points_of(1, 1)
    named = frame.projections[1][0][pixels[:, 0], pixels[:, 1]]
    for camera, key in CAMERAS.items():
        mine = named[:, 0] == camera
        image = info["images"][key]
        matrix = np.array(image["cam2img"]) @ np.array(image["lidar2cam"])[:3]
        u, v, depth = matrix[:, :3] @ points[mine, :3].T.astype(float) + matrix[:, 3:]
        assert mine.sum() > 20
        assert (depth > 0).all()
        assert np.abs(u / depth + 0.5 - named[mine, 1] - 0.5).max() < 0.51
        assert np.abs(v / depth + 0.5 - named[mine, 2] - 0.5).max() < 0.51


def test_a_second_call_converts_nothing_and_a_changed_source_again(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    convert(source, out, workers=1, progress=False)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.bin")}
    done = []
    original = converter.convert_segment
    monkeypatch.setattr(converter, "convert_segment", lambda job: done.append(job.name) or original(job))
    convert(source, out, workers=1, progress=False)
    assert done == []
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.bin")} == before
    changed = find_segments(source / "training")[1]
    path = source / "training" / "lidar_box" / f"{changed}.parquet"
    path.write_bytes(path.read_bytes())
    convert(source, out, workers=1, progress=False)
    assert done == [changed]
    assert len(infos_of(out, "train")) == 6


def test_what_was_finished_before_an_error_is_kept_and_nothing_is_half_written(source, tmp_path):
    out = tmp_path / "out"
    good, bad = find_segments(source / "training")
    path = source / "training" / "camera_image" / f"{bad}.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="truncated"):
        convert(source, out, workers=1, progress=False)
    assert not (out / "waymo_infos_train.pkl").exists()
    assert [folder.name for folder in (out / "points").iterdir()] == [good]
    assert [folder.name for folder in (out / "images").iterdir()] == [good]
    (out / "points" / f".{bad}.building").mkdir()  # what a kill leaves
    path.write_bytes(whole)
    convert(source, out, workers=2, progress=False)
    assert len(infos_of(out, "train")) == 6
    assert sorted(folder.name for folder in (out / "points").iterdir()) == [good, bad]


def test_processes_give_the_same_files(source, tmp_path, converted):
    out = tmp_path / "out"
    convert(source, out, workers=2, progress=False)
    assert (out / "waymo_infos_train.pkl").read_bytes() == (converted / "waymo_infos_train.pkl").read_bytes()


def test_every_second_frame(source, tmp_path, converted):
    out = tmp_path / "out"
    convert(source, out, workers=1, progress=False, every=2)
    thin, whole = infos_of(out, "train"), infos_of(converted, "train")
    assert [info["token"] for info in thin] == [whole[k]["token"] for k in (0, 2, 3, 5)]
    assert [info["prev"] for info in thin] == ["", thin[0]["token"], "", thin[2]["token"]]
    assert len(list((out / "points").rglob("*.bin"))) == 4
    convert(source, out, workers=1, progress=False)  # asks for other frames, so that nothing is reused
    assert len(list((out / "points").rglob("*.bin"))) == len(infos_of(out, "train")) == 6


def test_a_testing_split_has_no_labels(source, tmp_path):
    (source / "training").rename(source / "testing")
    for component in ("lidar_box", "camera_box", "lidar_camera_synced_box"):
        shutil.rmtree(source / "testing" / component)
    assert list(convert(source, tmp_path / "out", workers=1, progress=False)) == ["test"]
    assert "instances" not in infos_of(tmp_path / "out", "test")[0]


def test_what_cannot_be_converted_is_named(source, tmp_path):
    with pytest.raises(DataError, match="no folder training, validation, testing"):
        convert(tmp_path, tmp_path / "out", progress=False)
    with pytest.raises(DataError, match="split 'train' is unknown"):
        convert(source, tmp_path / "out", ["train"], progress=False)
    with pytest.raises(DataError, match=r"validation.vehicle_pose: no segment"):
        convert(source, tmp_path / "out", ["validation"], progress=False)
    for name in ("workers", "every"):
        with pytest.raises(DataError, match=f"{name} is 0, expected at least 1"):
            convert(source, tmp_path / "out", progress=False, **{name: 0})


def test_the_tool_converts_and_answers_bad_input_in_one_sentence(source, tmp_path, monkeypatch, capsys):
    tool = str(Path(__file__).parents[3] / "tools" / "create_data.py")

    def run(*words):
        monkeypatch.setattr(sys, "argv", [tool, "waymo", *map(str, words), "--workers", "1"])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(tool, run_name="__main__")
        return left.value.code

    assert run(source, "--out-dir", tmp_path / "out") == 0
    assert f"wrote {tmp_path / 'out' / 'waymo_infos_train.pkl'}" in capsys.readouterr().out
    assert run(tmp_path) == 2
    assert capsys.readouterr().err.strip().startswith(f"error: {tmp_path}: no folder")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda info: info.update(timestamp=info["timestamp"] / 1e6), "timestamp is 1552.*expected whole microseconds"),
        (lambda info: info.pop("context_name"), "'context_name' is missing; expected infos of Waymo"),
        (
            lambda info: info["instances"][0].update(difficulty=3),
            r"instances\[0\]: difficulty is 3, expected 0, 1 or 2",
        ),
        (
            lambda info: info["instances"][0].update(bbox_label_3d=3),
            r"bbox_label_3d is 3, expected -1 \(ignored\) to 2",
        ),
        (lambda info: info["instances"][0]["bbox_3d"].__setitem__(0, float("nan")), "is not finite"),
        (lambda info: info["images"].pop("CAM_SIDE_LEFT"), "camera CAM_SIDE_LEFT is missing"),
    ],
)
def test_unsound_infos_are_refused(converted, change, words):
    infos = pickle.loads((converted / "waymo_infos_val.pkl").read_bytes())
    validate_waymo_infos(infos, "infos.pkl")
    change(infos["data_list"][1])
    with pytest.raises(DataError, match=words):
        validate_waymo_infos(infos, "infos.pkl")

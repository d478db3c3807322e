"""What people have of Waymo v2 on disk: parts of its components, segments, frames and splits, and stray files."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bevkd.datasets import safe_pickle
from bevkd.datasets.waymo.convert import convert
from bevkd.datasets.waymo.dataset import WaymoBEVDataset
from bevkd.datasets.waymo.names import CAMERAS
from bevkd.datasets.waymo.segment import Segment, find_segments
from bevkd.errors import DataError

POINTS = {"type": "LoadWaymoPoints"}
IMAGES = {"type": "LoadCameras", "size": (32, 64), "cameras": tuple(CAMERAS.values())}


@pytest.fixture
def source(waymo_set, tmp_path) -> Path:
    """Two training segments, which a test may break."""
    return Path(shutil.copytree(waymo_set / "training", tmp_path / "root" / "training")).parent


@pytest.fixture
def names(source) -> list[str]:
    return find_segments(source / "training")


def run(source, **options):
    written = convert(source, source.parent / "out", workers=1, progress=False, **options)
    return {split: safe_pickle.load(path)["data_list"] for split, path in written.items()}


def sample(source, step, split="train", **modality):
    data = WaymoBEVDataset(
        str(source.parent / "out"), f"waymo_infos_{split}.pkl", [step, {"type": "PackBEV"}], modality=modality
    )
    return data[0]["inputs"]


def test_lidar_alone(source):
    for component in ("camera_image", "camera_calibration", "camera_box", "stats", "lidar_camera_projection"):
        shutil.rmtree(source / "training" / component)
    (source / "training" / "camera_image").mkdir()  # an empty folder is none
    frames = run(source)["train"]
    assert len(frames) == 6
    assert not any(info["images"] for info in frames)
    assert not (source.parent / "out" / "images").exists()
    assert len(sample(source, POINTS, use_lidar=True, use_camera=False)["points"]) > 1000
    with pytest.raises(DataError, match="camera CAM_FRONT is missing"):
        sample(source, IMAGES, use_lidar=True, use_camera=True)


def test_cameras_alone(source):
    for component in ("lidar", "lidar_pose", "lidar_calibration"):
        shutil.rmtree(source / "training" / component)
    frames = run(source)["train"]
    assert len(frames) == 6
    assert frames[0]["cam_sync_instances"]
    assert not (source.parent / "out" / "points").exists()
    assert sample(source, IMAGES, use_lidar=False, use_camera=True)["img"].shape == (5, 3, 32, 64)
    with pytest.raises(DataError, match=r"\.bin: cannot be read \(No such file"):
        sample(source, POINTS, use_lidar=False, use_camera=True)


def test_a_sensor_that_comes_later_is_converted_then(source):
    aside = source.parent / "camera_image"
    shutil.move(source / "training" / "camera_image", aside)
    run(source)
    shutil.move(aside, source / "training" / "camera_image")
    assert all(len(info["images"]) == 5 for info in run(source)["train"])


def test_the_second_testing_split(source):
    (source / "training").rename(source / "testing_location")
    for component in ("lidar_box", "camera_box", "lidar_camera_synced_box"):
        shutil.rmtree(source / "testing_location" / component)
    frames = run(source)["testing_location"]
    assert len(frames) == 6
    assert "instances" not in frames[0]
    assert (source.parent / "out" / "waymo_infos_testing_location.pkl").is_file()


def test_folders_that_are_no_split_are_named(source):
    (source / "validation" / "lidar").mkdir(parents=True)
    shutil.copytree(source / "training", source / "valid")
    with pytest.warns(UserWarning, match="left out") as said:
        assert list(run(source)) == ["train"]
    assert [str(w.message).partition(": ")[2] for w in said] == [
        "holds components, but is none of training, validation, testing, testing_location, left out",
        "no component with a *.parquet in it, left out",
    ]
    with pytest.raises(DataError, match=rf"expected one of them .*its own components belong .*give {source}$"):
        convert(source / "training", source.parent / "out", progress=False)


def without_last_row(path):
    table = pq.read_table(path)
    pq.write_table(table.slice(0, len(table) - 1), path)


def test_a_frame_without_one_image_is_left_out_and_named(source, names):
    """waymo-research/waymo-open-dataset#826"""
    without_last_row(source / "training" / "camera_image" / f"{names[0]}.parquet")
    last = Segment(source / "training", names[0]).timestamps[-1]
    for _ in range(2):  # the second call reads the parts of the first
        with pytest.warns(
            UserWarning, match=r"1 of 6 frames left out: 1 without camera_image of CAM_SIDE_RIGHT"
        ) as said:
            frames = run(source)["train"]
        assert f"(first {last} of {names[0]})" in str(said[0].message)
        assert [(info["context_name"] == names[0]) for info in frames] == [True] * 2 + [False] * 3
    assert not list((source.parent / "out").rglob(f"{last}*"))
    assert [info["sample_idx"] for info in frames] == list(range(5))


def test_a_frame_within_is_left_out_and_the_next_follows_the_one_before(source, names):
    path = source / "training" / "lidar" / f"{names[0]}.parquet"
    table, times = pq.read_table(path), Segment(source / "training", names[0]).timestamps
    kept = [time != times[1] for time in table["key.frame_timestamp_micros"].to_pylist()]
    pq.write_table(table.filter(kept), path)
    with pytest.warns(UserWarning, match="1 of 6 frames left out: 1 without lidar of TOP"):
        frames = run(source)["train"]
    assert [info["timestamp"] for info in frames[:2]] == [times[0], times[2]]
    assert frames[1]["prev"] == frames[0]["token"]


@pytest.mark.parametrize("component", ["lidar", "vehicle_pose", "camera_calibration", "lidar_camera_synced_box"])
def test_a_segment_without_a_component_is_left_out_and_named(source, names, component):
    path = source / "training" / component / f"{names[1]}.parquet"
    path.rename(path.with_name(f"{path.name}_.gstmp"))
    words = (
        rf"training: 1 of 2 segments left out: 1 without {component} \(first {names[1]}, whose download .*_.gstmp is"
    )
    with pytest.warns(UserWarning, match=words):
        frames = run(source)["train"]
    assert {info["context_name"] for info in frames} == {names[0]}


def test_hidden_files_are_passed_over(source, names, recwarn):
    """A copy by macOS brings ._* and .DS_Store along."""
    for folder in (source / "training").iterdir():
        (folder / f"._{names[0]}.parquet").write_bytes(b"\0\5\26\7")
        (folder / ".DS_Store").write_bytes(b"\0")
    (source / ".DS_Store").write_bytes(b"\0")
    assert len(run(source)["train"]) == 6
    assert not [w for w in recwarn if w.category is UserWarning]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_segment_is_refused_after_all_others_are_converted(source, names, workers):
    path = source / "training" / "lidar" / f"{names[0]}.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        DataError, match=r"truncated.*; all others are converted: download the file again, or"
    ) as refused:
        convert(source, source.parent / "out", workers=workers, progress=False)
    assert str(path) in str(refused.value)
    assert [folder.name for folder in (source.parent / "out" / "points").iterdir()] == [names[1]]
    assert not list((source.parent / "out").glob("*.pkl"))
    path.unlink()
    with pytest.warns(UserWarning, match="1 of 2 segments left out: 1 without lidar"):
        assert len(run(source)["train"]) == 3


def test_nothing_that_can_be_converted_is_one_sentence(source, names):
    shutil.rmtree(source / "training" / "lidar_pose")
    with pytest.raises(DataError, match=r"training.lidar_pose: no segment; expected \*.parquet of this component"):
        run(source)
    for component in ("lidar", "lidar_calibration", "camera_image"):
        shutil.rmtree(source / "training" / component)
    with pytest.raises(
        DataError, match=r"no \*.parquet of the components lidar and camera_image, expected one of them"
    ):
        run(source)


def test_no_segment_is_whole(source, names):
    for component, name in (("lidar", names[0]), ("lidar_box", names[1])):
        (source / "training" / component / f"{name}.parquet").unlink()
    with pytest.raises(
        DataError, match=r"2 of 2 segments left out: 1 without lidar .*, 1 without lidar_box .*; expected"
    ):
        run(source)

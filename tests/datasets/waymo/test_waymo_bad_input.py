"""Damaged Waymo folders: one sentence that names the file and the field."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from bevkd.datasets.waymo.segment import FRAME_COMPONENTS, Segment, find_segments
from bevkd.errors import DataError

TIME = "key.frame_timestamp_micros"
BOX, CAMERA, IMAGE = "[LiDARBoxComponent]", "[CameraCalibrationComponent]", "[CameraImageComponent]"
LIDAR = "[LiDARComponent].range_image_return1"
BEAMS = "[LiDARCalibrationComponent].beam_inclination.values"
SYNCED = "lidar_camera_synced_box"


def changed(column, change):
    """A function that puts ``change(values)`` in the place of a column."""

    def edit(table):
        index = table.column_names.index(column)
        values = pa.array(change(table.column(column).to_pylist()), table.schema.field(column).type)
        return table.set_column(index, column, values)

    return edit


def first(value):
    return lambda values: [value, *values[1:]]


def with_nan(values):
    return [[np.nan, *values[0][1:]], *values[1:]]


def read_all(split, name):
    return list(Segment(split, name).frames(components=(*FRAME_COMPONENTS, "lidar_camera_projection")))


@pytest.mark.parametrize(
    ("component", "column", "change", "words"),
    [
        ("lidar_box", f"{BOX}.box.center.x", first(float("nan")), r"box.center.x is nan, expected a finite"),
        ("lidar_box", f"{BOX}.box.heading", first(float("inf")), "box.heading is inf"),
        ("lidar_box", f"{BOX}.box.size.z", first(0.0), r"size.z is 0.0, expected a size above 0"),
        ("lidar_box", f"{BOX}.type", first(7), r"type is 7, expected one of 0, 1, 2, 3, 4"),
        ("lidar_box", f"{BOX}.difficulty_level.detection", first(3), r"detection is 3, expected one of 0, 1, 2"),
        ("lidar_box", f"{BOX}.type", first(None), r"row 0: \[LiDARBoxComponent\].type is null"),
        ("lidar_box", TIME, first(1_552_443_795_000_001), "1552443795000001 is no frame of component vehicle_pose"),
        ("camera_box", "[CameraBoxComponent].box.size.x", first(float("nan")), r"box.size.x is nan"),
        ("camera_box", "key.camera_name", first(9), r"key.camera_name is 9, expected one of \[1, 2, 3, 4, 5\]"),
        (SYNCED, "key.laser_object_id", first("nobody"), r"object nobody has no label in .*lidar_box"),
        ("vehicle_pose", TIME, lambda values: [t // 1000 for t in values], "expected microseconds since 1970"),
        ("vehicle_pose", "[VehiclePoseComponent].world_from_vehicle.transform", first([0.0] * 16), "no rotation"),
        ("vehicle_pose", TIME, lambda values: [values[1], *values[1:]], "occurs 2 times, expected once"),
        ("lidar", TIME, lambda values: [values[5], *values[1:]], r"'laser_name': 1\} occurs 2 times"),
        ("lidar", "key.laser_name", first(6), r"no row of TOP \(laser_name 1\)"),
        ("lidar", f"{LIDAR}.shape", first([4, 4, 4]), r"TOP: .*return1 has 25600 values and shape \(4, 4, 4\)"),
        ("lidar", f"{LIDAR}.values", first(None), "range_image_return1.values is null"),
        ("lidar", f"{LIDAR}.values", with_nan, r"TOP: range_image_return1: row 0, column 0 is \[nan, .*finite"),
        ("lidar_pose", "key.laser_name", first(2), r"no row of TOP"),
        ("lidar_calibration", "key.laser_name", first(8), r"key.laser_name is 8, expected one of \[1, 2, 3, 4, 5\]"),
        ("lidar_calibration", BEAMS, lambda v: [v[0][::-1], *v[1:]], r"TOP: beam_inclination is .*rising"),
        ("lidar_calibration", BEAMS, lambda v: [v[0][:9], *v[1:]], r"has 9 angles, expected 32"),
        ("camera_calibration", f"{CAMERA}.intrinsic.f_u", first(-1.0), r"CAM_FRONT: intrinsic is .*f_u and f_v > 0"),
        ("camera_calibration", f"{CAMERA}.width", first(0), r"CAM_FRONT: height and width are \(64, 0\)"),
        ("camera_image", f"{IMAGE}.pose_timestamp", first(1.5e15), r"is 1500000000000000.0, expected seconds"),
        ("camera_image", f"{IMAGE}.image", first(b"PNG"), "CAM_FRONT: image has 3 bytes that do not begin as a JPEG"),
        ("stats", TIME, first(1_552_443_795_000_001), r"no row of frame \d+, which vehicle_pose has"),
        ("stats", "key.segment_context_name", first("other"), r"segment_context_name is 'other', expected '\d+_"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named(component, column, change, words, split, name, edit):
    path = edit(component, changed(column, change))
    with pytest.raises(DataError, match=words) as refused:
        [frame.points() for frame in read_all(split, name)]
    assert "\n" not in str(refused.value)
    if "angles" not in words:  # that sentence names the laser, whose angles and rows are in two files
        assert str(path) in str(refused.value)


def pixel_of_an_echo(split, name):
    """Number of the first value of the first echo of the roof LiDAR in its flat range image, in pixels."""
    image = next(Segment(split, name).frames()).range_images[1][0]
    return int(np.argmax(image[..., 0].ravel() > 0)), int(np.argmax(image[..., 0].ravel() <= 0))


def test_only_what_stands_at_echoes_matters(split, name, edit):
    echo, empty = pixel_of_an_echo(split, name)

    def at(pixel, channels):
        return lambda values: [
            [*values[0][: pixel * channels + 1], np.nan, *values[0][pixel * channels + 2 :]],
            *values[1:],
        ]

    pose = "[LiDARPoseComponent].range_image_return1"
    edit("lidar", changed(f"{LIDAR}.values", at(empty, 4)))
    edit("lidar_pose", changed(f"{pose}.values", at(empty, 6)))
    assert np.isfinite(read_all(split, name)[0].points()).all()
    edit("lidar_pose", changed(f"{pose}.values", at(echo, 6)))
    with pytest.raises(DataError, match=r"laser TOP: component lidar_pose is not finite at an echo of return 1"):
        read_all(split, name)[0].points()
    edit("lidar_pose", changed(f"{pose}.shape", first([16, 400, 6])))
    with pytest.raises(DataError, match=r"component lidar_pose has shape \(16, 400, 6\), expected \(32, 200, 6\)"):
        read_all(split, name)[0].points()
    edit("lidar", changed(f"{LIDAR}.values", at(echo, 4)))
    with pytest.raises(
        DataError, match=r"laser TOP: range_image_return1: row 0, column \d+ is \[.*nan.*expected finite"
    ):
        read_all(split, name)


def test_missing_rows_are_named(split, name, edit):
    path = edit("camera_image", lambda table: table.filter(pc.not_equal(table["key.camera_name"], 3)))
    with pytest.raises(DataError, match=r"frame \d+ has no row of CAM_FRONT_RIGHT \(camera_name 3\)") as refused:
        read_all(split, name)
    assert str(path) in str(refused.value)
    edit("lidar_calibration", lambda table: table.slice(1))
    with pytest.raises(DataError, match=r"no row of TOP \(key.laser_name 1\)"):
        Segment(split, name)


@pytest.mark.parametrize("component", ["lidar", "lidar_pose", "camera_image", "stats", "lidar_box", "vehicle_pose"])
def test_a_missing_component_is_named(split, name, component):
    path = split / component / f"{name}.parquet"
    path.unlink()
    with pytest.raises(DataError, match=f"missing; expected the component {component} of this segment") as refused:
        read_all(split, name)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("component", ["lidar", "camera_image", "lidar_box"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(split, name, component, keep):
    path = split / component / f"{name}.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match="truncated, damaged or no Parquet file") as refused:
        read_all(split, name)
    assert str(path) in str(refused.value)


def test_flipped_bits_in_a_large_column_are_found(split, name):
    path = split / "lidar" / f"{name}.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match="truncated, damaged or no Parquet file"):
        read_all(split, name)


def test_columns_are_checked_when_a_file_is_opened(split, name, edit):
    column = f"{BOX}.box.center.x"
    edit(
        "lidar_box", lambda table: table.rename_columns([c.replace("center.x", "centre.x") for c in table.column_names])
    )
    with pytest.raises(DataError, match=r"column \[LiDARBoxComponent\].box.center.x is missing; nearest: .*centre.x"):
        read_all(split, name)
    edit(
        "lidar_box", lambda table: table.rename_columns([c.replace("centre.x", "center.x") for c in table.column_names])
    )
    edit("lidar_box", lambda table: table.set_column(table.column_names.index(column), column, [["a"] * len(table)]))
    with pytest.raises(DataError, match=r"box.center.x has type string, expected double"):
        read_all(split, name)


def test_other_widths_of_numbers_are_read(split, name, edit):
    # Waymo's own older files hold float32 where the schema says double.
    path = edit("vehicle_pose", lambda table: table.cast(pa.schema([
        field.with_type(pa.list_(pa.float32(), 16)) if "transform" in field.name else field for field in table.schema
    ])))  # fmt: skip
    assert path.is_file()
    assert len(Segment(split, name).timestamps) == 3


def test_optional_columns_may_be_absent(split, name, edit):
    names = [f"{BOX}.difficulty_level.detection", f"{BOX}.speed.x"]
    edit("lidar_box", lambda table: table.drop_columns(names))
    edit("lidar", changed("[LiDARComponent].range_image_return2.values", lambda values: [None] * len(values)))
    frame = read_all(split, name)[0]
    assert (frame.boxes.difficulty == 0).all()
    assert np.isnan(frame.boxes.speed[:, 0]).all()
    assert len(frame.points_of(1, 2)[0]) == 0


def test_folders_and_frames_that_are_not_there(split, name, tmp_path):
    with pytest.raises(DataError, match=r"vehicle_pose: no segment; expected \*.parquet"):
        find_segments(tmp_path)
    with pytest.raises(DataError, match=r"has no frame 5"):
        next(Segment(split, name).frames([5]))
    with pytest.raises(DataError, match="component 'lidars' is none of a frame's; nearest: lidar"):
        next(Segment(split, name).frames(components=["lidars"]))


def test_components_that_nobody_asks_for_may_be_absent(split, name):
    for component in ("lidar_box", "camera_box", "stats", "lidar_camera_projection", "lidar_camera_synced_box"):
        shutil.rmtree(split / component)
    frame = next(Segment(split, name).frames(components=["lidar", "camera_image"]))
    assert (frame.boxes, frame.stats, frame.camera_boxes) == (None, None, {})
    assert len(frame.points()) > 1000

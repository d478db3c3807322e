"""Reading the synthetic Waymo set back: what was cast is what is read, and every part fits every other."""

import io
import json
import uuid
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from waymo_checks import SMALL, in_boxes

from bevkd.datasets.synthetic.waymo_create import WaymoRecipe, build_drive
from bevkd.datasets.synthetic.waymo_frames import record_frame
from bevkd.datasets.waymo.parquet import ComponentFile, FrameRows
from bevkd.datasets.waymo.schema import COMPONENTS
from bevkd.datasets.waymo.segment import FRAME_COMPONENTS, Segment, find_segments

ALL = (*FRAME_COMPONENTS, "lidar_camera_projection")
SCHEMAS = json.loads(Path(__file__).with_name("official_schemas.json").read_text())


@pytest.fixture(scope="module")
def segment(waymo_set):
    root = waymo_set / "validation"
    return Segment(root, find_segments(root)[0])


@pytest.fixture(scope="module")
def frames(segment):
    return list(segment.frames(components=ALL))


@pytest.mark.parametrize("component", COMPONENTS)
def test_files_have_the_official_schema(waymo_set, component):
    assert [[f.name, str(f.type)] for f in COMPONENTS[component].schema] == SCHEMAS[component]
    for path in (waymo_set / "training" / component).glob("*.parquet"):
        assert [[f.name, str(f.type)] for f in pq.read_schema(path)] == SCHEMAS[component]


def test_points_are_the_ray_casters_own(segment, frames):
    drive = build_drive(WaymoRecipe(seed=0, scenes=("scene-0103",), **SMALL), "scene-0103")
    assert drive.segment == segment.name
    for number, frame in enumerate(frames):
        _, scans = record_frame(drive, number)
        assert sorted(scans) == [1, 2, 3, 4, 5]
        for laser, scan in scans.items():
            for echo in (1, 2):
                read, pixels = frame.points_of(laser, echo)
                assert len(read) == len(scan.points[echo - 1])
                assert np.abs(read[:, :3] - scan.points[echo - 1]).max(initial=0) < 1e-4
                image = scan.returns[echo - 1]
                assert (read[:, 3:] == image[pixels[:, 0], pixels[:, 1], 1:]).all()
    assert len(frame.points()) == sum(len(part) for scan in scans.values() for part in scan.points)


def test_the_vehicle_moves_while_the_roof_lidar_turns(frames):
    pose = frames[0].pixel_poses[1]
    assert list(frames[0].pixel_poses) == [1]
    moved = np.linalg.norm(pose[0, -1, 3:] - pose[0, 0, 3:])
    assert 0.3 < moved < 1.2  # 0.1 s at some 30 km/h
    middle = (pose[0, 0, 3:] + pose[0, -1, 3:]) / 2
    assert np.abs(middle - frames[0].pose[:3, 3]).max() < 0.02


def test_returns_hold_what_waymos_do(frames):
    for frame in frames:
        for laser, (first, second) in frame.range_images.items():
            assert first.shape == second.shape
            assert (second[..., 0] > 0).sum() < (first[..., 0] > 0).sum()
            both = second[..., 0] > 0
            assert (first[both, 0] > 0).all()
            assert (second[both, 0] > first[both, 0]).all()
            for image in (first, second):
                assert (image[image[..., 0] <= 0] == -1).all()
                assert set(np.unique(image[image[..., 0] > 0, 3])) <= {-1.0, 1.0}
            echo = first[first[..., 0] > 0]
            assert echo[:, 1].min() >= 0
            assert echo[:, 1].max() <= 1
            assert echo[:, 2].min() >= 0
            assert echo[:, 2].max() <= 1.5
            assert echo[:, 0].max() < (76 if laser == 1 else 21)
    roof = frames[0].range_images[1]
    assert (roof[1][..., 0] > 0).sum() > 20
    assert 0 < (roof[0][..., 3] == 1).mean() < 0.5


def column(waymo_set, component, name):
    (path,) = (waymo_set / "validation" / component).glob("*.parquet")
    return pq.read_table(path).column(name).to_pylist()


def test_codes_are_those_of_the_real_files(waymo_set):
    """What the official converter to v2 writes: null for an unset difficulty, UUIDs for 2D objects."""
    for component, title in (("lidar_box", "LiDARBoxComponent"), ("camera_box", "CameraBoxComponent")):
        levels = column(waymo_set, component, f"[{title}].difficulty_level.detection")
        assert set(levels) <= {None, 2}
        assert None in levels
        assert levels == column(waymo_set, component, f"[{title}].difficulty_level.tracking")
    headings = np.array(column(waymo_set, "lidar_box", "[LiDARBoxComponent].box.heading"))
    assert -np.pi <= headings.min() < headings.max() < np.pi
    assert all(str(uuid.UUID(name)) == name for name in column(waymo_set, "camera_box", "key.camera_object_id"))
    assert set(column(waymo_set, "lidar_pose", "key.laser_name")) == {1}
    beams = column(waymo_set, "lidar_calibration", "[LiDARCalibrationComponent].beam_inclination.values")
    assert [values is None for values in beams] == [False, True, True, True, True]
    accelerations = np.array(column(waymo_set, "lidar_box", "[LiDARBoxComponent].acceleration.x"))
    assert 0 < np.abs(accelerations).max() < 30


def test_boxes_hold_the_points_they_say(frames):
    counted = 0
    for frame in frames:
        points = frame.points()
        inside = in_boxes(points[:, :3].astype(float), frame.boxes.boxes)
        assert np.abs(inside - frame.boxes.num_points).max() <= 1  # a float32 point on a face
        counted += inside.sum()
        assert (frame.boxes.num_top_points <= frame.boxes.num_points).all()
        assert set(frame.boxes.types) <= {1, 2, 4}
        assert len(set(frame.boxes.ids)) == len(frame.boxes.ids)
        assert all(len(name) == 22 for name in frame.boxes.ids)
    assert counted > 500
    assert {1, 2, 4} == {kind for frame in frames for kind in frame.boxes.types}
    assert 2 in frame.boxes.difficulty
    assert 0 in frame.boxes.difficulty


def test_objects_move_as_their_speed_says(frames):
    first, last = frames[0], frames[-1]
    place = [dict(zip(f.boxes.ids, f.boxes.boxes[:, :3] @ f.pose[:3, :3].T + f.pose[:3, 3])) for f in (first, last)]
    checked = 0
    for name, speed in zip(first.boxes.ids, first.boxes.speed):
        if name in place[1] and np.linalg.norm(speed) > 2:
            assert place[1][name] - place[0][name] == pytest.approx(0.2 * speed, abs=0.35)
            checked += 1
    assert checked >= 3


def test_echoes_project_to_the_pixels_that_the_file_names(frames):
    frame = frames[1]
    checked = 0
    for laser, (image, _) in frame.range_images.items():
        points, pixels = frame.points_of(laser, 1)
        named = frame.projections[laser][0]
        assert named.shape == (*image.shape[:2], 6)
        rows = named[pixels[:, 0], pixels[:, 1]]
        for camera, u, v in (rows[:, :3].T, rows[:, 3:].T):
            for number in np.unique(camera[camera > 0]).astype(int):
                mine = camera == number
                found = project(frame, number, points[mine, :3])
                off = np.abs(np.floor(found) - np.stack([u, v], 1)[mine])
                assert off.max() <= 1  # a float32 point on the edge of a pixel
                checked += mine.sum()
    assert checked > 500


def project(frame, camera, points):
    """[N, 2] u, v by Waymo's model: x forward, y left, z up; u from -y, v from -z."""
    calibration, image = frame.cameras[camera], frame.images[camera]
    matrix = np.linalg.inv(image.pose @ calibration.extrinsic) @ frame.pose
    x, y, z = matrix[:3, :3] @ points.T + matrix[:3, 3:]
    f_u, f_v, c_u, c_v = calibration.intrinsic[:4]
    return np.stack([f_u * -y / x + c_u, f_v * -z / x + c_v], 1)


def test_images_fit_their_calibration(frames):
    for frame in frames:
        assert list(frame.images) == [1, 2, 3, 4, 5]
        for camera, image in frame.images.items():
            with Image.open(io.BytesIO(image.jpeg)) as opened:
                assert opened.size == frame.cameras[camera].size[::-1]
            assert abs(image.pose_time - frame.timestamp * 1e-6 - 0.05) < 0.03
            assert np.linalg.norm(image.velocity[:3]) > 2
    assert frame.cameras[4].size[0] < frame.cameras[1].size[0]


def test_flat_boxes_surround_projected_objects(frames):
    checked = 0
    for frame in frames:
        for camera, flat in frame.camera_boxes.items():
            height, width = frame.cameras[camera].size
            low, high = flat.boxes[:, :2] - flat.boxes[:, 2:] / 2, flat.boxes[:, :2] + flat.boxes[:, 2:] / 2
            assert low.min() >= 0
            assert (high <= [width, height]).all()
        for number in np.nonzero(frame.boxes.synced_cameras == 1)[0]:
            u, v = project(frame, 1, frame.boxes.synced_boxes[number : number + 1, :3])[0]
            flat = frame.camera_boxes[1]
            near = np.abs(flat.boxes[:, :2] - [u, v]) <= flat.boxes[:, 2:] / 2 + 2
            checked += near.all(1).any()
    assert checked >= 3


def test_frames_can_be_chosen(segment, frames):
    wanted = segment.timestamps[1:]
    some = list(segment.frames(wanted, ["lidar"]))
    assert [frame.timestamp for frame in some] == wanted
    assert all((a.points() == b.points()).all() for a, b in zip(some, frames[1:]))
    assert not some[0].images
    assert not next(segment.frames(components=["stats"])).range_images


def test_rows_may_come_in_any_order_and_any_grouping(split, name, edit, frames):
    for component in ("lidar", "lidar_pose", "camera_image", "lidar_box", "camera_box", "vehicle_pose", "stats"):
        edit(component, lambda table: table.take(np.random.default_rng(0).permutation(len(table))))  # one row group
    again = list(Segment(split, name).frames())
    assert [frame.timestamp for frame in again] == [frame.timestamp for frame in frames]
    for one, other in zip(again, frames):
        assert (one.points() == other.points()).all()
        assert {c: i.jpeg for c, i in one.images.items()} == {c: i.jpeg for c, i in other.images.items()}
        assert sorted(one.boxes.ids) == sorted(other.boxes.ids)


def test_stats_count_objects(frames):
    stats = frames[0].stats
    assert (stats.time_of_day, stats.location, stats.weather) == ("Day", "location_other", "sunny")
    ids = {(kind, name) for frame in frames for kind, name in zip(frame.boxes.types, frame.boxes.ids)}
    assert sum(stats.lidar_object_counts.values()) == len(ids)


def test_one_frame_is_in_memory_at_a_time(waymo_set, segment):
    name = segment.name
    file = ComponentFile(waymo_set / "validation", COMPONENTS["lidar"], name)
    rows = FrameRows(file, COMPONENTS["lidar"].columns, segment.timestamps)
    for timestamp in segment.timestamps:
        assert len(rows.take(timestamp)) == 5
        assert not rows._waiting

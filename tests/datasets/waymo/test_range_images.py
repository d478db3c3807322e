"""Range images to points: by hand, against rotation matrices, and against the official package's own output."""

from pathlib import Path

import numpy as np
import pytest

from bevkd.datasets.synthetic.rig import rigid, tilt
from bevkd.datasets.synthetic.waymo_lidar import euler
from bevkd.datasets.waymo.range_images import LaserCalibration, range_image_points, rotate_zyx
from bevkd.errors import DataError

OFFICIAL = Path(__file__).with_name("official_points.npz")


def sensor(*, yaw=0.0, place=(0.0, 0.0, 0.0), bounds=(-0.1, 0.1), values=None):
    pose = rigid(tilt(np.array([0.0, 0.0, yaw])), np.array(place))
    return LaserCalibration(1, pose, bounds, None if values is None else np.array(values))


def one_pixel(height, width, row, column, value):
    image = np.full((height, width), -1.0, np.float32)
    image[row, column] = value
    return image


def test_one_pixel_by_hand():
    # the docstring's: column 1 of 4 looks 45 degrees to the left
    points, pixels = range_image_points(one_pixel(1, 4, 0, 1, np.sqrt(2)), sensor(place=(1.0, 0.0, 2.0)))
    assert points == pytest.approx(np.array([[2.0, 1.0, 2.0]]), abs=1e-6)
    assert pixels.tolist() == [[0, 1]]


def test_the_first_row_is_the_highest_beam():
    lifted = sensor(values=np.radians([-30.0, 30.0]))
    up, _ = range_image_points(one_pixel(2, 4, 0, 1, 2.0), lifted)
    down, _ = range_image_points(one_pixel(2, 4, 1, 1, 2.0), lifted)
    assert up[0, 2] == pytest.approx(1.0, abs=1e-6)
    assert down[0, 2] == pytest.approx(-1.0, abs=1e-6)
    even = sensor(bounds=(np.radians(-20.0), np.radians(20.0)))  # two beams: 10 degrees up and down
    assert np.degrees(even.inclinations(2)) == pytest.approx([10.0, -10.0])


def test_columns_count_from_the_vehicles_axes_whatever_the_sensors_heading():
    ahead, _ = range_image_points(one_pixel(1, 3, 0, 1, 5.0), sensor(yaw=2.0))
    assert ahead == pytest.approx(np.array([[5.0, 0.0, 0.0]]), abs=1e-6)


def test_pixel_poses_by_hand():
    # The vehicle stood 1 m further back when the pixel fired, and has since turned left by 90 degrees.
    image, pose = one_pixel(1, 3, 0, 1, 4.0), np.zeros((1, 3, 6), np.float32)
    pose[..., 3:] = (99.0, 50.0, 0.0)
    frame = rigid(tilt(np.array([0.0, 0.0, np.pi / 2])), np.array([100.0, 50.0, 0.0]))
    points, _ = range_image_points(image, sensor(), pose, frame)
    assert points == pytest.approx(np.array([[0.0, -3.0, 0.0]]), abs=1e-6)


def test_without_echoes_there_are_no_points():
    for value in (-1.0, 0.0):
        points, pixels = range_image_points(np.full((4, 8), value, np.float32), sensor())
        assert points.shape == (0, 3)
        assert pixels.shape == (0, 2)
    points, _ = range_image_points(np.zeros((2, 3)), sensor(), np.zeros((2, 3, 6)), np.eye(4))
    assert points.shape == (0, 3)


def test_another_number_of_beams_is_refused():
    with pytest.raises(DataError, match=r"laser 1: beam_inclination.values has 2 angles, expected 3"):
        range_image_points(np.ones((3, 4)), sensor(values=[-0.1, 0.1]))


def test_rotation_agrees_with_matrices_and_with_euler_angles():
    rng = np.random.default_rng(0)
    angles, points = rng.uniform(-1.5, 1.5, (20, 3)), rng.normal(size=(20, 3))
    for angle, point, turned in zip(angles, points, rotate_zyx(angles, points)):
        assert turned == pytest.approx(tilt(angle) @ point, abs=1e-12)
        assert euler(rigid(tilt(angle), np.zeros(3)))[:3] == pytest.approx(angle, abs=1e-12)


def test_points_of_the_official_package():
    case = np.load(OFFICIAL)
    image, extrinsic = case["range_image"], case["extrinsic"]
    roof = LaserCalibration(1, extrinsic, tuple(case["bounds"]), case["beams"])
    ours, _ = range_image_points(image[..., 0], roof, case["pixel_pose"], case["frame_pose"])
    assert ours.shape == case["points_with_poses"].shape
    assert np.abs(ours - case["points_with_poses"]).max() < 5e-4  # theirs is float32, 850 m from the origin
    even = LaserCalibration(1, extrinsic, tuple(case["bounds"]))
    ours, _ = range_image_points(image[..., 0], even)
    assert np.abs(ours - case["points_of_even_beams"]).max() < 5e-5


def test_kilometres_from_the_origin_cost_no_accuracy():
    rng = np.random.default_rng(1)
    image = rng.uniform(1, 70, (4, 16)).astype(np.float32)
    frame = rigid(tilt(np.array([0.01, -0.02, 2.0])), np.array([16384.0, -32768.0, 64.0]))  # exact in float32
    pose = np.broadcast_to(euler(frame), (4, 16, 6)).astype(np.float32)
    still, _ = range_image_points(image, sensor())
    moved, _ = range_image_points(image, sensor(), pose, frame)
    assert np.abs(moved - still).max() < 2e-5  # what float32 angles leave at 70 m

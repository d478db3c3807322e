"""Outlines and clipped projection against positions worked out by hand."""

import numpy as np
import pytest

from bevkd.visualization.outlines import bev_outlines, box_corners_3d, clip_polygon, clip_segments, project

# A camera at the LiDAR's place that looks along +y: u = 100 x / y + 50, v = -100 z / y + 40, 101 x 81 pixels.
CAMERA = np.array([[100.0, 50, 0, 0], [0, 40, -100, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
SIZE = (101, 81)


def segment(start, end):
    return project(np.array([[start, end]], dtype=float), CAMERA)


def test_outline_of_a_box_along_x():
    outlines, ticks = bev_outlines(np.array([[0.0, 0, 0, 4, 2, 1, 0]]))
    assert outlines[0].tolist() == [[2, 1], [-2, 1], [-2, -1], [2, -1], [2, 1]]
    assert ticks[0].tolist() == [[0, 0], [3, 0]]


def test_outline_of_a_turned_box():
    outlines, ticks = bev_outlines(np.array([[10.0, 5, 0, 4, 2, 1, np.pi / 2]]))
    np.testing.assert_allclose(outlines[0], [[9, 7], [9, 3], [11, 3], [11, 7], [9, 7]], atol=1e-12)
    np.testing.assert_allclose(ticks[0], [[10, 5], [10, 8]], atol=1e-12)


def test_corners_stand_on_the_bottom_centre():
    corners = box_corners_3d(np.array([[1.0, 2, -1, 4, 2, 1.5, 0]]))[0]
    assert corners[0].tolist() == [3, 3, -1]
    assert corners[6].tolist() == [-1, 1, 0.5]
    assert set(corners[:, 2]) == {-1, 0.5}


def test_segment_in_view_is_projected():
    pixels, index = clip_segments(segment((0, 10, 0), (1, 10, 1)), *SIZE)
    np.testing.assert_allclose(pixels, [[[50, 40], [60, 30]]])
    assert index.tolist() == [0]


def test_segment_through_the_camera_plane_is_cut_not_mirrored():
    # From 10 m ahead to 10 m behind, 1 m to the right: seen until the right border, u = 100.5, at y = 100 / 50.5.
    pixels, _ = clip_segments(segment((1, 10, 0), (1, -10, 0)), *SIZE)
    np.testing.assert_allclose(pixels, [[[60, 40], [100.5, 40]]])
    # Dividing first would have put the far end at u = 40, left of the middle.
    assert pixels[..., 0].min() >= 60


def test_segment_is_cut_at_the_near_plane():
    pixels, _ = clip_segments(segment((0.0, 10, 0.01), (0.0, -10, 0.01)), *SIZE, near=0.1)
    np.testing.assert_allclose(pixels, [[[50, 39.9], [50, 30]]])


@pytest.mark.parametrize(
    ("start", "end"),
    [((0, -1, 0), (0, -5, 0)), ((20, 10, 0), (20, 12, 0)), ((-1, 0.05, 0), (1, 0.05, 0)), ((0, 10, 9), (2, 10, 9))],
    ids=["behind", "right of the view", "closer than near", "above the view"],
)
def test_segment_outside_is_dropped(start, end):
    pixels, index = clip_segments(segment(start, end), *SIZE)
    assert pixels.shape == (0, 2, 2)
    assert index.shape == (0,)


def test_random_segments_agree_with_dense_sampling():
    rng = np.random.default_rng(3)
    ends = rng.uniform((-8, -6, -5), (8, 14, 5), size=(400, 2, 3))
    pieces, index = clip_segments(project(ends, CAMERA), *SIZE)
    share = np.linspace(0, 1, 2001)[:, None]
    for row in range(len(ends)):
        points = project(ends[row, 0] + share * (ends[row, 1] - ends[row, 0]), CAMERA)
        with np.errstate(divide="ignore", invalid="ignore"):
            uv = points[:, :2] / points[:, 2:]
        seen = (points[:, 2] >= 0.1) & (uv >= -0.5).all(1) & (uv <= np.array(SIZE) - 0.5).all(1)
        piece = pieces[index == row]
        if seen.sum() > 3:
            np.testing.assert_allclose(piece[0].min(0), uv[seen].min(0), atol=1.5)
            np.testing.assert_allclose(piece[0].max(0), uv[seen].max(0), atol=1.5)
        elif not seen.any():
            assert not len(piece) or np.ptp(piece, axis=1).max() < 1.5


def test_polygon_is_clipped_to_the_image():
    # A wall 10 m ahead, from the middle to far right, between 1 m below and 1 m above.
    wall = project(np.array([[0.0, 10, -1], [30, 10, -1], [30, 10, 1], [0, 10, 1]]), CAMERA)
    pixels = clip_polygon(wall, *SIZE)
    np.testing.assert_allclose(pixels.min(0), [50, 30])
    np.testing.assert_allclose(pixels.max(0), [100.5, 50])


def test_polygon_around_the_camera_plane_stays_in_view():
    floor = project(np.array([[-1.0, -5, -0.2], [1, -5, -0.2], [1, 5, -0.2], [-1, 5, -0.2]]), CAMERA)
    pixels = clip_polygon(floor, *SIZE)
    assert len(pixels) >= 3
    assert (pixels >= -0.5 - 1e-9).all()
    assert (pixels <= np.array(SIZE) - 0.5 + 1e-9).all()
    assert pixels[:, 1].min() > 40  # the floor lies below the horizon


def test_polygon_behind_is_empty():
    assert clip_polygon(project(np.array([[0.0, -2, 0], [1, -2, 0], [1, -3, 0]]), CAMERA), *SIZE).shape == (0, 2)

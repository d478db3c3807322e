"""Boxes to points, and maps sampled at them."""

import math

import torch

from bevkd.structures import BEVGrid, box_corners_bev, nine_keypoints, sample_bev

GRID = BEVGrid((-54, 54), (-54, 54), 0.6)


def box(x=0.0, y=0.0, dx=4.0, dy=2.0, yaw=0.0):
    return torch.tensor([[x, y, 0.0, dx, dy, 1.5, yaw, 0.0, 0.0]])


def test_corners_of_a_hand_drawn_box():
    assert box_corners_bev(box())[0].tolist() == [[2, 1], [-2, 1], [-2, -1], [2, -1]]


def test_yaw_turns_counter_clockwise_from_x():
    quarter = box_corners_bev(box(yaw=math.pi / 2))[0]
    torch.testing.assert_close(quarter, torch.tensor([[-1.0, 2], [-1, -2], [1, -2], [1, 2]]))
    ahead = nine_keypoints(box(x=10, y=5, yaw=math.pi / 6))[0]
    front = (ahead[0] + ahead[3]) / 2  # middle of the front edge lies half a length along the yaw
    torch.testing.assert_close(front, torch.tensor([10 + 2 * math.cos(math.pi / 6), 5 + 1.0]))


def test_nine_points_are_corners_centre_and_edge_midpoints():
    points = nine_keypoints(box(x=1, y=-3))[0] - torch.tensor([1.0, -3.0])
    assert points.tolist() == [[2, 1], [-2, 1], [-2, -1], [2, -1], [0, 0], [0, 1], [-2, 0], [0, -1], [2, 0]]
    assert nine_keypoints(torch.zeros(0, 7)).shape == (0, 9, 2)


def test_one_hot_cell_is_read_at_its_centre_and_not_in_the_mirror():
    feature = torch.zeros(1, 180, 180)
    feature[0, 30, 120] = 1
    centre = torch.tensor([-54 + 120.5 * 0.6, -54 + 30.5 * 0.6])
    torch.testing.assert_close(sample_bev(feature, centre, GRID), torch.ones(1), atol=1e-4, rtol=0)
    torch.testing.assert_close(sample_bev(feature, centre.flip(0), GRID), torch.zeros(1))


def test_sampling_is_bilinear_and_zero_outside():
    grid = BEVGrid((0, 4), (0, 3), 1.0)
    feature = torch.arange(12.0).view(1, 3, 4)  # value = 4 row + column
    points = torch.tensor([[0.5, 0.5], [1.5, 0.5], [1.0, 1.0], [2.75, 1.5], [5.5, 1.5], [0.0, 0.5]])
    expected = torch.tensor([0.0, 1.0, 2.5, 6.25, 0.0, 0.0])
    torch.testing.assert_close(sample_bev(feature, points, grid)[:, 0], expected)
    edge = sample_bev(torch.ones(2, 3, 4), torch.tensor([0.0, 1.5]), grid)
    torch.testing.assert_close(edge, torch.tensor([0.5, 0.5]))  # half of the border's weight lies outside

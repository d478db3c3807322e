"""Points in upright boxes, bottom-centred."""

import math

import numpy as np
import pytest
import torch
from op_checks import assert_opcheck, assert_same_on_any_threads

from bevkd.errors import ConfigError
from bevkd.ops import points_in_boxes
from bevkd.ops.reference import points_in_boxes as twin

CAR = [0, 0, 0, 4, 2, 1.5, 0]


def inside(point, box) -> bool:
    return points_in_boxes(torch.tensor([point]).float(), torch.tensor([box]).float()).item()


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((1.9, 0, 0.5), True),
        ((0, 0, 0), True),  # z is the bottom
        ((0, 0, 1.5), True),  # the top belongs to the box
        ((0, 0, 1.51), False),
        ((0, 0, -0.01), False),
        ((2, 0, 0.5), False),  # the sides do not
        ((0, -1, 0.5), False),
        ((0, 1.9, 0.5), False),  # dx is along x
        ((math.nan, 0, 0.5), False),
        ((0, 0, math.nan), False),
    ],
)
def test_hand_drawn(point, expected):
    assert inside(point, CAR) is expected


def test_yaw_turns_counter_clockwise_from_x():
    turned = [1, 2, 0, 4, 2, 1.5, math.pi / 6]
    nose = (1 + 1.9 * math.cos(math.pi / 6), 2 + 1.9 * math.sin(math.pi / 6), 0.5)
    mirrored = (nose[0], 4 - nose[1], 0.5)
    assert inside(nose, turned)
    assert not inside(mirrored, turned)


def numpy_reference(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Half-space tests with explicit rotation matrices."""
    found = []
    for x, y, z, dx, dy, dz, yaw in boxes:
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        local = (points[:, :2] - [x, y]) @ turn
        flat = (np.abs(local) < [dx / 2, dy / 2]).all(1)
        found.append(flat & (points[:, 2] >= z) & (points[:, 2] <= z + dz))
    return np.stack(found)


@pytest.mark.parametrize("seed", range(5))
def test_random_points_against_numpy_and_the_twin(seed):
    draw = np.random.default_rng(seed)
    points = draw.uniform(-6, 6, (500, 3))
    boxes = np.concatenate(
        (draw.uniform(-4, 4, (20, 3)), draw.uniform(0.5, 6, (20, 3)), draw.uniform(-7, 7, (20, 1))), 1
    )
    found = points_in_boxes(torch.from_numpy(points), torch.from_numpy(boxes))
    assert found.shape == (20, 500)
    assert found.any()
    assert np.array_equal(found.numpy(), numpy_reference(points, boxes))
    assert torch.equal(found, twin.points_in_boxes(torch.from_numpy(points), torch.from_numpy(boxes)))


def test_empty_threads_and_opcheck():
    assert points_in_boxes(torch.zeros(0, 3), torch.zeros(2, 7)).shape == (2, 0)
    assert points_in_boxes(torch.zeros(4, 3), torch.zeros(0, 7)).shape == (0, 4)
    points, boxes = torch.randn(300, 3), torch.rand(9, 7) * 3
    assert_same_on_any_threads(lambda: (points_in_boxes(points, boxes),))
    assert_opcheck(torch.ops.bevkd.points_in_boxes, points, boxes)


@pytest.mark.parametrize(
    ("points", "boxes", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(2, 7), "points has shape"),
        (torch.zeros(3, 3), torch.zeros(2, 9), "boxes has shape"),
        (torch.zeros(3, 3), torch.zeros(2, 7).double(), "boxes are torch.float64"),
    ],
)
def test_bad_input_gets_one_sentence(points, boxes, message):
    with pytest.raises(ConfigError, match=message):
        points_in_boxes(points, boxes)
    with pytest.raises((ValueError, TypeError)):
        torch.ops.bevkd.points_in_boxes(points, boxes)

"""Points in upright boxes, bottom-centred."""

import math

import numpy as np
import pytest
import torch
from op_checks import assert_opcheck, assert_same_on_any_threads

from bevkd.errors import ConfigError
from bevkd.ops import points_in_boxes, points_in_boxes_all, points_in_boxes_part
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


def test_hand_drawn_part_and_all():
    """Two cars share a metre; a post stands in the second sample; zeros pad its boxes."""
    boxes = torch.tensor([[CAR, [3, 0, 0, 4, 2, 1.5, 0]], [[1, 1, 0, 0.5, 0.5, 3, 0.8], [0.0] * 7]])
    points = torch.tensor([[[1.5, 0, 1], [3, 0, 1], [9, 0, 1]], [[1, 1, 2], [0, 0, 0], [math.nan, 1, 1]]])
    assert points_in_boxes_part(points, boxes).tolist() == [[0, 1, -1], [0, -1, -1]]
    assert points_in_boxes_part(points, boxes.flip(1)).tolist() == [[0, 0, -1], [1, -1, -1]]
    everything = points_in_boxes_all(points, boxes)
    assert everything.int().tolist() == [[[1, 1], [0, 1], [0, 0]], [[1, 0], [0, 0], [0, 0]]]
    assert points_in_boxes_part(points, boxes).dtype == torch.int32


def lattice(draw: torch.Generator, rows: tuple, low: int, high: int) -> torch.Tensor:
    return torch.randint(low, high, rows, generator=draw) / 4


@pytest.mark.parametrize(
    ("seed", "count", "boxes"), [(0, 1, 1), (1, 300, 63), (2, 500, 64), (3, 200, 200), (4, 70, 65)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_on_borders_agree_with_the_twin(seed, count, boxes, dtype, device):
    """Sizes and places on one lattice, unturned: many points lie exactly on a side, an edge or a corner."""
    draw = torch.Generator().manual_seed(seed)
    points = lattice(draw, (2, count, 3), -12, 13).to(dtype)
    centres, sizes = lattice(draw, (2, boxes, 3), -12, 13), lattice(draw, (2, boxes, 3), -1, 9)
    rows = torch.cat((centres, sizes, torch.zeros(2, boxes, 1)), -1).to(dtype)
    wanted = twin.points_in_boxes_all(points, rows)
    first = twin.points_in_boxes_part(points, rows)
    points, rows = points.to(device), rows.to(device)
    assert torch.equal(points_in_boxes_all(points, rows).cpu(), wanted)
    assert torch.equal(points_in_boxes_part(points, rows).cpu(), first)
    assert torch.equal(points_in_boxes(points[1], rows[1]).cpu(), wanted[1].T)


def test_turned_boxes_all_over_the_scene_agree_with_the_twin(device):
    """Three groups of 64 boxes, from a pole to one that spans everything, and points inside and outside of all."""
    draw = torch.Generator().manual_seed(5)
    boxes = torch.rand(1, 150, 7, generator=draw, dtype=torch.float64) * torch.tensor([80, 80, 1, 6, 3, 3, 7.0]) - 1
    boxes[0, 7, 3:6] = torch.tensor([300, 300, 300])
    points = torch.rand(1, 3000, 3, generator=draw, dtype=torch.float64) * torch.tensor([90, 90, 3]) - 5
    there = points.to(device), boxes.to(device)
    assert torch.equal(points_in_boxes_all(*there).cpu(), twin.points_in_boxes_all(points, boxes))
    assert torch.equal(points_in_boxes_part(*there).cpu(), twin.points_in_boxes_part(points, boxes))


EXTREMES = [0.0, -0.0, 1.0, 1e-45, 1e-30, 1e18, 3e38, -3e38, math.inf, -math.inf, math.nan]


def test_extreme_values_agree_with_the_twin():
    draw = torch.Generator().manual_seed(6)
    values = torch.tensor(EXTREMES)
    points = values[torch.randint(len(values), (1, 400, 3), generator=draw)]
    boxes = values[torch.randint(len(values), (1, 300, 7), generator=draw)]
    boxes[..., 6] = 0  # cos and sin of 1e38 are a matter of taste
    boxes[:, ::2, 3:6] = boxes[:, ::2, 3:6].abs()
    wanted = twin.points_in_boxes_all(points, boxes)
    assert wanted.any()
    assert torch.equal(points_in_boxes_all(points, boxes), wanted)


def test_strided_input_and_gradients():
    points = torch.randn(3, 50, 2, requires_grad=True).permute(2, 1, 0)
    boxes = (torch.rand(7, 5, 2) * 3).permute(2, 1, 0)
    found = points_in_boxes_all(points, boxes)
    assert not found.requires_grad
    assert torch.equal(found, points_in_boxes_all(points.detach().contiguous(), boxes.contiguous()))
    assert torch.equal(points_in_boxes(points[0], boxes[0]), found[0].T)


def test_empty():
    assert points_in_boxes(torch.zeros(0, 3), torch.zeros(2, 7)).shape == (2, 0)
    assert points_in_boxes(torch.zeros(4, 3), torch.zeros(0, 7)).shape == (0, 4)
    for batch, count, boxes in ((0, 4, 2), (2, 0, 2), (2, 4, 0)):
        points, rows = torch.zeros(batch, count, 3), torch.zeros(batch, boxes, 7)
        assert points_in_boxes_all(points, rows).shape == (batch, count, boxes)
        assert torch.equal(points_in_boxes_part(points, rows), torch.full((batch, count), -1, dtype=torch.int32))


def test_threads_opcheck_and_compile():
    points, boxes = torch.randn(2, 40000, 3) * 4, torch.rand(2, 70, 7) * 3
    forms = (torch.ops.bevkd.points_in_boxes, points_in_boxes_all, points_in_boxes_part)
    assert_same_on_any_threads(lambda: tuple(form(points, boxes) for form in forms))
    few, three = points[:, :5], boxes[:, :3]
    for name in ("points_in_boxes", "points_in_boxes_all", "points_in_boxes_part"):
        assert_opcheck(getattr(torch.ops.bevkd, name), few, three)
    for form in (points_in_boxes_all, points_in_boxes_part):
        compiled = torch.compile(form, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(few, three), form(few, three))


@pytest.mark.parametrize(
    ("points", "boxes", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(2, 7), r"points has shape \(3, 4\), expected \[M, 3\]"),
        (torch.zeros(3, 3), torch.zeros(2, 9), r"boxes has shape .*\[T, 7\]"),
        (torch.zeros(3, 3), torch.zeros(2, 7).double(), "boxes are torch.float64"),
        (torch.zeros(3, 3).half(), torch.zeros(2, 7).half(), "points is float16"),
        (torch.zeros(1, 3, 3), torch.zeros(2, 7), "points has shape"),
    ],
)
def test_bad_input_gets_one_sentence(points, boxes, message):
    with pytest.raises(ConfigError, match=message):
        points_in_boxes(points, boxes)


@pytest.mark.parametrize(
    ("points", "boxes", "message"),
    [
        (torch.zeros(3, 3), torch.zeros(1, 2, 7), r"points has shape .*\[B, M, 3\]"),
        (torch.zeros(1, 3, 3), torch.zeros(1, 2, 8), r"boxes has shape .*\[B, T, 7\]"),
        (torch.zeros(1, 3, 3), torch.zeros(2, 2, 7), "boxes hold 2 samples, expected 1"),
        (torch.zeros(1, 3, 3), torch.zeros(1, 2, 7).double(), "boxes are torch.float64"),
    ],
)
def test_bad_batches_get_one_sentence(points, boxes, message):
    for form in (points_in_boxes_all, points_in_boxes_part):
        with pytest.raises(ConfigError, match=message):
            form(points, boxes)
        with pytest.raises((ValueError, TypeError)):
            getattr(torch.ops.bevkd, form.__name__)(points, boxes)

"""Keypoints of boxes on a map: hand-drawn values, the twin, padding, refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_checks import assert_opcheck

from bevkd.errors import ConfigError
from bevkd.ops import box_keypoints
from bevkd.ops.reference import box_keypoints as twin
from bevkd.structures import BEVGrid

GRID = BEVGrid((-8, 8), (-8, 8), 1.0)
WIDE = BEVGrid((-6, 12), (-4, 4), 0.5)


def case(seed=0, shape=(2, 5), dtype=torch.float64, device="cpu"):
    draw = torch.Generator().manual_seed(seed)
    boxes = torch.randn(*shape, 9, generator=draw, dtype=dtype) * 4
    return boxes.to(device), (torch.rand(shape, generator=draw) < 0.7).to(device)


def test_hand_drawn(device):
    boxes = torch.tensor([[[0.0, 0, 0, 4, 2, 1, 0], [1, -3, 0, 4, 2, 1, math.pi / 2]]], device=device)
    points = box_keypoints(boxes, torch.ones(1, 2, dtype=torch.bool, device=device), GRID).cpu() * 8
    straight = [[2, 1], [-2, 1], [-2, -1], [2, -1], [0, 0], [0, 1], [-2, 0], [0, -1], [2, 0]]
    torch.testing.assert_close(points[0, 0], torch.tensor(straight, dtype=torch.float32))
    turned = torch.tensor([[1 - y, -3 + x] for x, y in straight], dtype=torch.float32)
    torch.testing.assert_close(points[0, 1], turned)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.tuples(st.integers(0, 3), st.integers(0, 9)), st.sampled_from([GRID, WIDE]))
def test_random_boxes_agree_with_the_twin(seed, shape, grid):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        boxes, valid = case(seed, shape, dtype)
        found = box_keypoints(boxes, valid, grid)
        assert found.dtype == dtype
        torch.testing.assert_close(found, twin.box_keypoints(boxes, valid, grid), rtol=tolerance, atol=tolerance)


def test_padding_lies_off_the_map_and_nan_stays(device):
    boxes = torch.full((1, 2, 7), torch.nan, device=device)
    points = box_keypoints(boxes, torch.tensor([[False, True]], device=device), GRID)
    assert (points[0, 0] == 2).all()
    assert points[0, 1].isnan().all()


def test_strided_boxes_opcheck_and_compile(device):
    boxes, valid = case(device=device)
    wide = torch.cat((boxes, boxes), 2).transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(box_keypoints(wide, valid, WIDE), box_keypoints(boxes, valid, WIDE))
    assert_opcheck(torch.ops.bevkd.box_keypoints, boxes, valid, [-6.0, -4.0], [12.0, 4.0])
    compiled = torch.compile(lambda b, v: box_keypoints(b, v, WIDE) * 2, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(boxes, valid), box_keypoints(boxes, valid, WIDE) * 2)


@pytest.mark.parametrize(
    ("boxes", "valid", "message"),
    [
        (torch.zeros(1, 2, 6), torch.ones(1, 2, dtype=torch.bool), r"boxes have shape \(1, 2, 6\)"),
        (torch.zeros(2, 7), torch.ones(1, 2, dtype=torch.bool), r"boxes has shape \(2, 7\)"),
        (torch.zeros(1, 2, 7).int(), torch.ones(1, 2, dtype=torch.bool), "boxes is int32"),
        (torch.zeros(1, 2, 7), torch.ones(1, 3, dtype=torch.bool), r"valid is \(1, 3\) on cpu"),
        (torch.zeros(1, 2, 7), torch.ones(1, 2), "valid is float32, expected bool"),
    ],
)
def test_bad_input_gets_one_sentence(boxes, valid, message):
    with pytest.raises(ConfigError, match=message):
        box_keypoints(boxes, valid, GRID)
    with pytest.raises((ValueError, TypeError)):
        torch.ops.bevkd.box_keypoints(boxes, valid, [-8.0, -8.0], [8.0, 8.0])


def test_the_kernel_refuses_an_empty_range():
    boxes, valid = case()
    with pytest.raises(ValueError, match="low below high"):
        torch.ops.bevkd.box_keypoints(boxes, valid, [8.0, -8.0], [-8.0, 8.0])

"""Suppression of rotated and plain boxes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_checks import assert_opcheck

from bevkd.errors import ConfigError
from bevkd.ops import nms, nms_rotated
from bevkd.ops.reference import nms as twin


def test_hand_drawn_rotated():
    """Box 1 has the best score and hides box 0, its copy turned by pi; box 2 stands across; box 3 is far away."""
    boxes = torch.tensor([[0, 0, 4, 2, math.pi], [0, 0, 4, 2, 0], [0, 0, 4, 2, math.pi / 2], [50, 0, 4, 2, 0]])
    scores = torch.tensor([0.8, 0.9, 0.7, 0.1])
    assert nms_rotated(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert nms_rotated(boxes, scores, 0.3).tolist() == [1, 3]  # 4 / 12 > 0.3
    assert nms_rotated(boxes, scores, 0.5, torch.tensor([0, 1, 0, 0])).tolist() == [1, 0, 2, 3]


def test_hand_drawn_plain():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
    scores = torch.tensor([0.5, 0.9, 0.1])
    assert nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert nms(boxes, scores, 0.9).tolist() == [1, 0, 2]
    touching = torch.tensor([[0.0, 0, 1, 1], [1.0, 0, 2, 1]])
    assert nms(touching, scores[:2], 0.3).tolist() == [1, 0]
    assert nms(touching, scores[:2], 0.3, offset=1).tolist() == [1]  # inclusive corners share a column: 2 / 6


def test_a_suppressed_box_suppresses_nothing():
    boxes = torch.tensor([[0.0, 0, 4, 2, 0], [1.5, 0, 4, 2, 0], [3.0, 0, 4, 2, 0]])
    assert nms_rotated(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.3).tolist() == [0, 2]


def test_equal_scores_keep_the_earlier_box():
    boxes = torch.tensor([[0.0, 0, 4, 2, 0]]).repeat(5, 1)
    assert nms_rotated(boxes, torch.full((5,), 0.5), 0.5).tolist() == [0]
    assert nms(boxes[:, :4].cumsum(1), torch.full((5,), 0.5), 0.5).tolist() == [0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 40), st.sampled_from([0.0, 0.2, 0.7]), st.booleans())
def test_random_boxes_agree_with_the_twin(seed, count, threshold, labelled):
    torch.manual_seed(seed)
    boxes = torch.rand(count, 5) * torch.tensor([12, 12, 5, 3, 7.0]) + torch.tensor([0, 0, 0.1, 0.1, 0])
    scores = torch.randint(0, 20, (count,)) / 20
    labels = torch.randint(0, 3, (count,)) if labelled else None
    assert torch.equal(
        nms_rotated(boxes, scores, threshold, labels), twin.nms_rotated(boxes, scores, threshold, labels)
    )
    plain = torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]), 1)
    assert torch.equal(nms(plain, scores, threshold), twin.nms(plain, scores, threshold))


def test_empty():
    assert nms_rotated(torch.zeros(0, 5), torch.zeros(0), 0.5).tolist() == []
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


def test_opcheck():
    boxes = torch.rand(6, 5) + 0.1
    assert_opcheck(torch.ops.bevkd.nms_rotated, boxes, None, 0.5)
    assert_opcheck(torch.ops.bevkd.nms_rotated, boxes, torch.arange(6), 0.5)
    assert_opcheck(torch.ops.bevkd.nms, boxes[:, :4].cumsum(1), 0.5, 0.0)


@pytest.mark.parametrize(
    ("function", "boxes", "scores", "labels", "message"),
    [
        (nms_rotated, torch.zeros(3, 4), torch.zeros(3), None, "boxes has shape"),
        (nms, torch.zeros(3, 5), torch.zeros(3), None, "boxes has shape"),
        (nms_rotated, torch.zeros(3, 5), torch.zeros(2), None, "scores have shape"),
        (nms, torch.zeros(3, 4), torch.zeros(3, 1), None, "scores have shape"),
        (nms_rotated, torch.zeros(3, 5), torch.zeros(3), torch.zeros(4), "labels have shape"),
    ],
)
def test_bad_input_gets_one_sentence(function, boxes, scores, labels, message):
    extra = {} if labels is None else {"labels": labels}
    with pytest.raises(ConfigError, match=message):
        function(boxes, scores, 0.5, **extra)


def test_the_kernel_refuses_too():
    ops = torch.ops.bevkd
    with pytest.raises(ValueError, match=r"expected \[N, 5\]"):
        ops.nms_rotated(torch.zeros(3, 4), None, 0.5)
    with pytest.raises(ValueError, match="labels are"):
        ops.nms_rotated(torch.zeros(3, 5), torch.zeros(2, dtype=torch.int64), 0.5)
    with pytest.raises(ValueError, match=r"expected \[N, 4\]"):
        ops.nms(torch.zeros(3, 5), 0.5, 0.0)

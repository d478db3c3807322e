"""Suppression of rotated and plain boxes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_checks import assert_opcheck

from bevkd.errors import ConfigError
from bevkd.ops import box_iou_rotated, nms, nms_rotated
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


def scene(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Clusters of cars, a few buildings that span many of them, poles, boxes without area, NaN and infinity."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.rand(count // 8 + 1, 2, generator=draw) * 60
    place = centres[torch.randint(len(centres), (count,), generator=draw)] + torch.randn(count, 2, generator=draw)
    size = torch.tensor([4.0, 1.8]) + torch.rand(count, 2, generator=draw)
    boxes = torch.cat((place, size, torch.rand(count, 1, generator=draw) * 7), 1)
    boxes[::50, 2:4] *= 12
    boxes[1::9, 2:4] *= 0.05
    boxes[2::77, 2] = 0
    boxes[3::81, 1] = math.nan
    boxes[4::85, 0] = math.inf
    boxes[5::87, 3] = -1
    return boxes, torch.randint(0, 200, (count,), generator=draw) / 200


def greedy_over(matrix: torch.Tensor, scores: torch.Tensor, threshold: float) -> list[int]:
    """Suppression over all pairs, without a notion of near and far."""
    matrix, scores = matrix.cpu(), scores.cpu()
    alive = torch.ones(len(scores), dtype=torch.bool)
    kept = []
    for i in torch.sort(scores, stable=True, descending=True).indices.tolist():
        if alive[i]:
            kept.append(i)
            alive &= ~(matrix[i] > threshold)
    return kept


@pytest.mark.parametrize(("count", "threshold"), [(63, 0.1), (64, 0.0), (65, 0.5), (700, 0.0), (700, 0.2), (700, 0.7)])
def test_a_mixed_scene_against_all_pairs(count, threshold, device):
    boxes, scores = (tensor.to(device) for tensor in scene(count, count))
    assert nms_rotated(boxes, scores, threshold).tolist() == greedy_over(
        box_iou_rotated(boxes, boxes), scores, threshold
    )
    labels = torch.arange(count, device=device) % 3
    apart = box_iou_rotated(boxes, boxes) * (labels[:, None] == labels)
    assert nms_rotated(boxes, scores, threshold, labels).tolist() == greedy_over(apart, scores, threshold)
    plain = torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]), 1)
    for offset in (0.0, 1.0):
        matrix = twin.plain_iou(plain, offset)
        assert nms(plain, scores, threshold, offset).tolist() == greedy_over(matrix, scores, threshold)


def test_many_boxes_in_pairs(device):
    """3,000 places far apart, each with two copies: the one with the better score stays."""
    place = torch.stack(torch.meshgrid(torch.arange(60.0), torch.arange(50.0), indexing="ij"), -1).reshape(-1, 2) * 10
    one = torch.cat((place, torch.tensor([4.0, 2, 0.3]).expand(3000, 3)), 1)
    boxes, scores = torch.cat((one, one)).to(device), torch.arange(6000.0, device=device)
    assert nms_rotated(boxes, scores, 0.5).tolist() == list(range(5999, 2999, -1))


def test_boxes_that_overlap_nothing_are_kept():
    """No area, inverted corners, NaN, infinity: each stands twice, and both stay."""
    bad = torch.tensor([[0.0, 0, 0, 2, 0], [0, 0, -1, 2, 0], [math.nan, 0, 2, 2, 0], [0, 0, math.inf, 2, 0]])
    assert nms_rotated(bad.repeat(2, 1), torch.arange(8.0), 0.0).tolist() == list(range(7, -1, -1))
    bad = torch.tensor([[0.0, 0, 0, 2], [3, 3, 1, 5], [math.nan, 0, 2, 2], [0, 0, math.inf, 2], [-math.inf, 0, 2, 2]])
    assert nms(bad.repeat(2, 1), torch.arange(10.0), 0.0).tolist() == list(range(9, -1, -1))


def test_a_nan_score_ranks_last():
    boxes = torch.tensor([[0.0, 0, 4, 2, 0]]).repeat(3, 1)
    assert nms_rotated(boxes, torch.tensor([math.nan, -math.inf, 0.2]), 0.5).tolist() == [2]
    boxes[2, 0] = 50
    assert nms_rotated(boxes, torch.tensor([math.nan, 0.1, 0.2]), 0.5).tolist() == [2, 1]


def test_strided_boxes_of_a_graph():
    boxes, scores = scene(40, 1)
    strided = boxes.repeat(1, 2)[:, :5].clone().T.contiguous().T.requires_grad_()
    assert not strided.is_contiguous()
    assert torch.equal(nms_rotated(strided, scores.requires_grad_(), 0.2), nms_rotated(boxes, scores, 0.2))


@pytest.mark.gpu
def test_the_mask_waits_for_no_host():
    boxes, _ = scene(300, 3)
    boxes, expected = boxes.cuda(), torch.ops.bevkd.nms_rotated(boxes, None, 0.2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        mask = torch.ops.bevkd.nms_rotated(boxes, None, 0.2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(mask.cpu(), expected)


def test_empty():
    assert nms_rotated(torch.zeros(0, 5), torch.zeros(0), 0.5).tolist() == []
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


def test_opcheck():
    boxes = torch.rand(6, 5) + 0.1
    assert_opcheck(torch.ops.bevkd.nms_rotated, boxes, None, 0.5)
    assert_opcheck(torch.ops.bevkd.nms_rotated, boxes, torch.arange(6), 0.5)
    assert_opcheck(torch.ops.bevkd.nms, boxes[:, :4].cumsum(1), 0.5, 0.0)


def test_compiles_in_one_graph():
    """The mask has a static shape; indices take a size that only the data know."""
    boxes, scores = scene(30, 2)
    mask = torch.compile(lambda b: torch.ops.bevkd.nms_rotated(b, None, 0.2), fullgraph=True, backend="aot_eager")
    assert torch.equal(mask(boxes), torch.ops.bevkd.nms_rotated(boxes, None, 0.2))
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(nms_rotated, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(boxes, scores, 0.2), nms_rotated(boxes, scores, 0.2))


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


@pytest.mark.parametrize("threshold", [-0.1, math.nan])
def test_bad_threshold(threshold):
    with pytest.raises(ConfigError, match=r"iou_threshold is .*, expected at least 0"):
        nms_rotated(torch.zeros(3, 5), torch.zeros(3), threshold)
    with pytest.raises(ValueError, match="iou_threshold is"):
        torch.ops.bevkd.nms(torch.zeros(3, 4), threshold, 0.0)


def test_the_kernel_refuses_too():
    ops = torch.ops.bevkd
    with pytest.raises(ValueError, match=r"expected \[N, 5\]"):
        ops.nms_rotated(torch.zeros(3, 4), None, 0.5)
    with pytest.raises(ValueError, match="labels are"):
        ops.nms_rotated(torch.zeros(3, 5), torch.zeros(2, dtype=torch.int64), 0.5)
    with pytest.raises(ValueError, match=r"expected \[N, 4\]"):
        ops.nms(torch.zeros(3, 5), 0.5, 0.0)

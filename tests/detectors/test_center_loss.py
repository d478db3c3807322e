"""BEVCenterHead on one process is mmdet3d's CenterHead, and a velocity that nobody knows is no loss."""

import pytest
import torch
from detector_scenes import GRID, one_of_each
from mmdet3d.models import CenterHead
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from bevkd.detectors import build_center_head
from bevkd.detectors.center_loss import BEVCenterHead


def head():
    torch.manual_seed(0)
    return build_center_head({"type": "CenterHead", "share_conv_channel": 16}, GRID, 8)


def truth(count, repeats=1):
    boxes, labels, _ = one_of_each()
    boxes, labels = boxes[:count].repeat(repeats, 1), labels[:count].repeat(repeats)
    return InstanceData(bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9), labels_3d=labels)


def losses_and_gradients(model, function, boxes):
    model.zero_grad()
    maps = model([torch.randn(len(boxes), 8, *GRID.shape, generator=torch.Generator().manual_seed(1))])
    losses = function(model, maps, boxes)
    sum(losses.values()).backward()
    return losses, {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("counts", [(10, 4), (10, 0), (0, 0)])
def test_on_one_process_it_is_center_head(counts):
    model, boxes = head(), [truth(n) for n in counts]
    assert type(model) is BEVCenterHead
    mine, gradients = losses_and_gradients(model, BEVCenterHead.loss_by_feat, boxes)
    theirs, expected = losses_and_gradients(model, CenterHead.loss_by_feat, boxes)
    assert mine.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-6, atol=1e-7)
    for name in expected:
        torch.testing.assert_close(gradients[name], expected[name], rtol=1e-4, atol=1e-7)


def test_two_objects_in_one_cell_are_one_peak_and_two_boxes():
    """As CenterHead counts them: heat is divided by peaks, boxes by objects."""
    model, boxes = head(), [truth(10, repeats=2), truth(4)]
    mine, _ = losses_and_gradients(model, BEVCenterHead.loss_by_feat, boxes)
    theirs, _ = losses_and_gradients(model, CenterHead.loss_by_feat, boxes)
    for name in theirs:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-6, atol=1e-7)


def test_an_unknown_velocity_adds_nothing():
    known, unknown = truth(10), truth(10)
    unknown.bboxes_3d.tensor[0, 7:] = torch.nan
    with_all, _ = losses_and_gradients(head(), BEVCenterHead.loss_by_feat, [known])
    losses, gradients = losses_and_gradients(head(), BEVCenterHead.loss_by_feat, [unknown])
    assert all(g.isfinite().all() for g in gradients.values())
    assert 0 < losses["task0.loss_bbox"] < with_all["task0.loss_bbox"]
    assert losses["task1.loss_bbox"] == with_all["task1.loss_bbox"]

"""mmdet3d on CPU with mmcv-lite: its box structures and LiDAR detectors call our ops through mmcv's wrappers."""

import math
from types import SimpleNamespace

import pytest
import torch

import bevkd  # noqa: F401  serves mmcv._ext

pytest.importorskip("mmcv")
pytestmark = pytest.mark.slow  # importing mmdet3d alone takes ten seconds


@pytest.fixture(scope="module", autouse=True)
def scope():
    from mmengine.registry import init_default_scope

    init_default_scope("mmdet3d")


def lidar_boxes(*rows, **kwargs):
    from mmdet3d.structures import LiDARInstance3DBoxes

    return LiDARInstance3DBoxes(torch.tensor(rows, dtype=torch.float32), box_dim=len(rows[0]), **kwargs)


def test_overlaps():
    """Two cars shifted by half a length share a third; one raised by half its height, half of that volume."""
    car, ahead = (0, 0, 0, 4, 2, 2, 0), (2, 0, 0, 4, 2, 2, math.pi)
    raised, elsewhere = (2, 0, 1, 4, 2, 2, 0), (30, 0, 0, 4, 2, 2, 0)
    boxes = lidar_boxes(car, ahead, raised, elsewhere)
    found = boxes.overlaps(lidar_boxes(car), boxes)
    torch.testing.assert_close(found, torch.tensor([[1, 1 / 3, 4 / 28, 0]]))


def test_points_in_boxes(monkeypatch):
    """With a CPU-only torch, mmcv's wrapper refuses in front of us; past its question all forms work on CPU tensors."""
    boxes = lidar_boxes((0, 0, 0, 4, 2, 1.5, 0), (3, 0, 0, 4, 2, 1.5, 0), (0, 9, 0, 4, 2, 1.5, math.pi / 2))
    points = torch.tensor([[1.5, 0, 1, 0.7], [3, 0, 1, 0.7], [0, 10.9, 1, 0.7], [1.9, 9, 1, 0.7]])
    if not torch.cuda.is_available():
        with pytest.raises(AssertionError, match="CUDA"):
            boxes.points_in_boxes_part(points)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: -1)
    assert boxes.points_in_boxes_part(points).tolist() == [0, 1, 2, -1]
    assert boxes.points_in_boxes_all(points).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(("rotated", "expected"), [(True, [1, 2, 0]), (False, [1])])
def test_nms_bev(rotated, expected):
    """A cross of two long boxes and a neighbour on the diagonal: apart when turned, one heap as upright rectangles."""
    from mmdet3d.models.layers import nms_bev, nms_normal_bev
    from mmdet3d.structures import xywhr2xyxyr

    rows = torch.tensor([[0, 0, 8, 1, 0.8], [0, 0, 8, 1, 0.8 + math.pi / 2], [0, 1.2, 8, 1, 0.8 + math.pi / 2]])
    scores = torch.tensor([0.5, 0.9, 0.7])
    if rotated:
        assert nms_bev(xywhr2xyxyr(rows), scores, 0.2).tolist() == expected
        assert nms_bev(xywhr2xyxyr(rows), scores, 0.2, pre_max_size=2, post_max_size=1).tolist() == expected[:1]
    else:
        upright = torch.cat((rows[:, :2] - 3, rows[:, :2] + 3, rows[:, 4:]), 1)
        assert nms_normal_bev(upright, scores, 0.2).tolist() == expected


def test_centerhead_suppresses_turned_boxes():
    """nms_type rotate: of two predictions on one car the better stays, a parallel car stays."""
    from mmdet3d.models import CenterHead
    from mmdet3d.structures import LiDARInstance3DBoxes

    rows = [(0, 0, -1, 4, 2, 1.5, 0.7), (0.2, 0.1, -1, 4, 2, 1.5, 0.7 + math.pi), (-1.6, 1.9, -1, 4, 2, 1.5, 0.7)]
    boxes, scores = torch.tensor(rows), torch.tensor([0.6, 0.8, 0.7])
    head = CenterHead.__new__(CenterHead)
    torch.nn.Module.__init__(head)
    head.test_cfg = {
        "nms_thr": 0.2, "pre_max_size": 1000, "post_max_size": 83, "score_threshold": 0.1,
        "post_center_limit_range": [-61.2, -61.2, -10, 61.2, 61.2, 10],
    }  # fmt: skip
    meta = {"box_type_3d": LiDARInstance3DBoxes}
    head.bbox_coder = SimpleNamespace(code_size=7)
    (found,) = head.get_task_detections(1, [scores], [boxes], [torch.zeros(3, dtype=torch.long)], [meta])
    assert found["scores"].tolist() == pytest.approx([0.8, 0.7])


def build(name: str):
    from mmdet3d.registry import MODELS
    from mmengine.hub import get_config

    torch.manual_seed(0)
    return MODELS.build(get_config(f"mmdet3d::{name}.py").model)


def batch_for(model, labelled: bool) -> dict:
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    bounds = torch.tensor(model.data_preprocessor.voxel_layer.point_cloud_range)
    where = bounds[:3] + torch.rand(3000, 3) * (bounds[3:] - bounds[:3])
    sample = Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes})
    if labelled:
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=lidar_boxes((20, 5, -1, 3.9, 1.6, 1.5, 0.3), (30, -5, -1, 0.8, 0.6, 1.7, 1)),
            labels_3d=torch.tensor([2, 0]),
        )
    return {"inputs": {"points": [torch.cat((where, torch.rand(3000, 1)), 1)]}, "data_samples": [sample]}


def test_pointpillars_trains_a_step_and_predicts():
    model = build("pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class")
    losses = model(**model.data_preprocessor(batch_for(model, True), True), mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    with torch.no_grad():
        (result,) = model.eval()(**model.data_preprocessor(batch_for(model, False), False), mode="predict")
    found = result.pred_instances_3d
    assert 0 < len(found.scores_3d) <= 50
    assert found.bboxes_3d.tensor.isfinite().all()


def test_focal_loss_as_mmdet_calls_it_on_cuda_agrees_with_its_python():
    from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss, sigmoid_focal_loss

    logits, target = torch.randn(50, 3, requires_grad=True), torch.randint(0, 4, (50,))
    weight = torch.rand(50)
    ours = sigmoid_focal_loss(logits, target, weight, avg_factor=7)
    one_hot = torch.nn.functional.one_hot(target, 4)[:, :3]
    theirs = py_sigmoid_focal_loss(logits, one_hot, weight, avg_factor=7)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))


def test_second_around_its_sparse_convolutions():
    """Voxelization, neck, anchor head and suppression of SECOND; what lies between needs spconv and is replaced."""
    model = build("second/second_hv_secfpn_8xb6-80e_kitti-3d-3class").eval()

    class Dense(torch.nn.Module):
        def forward(self, features, coords, batch_size):
            canvas = features.new_zeros(batch_size, 256, 200, 176)
            canvas[coords[:, 0].long(), :4, coords[:, 2].long() // 8, coords[:, 3].long() // 8] = features
            return canvas

    assert type(model.middle_encoder).__name__ == "SparseEncoder"
    model.middle_encoder = Dense()
    with torch.no_grad():
        (result,) = model(**model.data_preprocessor(batch_for(model, False), False), mode="predict")
    assert len(result.pred_instances_3d.scores_3d) > 0

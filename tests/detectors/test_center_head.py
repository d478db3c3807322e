"""The head on a BEVGrid: a perfect map decodes to the right box, labels go by name, and no number is written twice."""

import math

import pytest
import torch
from detector_scenes import GRID
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from bevkd.datasets.constants import CLASSES
from bevkd.detectors import LabelOrder, build_center_head
from bevkd.detectors.center_head import NUSCENES_TASKS
from bevkd.errors import ConfigError

META = {"box_type_3d": LiDARInstance3DBoxes}
# Bottom at z -1, so the centre is at -0.25. Column (5.3 + 16) / 1 = 21.3, row (-2.2 + 8) / 1 = 5.8.
BOX = torch.tensor([[5.3, -2.2, -1.0, 4.0, 2.0, 1.5, 0.5, 1.0, -2.0]])


def head(**changes):
    torch.manual_seed(0)
    return build_center_head({"type": "CenterHead", "share_conv_channel": 16, **changes}, GRID, 8)


def perfect_maps(task: int, channel: int) -> tuple:
    """Maps that say: the box above, as class ``channel`` of ``task``, and nothing else."""
    maps = []
    for k, names in enumerate(NUSCENES_TASKS):
        zeros = {
            name: torch.zeros(1, n, *GRID.shape)
            for name, n in zip(("reg", "height", "dim", "rot", "vel"), (2, 1, 3, 2, 2))
        }
        heat = torch.full((1, len(names), *GRID.shape), -10.0)
        if k == task:
            heat[0, channel, 5, 21] = 6.0
            zeros["reg"][0, :, 5, 21] = torch.tensor([0.3, 0.8])
            zeros["height"][0, :, 5, 21] = -0.25
            zeros["dim"][0, :, 5, 21] = torch.tensor([4.0, 2.0, 1.5]).log()
            zeros["rot"][0, :, 5, 21] = torch.tensor([math.sin(0.5), math.cos(0.5)])
            zeros["vel"][0, :, 5, 21] = torch.tensor([1.0, -2.0])
        maps.append([{"heatmap": heat, **zeros}])
    return tuple(maps)


@pytest.mark.parametrize("nms", ["circle", "rotate"])
@pytest.mark.parametrize(("task", "channel"), [(0, 0), (2, 1), (5, 0)])
def test_a_perfect_map_decodes_to_the_box_in_metres(nms, task, channel):
    found = head(test_cfg={"nms_type": nms}).predict_by_feat(perfect_maps(task, channel), [META])[0]
    torch.testing.assert_close(found.bboxes_3d.tensor, BOX, rtol=1e-4, atol=1e-4)
    assert found.scores_3d.tolist() == pytest.approx([1 / (1 + math.exp(-6.0))], abs=1e-4)
    assert found.labels_3d.tolist() == [sum(map(len, NUSCENES_TASKS[:task])) + channel]


def test_what_is_left_out_takes_centerpoint_s_values():
    """Yin et al., CVPR 2021, on nuScenes: targets, weights and the radii of circle NMS by task."""
    model = head()
    train, test, limits = model.train_cfg, model.test_cfg, [-26.0, -18.0, -10.0, 26.0, 18.0, 10.0]
    assert (train["gaussian_overlap"], train["min_radius"], train["max_objs"]) == (0.1, 2, 500)
    assert list(train["code_weights"]) == [1.0] * 8 + [0.2, 0.2]
    assert list(train["grid_size"]) == [32, 16, 1]
    radii = dict(zip(NUSCENES_TASKS, test["min_radius"]))
    assert (radii["car",], radii["pedestrian", "traffic_cone"], radii["motorcycle", "bicycle"]) == (4.0, 0.175, 0.85)
    assert list(test["post_center_limit_range"]) == list(model.bbox_coder.post_center_range) == limits
    assert (test["nms_thr"], test["score_threshold"], model.bbox_coder.max_num) == (0.2, 0.05, 300)


def test_targets_are_the_inverse_of_decoding():
    truth = InstanceData(bboxes_3d=LiDARInstance3DBoxes(BOX, box_dim=9), labels_3d=torch.tensor([4]))  # task 2, second
    heatmaps, boxes, indices, masks = head().get_targets([truth])
    assert [h.eq(1).nonzero().tolist() for h in heatmaps] == [[], [], [[0, 1, 5, 21]], [], [], []]
    assert masks[2][0].sum() == 1
    assert indices[2][0, 0] == 5 * 32 + 21
    expected = torch.tensor([0.3, 0.8, -0.25, *BOX[0, 3:6].log(), math.sin(0.5), math.cos(0.5), 1.0, -2.0])
    torch.testing.assert_close(boxes[2][0, 0], expected, rtol=1e-4, atol=1e-4)


def test_slim_head_equals_center_head_with_one_convolution_per_branch():
    branches = {"reg": (2, 1), "height": (1, 1), "dim": (3, 1), "rot": (2, 1), "vel": (2, 1)}
    plain = head(
        common_heads=branches,
        num_heatmap_convs=1,
        separate_head={"type": "SeparateHead", "init_bias": -2.19, "final_kernel": 3, "head_conv": 16},
    ).eval()
    slim = head(type="SlimCenterHead").eval()
    slim.load_state_dict(plain.state_dict())
    features = torch.randn(2, 8, *GRID.shape)
    for expected, actual in zip(plain([features]), slim([features]), strict=True):
        assert expected[0].keys() == actual[0].keys()
        for name in expected[0]:
            torch.testing.assert_close(actual[0][name], expected[0][name], rtol=1e-4, atol=1e-5)


def test_slim_head_survives_the_sigmoid_in_place():
    slim = head(type="SlimCenterHead")
    maps = slim([torch.randn(1, 8, *GRID.shape)])
    before = [{name: m.detach().clone() for name, m in task[0].items() if name != "heatmap"} for task in maps]
    truth = InstanceData(bboxes_3d=LiDARInstance3DBoxes(BOX, box_dim=9), labels_3d=torch.tensor([0]))
    losses = slim.loss_by_feat(maps, [truth])
    sum(losses.values()).backward()
    for task, kept in zip(maps, before):
        assert all(torch.equal(task[0][name], value) for name, value in kept.items())
    assert all(p.grad is not None for p in slim.parameters())


def test_label_order_by_hand():
    order = LabelOrder(("car", "truck", "bus"), [("car",), ("bus", "truck")])
    assert order.to_head.tolist() == [0, 2, 1]
    assert order.encode(torch.tensor([1, 1, 2, 0, -1])).tolist() == [2, 2, 1, 0, -1]
    assert order.decode(torch.tensor([2, 1, 0])).tolist() == [1, 2, 0]
    assert not order.state_dict()


def test_label_order_of_nuscenes():
    order = LabelOrder(CLASSES, NUSCENES_TASKS)
    flat = [name for names in NUSCENES_TASKS for name in names]
    labels = torch.arange(10)
    assert [flat[k] for k in order.encode(labels)] == list(CLASSES)
    assert order.decode(order.encode(labels)).tolist() == labels.tolist()


def test_label_order_refuses_other_names():
    with pytest.raises(ConfigError, match=r"model.classes has 'lorry'.*there is: car, truck"):
        LabelOrder(("car", "lorry"), [("car", "truck")])
    with pytest.raises(ConfigError, match=r"truck beyond model.classes"):
        LabelOrder(("car",), [("car", "truck")])
    with pytest.raises(ConfigError, match=r"car beyond model.classes"):
        LabelOrder(("car",), [("car",), ("car",)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox_coder": {"pc_range": [0, 0]}}, r"head.bbox_coder sets pc_range.*comes from model.grid"),
        ({"train_cfg": {"grid_size": [1, 1, 1]}}, "head.train_cfg sets grid_size"),
        ({"test_cfg": {"voxel_size": [1, 1]}}, "head.test_cfg sets voxel_size"),
        ({"test_cfg": {"nms_typ": "circle"}}, r"head.test_cfg has the unknown key 'nms_typ'.*nearest: nms_type"),
        ({"test_cfg": {"nms_type": "square"}}, "nms_type is 'square', expected"),
        ({"test_cfg": {"min_radius": [1.0]}}, "min_radius has 1 numbers, expected one for each of the 6 tasks"),
        ({"in_channels": 3}, "head sets in_channels"),
        ({"share_conv_channels": 16}, r"'share_conv_channels'.*nearest: share_conv_channel"),
        ({"type": "CentreHead"}, r"head.type is 'CentreHead'.*nearest: .*CenterHead"),
    ],
)
def test_wrong_configs(changes, message):
    with pytest.raises(ConfigError, match=message):
        head(**changes)

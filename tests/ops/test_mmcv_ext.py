"""The ``mmcv._ext`` provider, called through mmcv's own wrappers."""

import ast
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bevkd.errors import ConfigError
from bevkd.ops import mmcv_ext
from bevkd.ops.reference import box_iou_rotated as twin_iou
from bevkd.ops.reference import nms as twin_nms
from bevkd.ops.reference import points_in_boxes as twin_points
from bevkd.ops.reference import voxelize as twin_voxelize

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py"

mmcv = pytest.importorskip("mmcv")


@pytest.fixture(scope="module")
def ops():
    """``mmcv.ops``; the tests of our provider are skipped where a full mmcv stands behind it."""
    import mmcv.ops

    if importlib.util.find_spec("mmcv._ext").origin != "bevkd":
        pytest.skip("a full mmcv is installed")
    return mmcv.ops


def test_install_adds_one_finder_at_the_end():
    mmcv_ext.install()
    mmcv_ext.install()
    ours = [finder for finder in sys.meta_path if isinstance(finder, mmcv_ext._Finder)]
    assert len(ours) == 1


def test_a_real_module_wins(tmp_path):
    """A package ``mmcv`` with its own ``_ext`` is left alone; without one, ours is served."""
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").touch()
    code = "import bevkd, mmcv._ext as e; print(getattr(e, 'nms', 0) == 'real')"
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; {code}"]
    served = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    (tmp_path / "mmcv" / "_ext.py").write_text("nms = 'real'\n")
    real = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert (served, real) == ("False\n", "True\n")


def test_other_modules_are_not_served():
    assert importlib.util.find_spec("mmcv._extra") is None


def test_unknown_function_refuses_at_the_call_only(ops):
    from mmcv import _ext

    assert callable(_ext.roi_align_forward)
    with pytest.raises(ConfigError, match=r"roi_align_forward is not among bevkd's ops: .* full mmcv"):
        ops.roi_align(torch.zeros(1, 1, 4, 4), torch.zeros(1, 5), (2, 2))
    assert not hasattr(_ext, "__path__")


def asserted_names() -> set[str]:
    """Every function that the Python of mmcv.ops wants from mmcv._ext."""
    names = set()
    for path in (Path(mmcv.__file__).parent / "ops").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "load_ext":
                names |= set(ast.literal_eval(node.args[1]))
    return names


def test_every_other_function_refuses_with_one_sentence(ops):
    from mmcv import _ext

    served = set(mmcv_ext._TABLE)
    names = asserted_names()
    assert served <= names
    assert len(names - served) > 80
    for name in names - served:
        with pytest.raises(ConfigError, match=f"^{name} is not among bevkd's ops: it needs the full mmcv .*$") as error:
            getattr(_ext, name)(torch.zeros(1), keyword=1)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("deterministic", [True, False])
def test_hard_voxelization(ops, deterministic):
    cloud = torch.randn(400, 5)
    size, bounds = [0.25, 0.5, 4.0], [-2.0, -2.0, -2.0, 2.0, 2.0, 2.0]
    layer = ops.Voxelization(size, bounds, max_num_points=3, max_voxels=(60, 90), deterministic=deterministic)
    for training, cap in ((True, 60), (False, 90)):  # F26: the cap follows the mode of each call
        found = layer.train(training)(cloud)
        for a, b in zip(found, twin_voxelize.voxelize(cloud, size, bounds, 3, cap)):
            assert torch.equal(a, b)


def test_voxelization_of_half_strided_points_in_a_graph(ops):
    size, bounds = [0.25, 0.5, 4.0], [-2.0, -2.0, -2.0, 2.0, 2.0, 2.0]
    cloud = torch.randn(5, 100).half().T.requires_grad_()
    plain = cloud.detach().float().contiguous()
    features, coords, count = ops.Voxelization(size, bounds, 3, 60)(cloud)
    wanted = twin_voxelize.voxelize(plain, size, bounds, 3, 60)
    assert features.dtype == torch.float16
    assert torch.equal(features.float(), wanted[0])
    assert torch.equal(coords, wanted[1])
    assert torch.equal(count, wanted[2])
    cells = ops.Voxelization(size, bounds, -1)(cloud)
    assert torch.equal(cells, twin_voxelize.voxelize_dynamic(plain, size, bounds))


def test_dynamic_voxelization(ops):
    cloud = torch.randn(100, 4)
    size, bounds = [0.25, 0.5, 4.0], [-2.0, -2.0, -2.0, 2.0, 2.0, 2.0]
    found = ops.Voxelization(size, bounds, max_num_points=-1)(cloud)
    assert torch.equal(found, twin_voxelize.voxelize_dynamic(cloud, size, bounds))


@pytest.mark.parametrize("clockwise", [True, False])
@pytest.mark.parametrize("mode", ["iou", "iof"])
def test_box_iou_rotated(ops, mode, clockwise):
    torch.manual_seed(0)
    a, b = (torch.rand(n, 5) * torch.tensor([4, 4, 3, 2, 7.0]) + 0.1 for n in (7, 5))
    found = ops.box_iou_rotated(a, b, mode=mode, clockwise=clockwise)
    turn = torch.tensor([1, 1, 1, 1, 1 if clockwise else -1])
    torch.testing.assert_close(found, twin_iou.box_iou_rotated(a * turn, b * turn, over_first=mode == "iof"))
    aligned = ops.box_iou_rotated(a[:5], b, mode=mode, aligned=True, clockwise=clockwise)
    torch.testing.assert_close(aligned, found[:5].diagonal())


@pytest.mark.parametrize("labelled", [False, True])
def test_nms_rotated(ops, labelled):
    torch.manual_seed(1)
    boxes = torch.rand(60, 5) * torch.tensor([8, 8, 4, 2, 7.0]) + 0.1
    scores, labels = torch.rand(60), torch.randint(0, 2, (60,)) if labelled else None
    dets, keep = ops.nms_rotated(boxes, scores, 0.2, labels)
    assert torch.equal(keep, twin_nms.nms_rotated(boxes, scores, 0.2, labels))
    assert torch.equal(dets, torch.cat((boxes[keep], scores[keep, None]), 1))


def test_nms_and_batched_nms(ops):
    torch.manual_seed(2)
    corner = torch.rand(50, 2) * 10
    boxes, scores = torch.cat((corner, corner + torch.rand(50, 2) * 5), 1), torch.rand(50)
    _, keep = ops.nms(boxes, scores, 0.3)
    assert torch.equal(keep, twin_nms.nms(boxes, scores, 0.3))
    classes = torch.randint(0, 3, (50,))
    _, keep = ops.batched_nms(boxes, scores, classes, {"type": "nms", "iou_threshold": 0.3})
    apart = boxes + classes[:, None] * 100
    assert torch.equal(keep, twin_nms.nms(apart, scores, 0.3))


def test_points_in_boxes_cpu(ops):
    torch.manual_seed(3)
    points, boxes = torch.randn(2, 90, 3) * 2, torch.rand(2, 6, 7) * 3
    found = ops.points_in_boxes_cpu(points, boxes)
    assert found.shape == (2, 90, 6)
    for batch in range(2):
        assert torch.equal(found[batch].T.bool(), twin_points.points_in_boxes(points[batch], boxes[batch]))
    assert ops.points_in_boxes_cpu(
        torch.tensor([[[0, 0, 1.4]]]), torch.tensor([[[0, 0, 0, 4, 2, 1.5, math.pi]]])
    ).item()


@pytest.fixture
def without_cuda_check(monkeypatch):
    """mmcv's Python asks for the current CUDA device before it calls us; a CPU tensor is on device -1."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: -1)


def test_points_in_boxes_part_and_all(ops, without_cuda_check):
    torch.manual_seed(4)
    points, boxes = torch.randn(2, 90, 3) * 2, torch.rand(2, 70, 7) * 3
    part = ops.points_in_boxes_part(points, boxes)
    assert part.dtype == torch.int32
    assert torch.equal(part, twin_points.points_in_boxes_part(points, boxes))
    everything = ops.points_in_boxes_all(points, boxes)
    assert everything.dtype == torch.int32
    assert torch.equal(everything.bool(), twin_points.points_in_boxes_all(points, boxes))


def test_half_strided_graphs_and_mixed_dtypes(ops, without_cuda_check):
    """What comes under autocast: each call gives what contiguous float32 copies give."""
    torch.manual_seed(5)
    points, boxes = (torch.randn(1, 3, 40) * 2).half().mT, (torch.rand(1, 7, 6) * 3).half().mT.requires_grad_()
    float_points, float_boxes = points.float().contiguous(), boxes.detach().float().contiguous()
    for name in ("points_in_boxes_part", "points_in_boxes_all", "points_in_boxes_cpu"):
        function = getattr(ops, name)
        assert torch.equal(function(points, boxes), function(float_points, float_boxes)), name
        assert torch.equal(function(float_points.double(), boxes), function(float_points, float_boxes)), name

    flat = boxes[0][:, [0, 1, 3, 4, 6]]
    rotated, scores = flat.detach().float(), torch.rand(6).half().requires_grad_()
    ious = ops.box_iou_rotated(flat, flat)
    assert ious.dtype == torch.float16
    assert torch.equal(ious, ops.box_iou_rotated(rotated, rotated).half())
    assert torch.equal(ops.nms_rotated(flat, scores, 0.1)[1], ops.nms_rotated(rotated, scores.float(), 0.1)[1])
    plain = torch.cat((flat[:, :2], flat[:, :2] + flat[:, 2:4]), 1)
    dets, keep = ops.nms(plain, scores, 0.1)
    assert torch.equal(keep, ops.nms(plain.detach().float(), scores.float(), 0.1)[1])
    dets.sum().backward()  # boxes and scores are gathered by mmcv, with gradient
    assert scores.grad.sum() == len(keep)


def test_sigmoid_focal_loss(ops):
    """Against the formula in probabilities, with background as the last target; gradients by differences."""
    torch.manual_seed(6)
    logits, target = torch.randn(20, 3, dtype=torch.float64, requires_grad=True), torch.randint(0, 4, (20,))
    p = logits.detach().sigmoid()
    one_hot = torch.nn.functional.one_hot(target, 4)[:, :3]
    wanted = -torch.where(one_hot == 1, 0.25 * (1 - p) ** 2 * p.log(), 0.75 * p**2 * (1 - p).log())
    torch.testing.assert_close(ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "none"), wanted)
    weight = torch.tensor([1.0, 2, 3], dtype=torch.float64)
    weighted = ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, "none")
    torch.testing.assert_close(weighted, wanted * torch.tensor([1.0, 2, 3, 1])[target, None])
    assert torch.autograd.gradcheck(lambda x: ops.sigmoid_focal_loss(x, target, 1.5, 0.3, None, "mean"), logits)
    far = torch.tensor([[200.0, -200.0]], requires_grad=True)
    ops.sigmoid_focal_loss(far, torch.tensor([1]), 2.0, 0.25, None, "sum").backward()
    assert far.grad.isfinite().all()


def _centerpoint():
    from mmengine.hub import get_config
    from mmengine.registry import init_default_scope

    init_default_scope("mmdet3d")
    import mmdet3d.models  # noqa: F401
    from mmdet3d.registry import MODELS

    torch.manual_seed(0)
    return MODELS.build(get_config(CONFIG).model)


def _batch(count: int = 4000) -> dict:
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    boxes = torch.tensor([[10, 5, -1, 4, 2, 1.5, 0.3, 1, 0], [-20, 3, -1, 0.7, 0.7, 1.7, 1, 0, 0]])
    sample = Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes})
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9), labels_3d=torch.tensor([0, 7])
    )
    points = (torch.rand(count, 5) - 0.5) * torch.tensor([100, 100, 6, 1, 1.0])
    return {"inputs": {"points": [points]}, "data_samples": [sample]}


@pytest.mark.slow
def test_centerpoint_of_mmdet3d_trains_a_step_and_predicts(ops):
    """The pillar config in mmdet3d's own wheel, on CPU with mmcv-lite: voxelization and rotated NMS are ours."""
    model = _centerpoint()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    losses = model(**model.data_preprocessor(_batch(), True), mode="loss")
    total, _ = model.parse_losses(losses)
    assert total.isfinite()
    total.backward()
    before = model.pts_voxel_encoder.pfn_layers[0].linear.weight.clone()
    optimizer.step()
    assert not torch.equal(before, model.pts_voxel_encoder.pfn_layers[0].linear.weight)
    model.eval()
    with torch.no_grad():
        (result,) = model(**model.data_preprocessor(_batch(), False), mode="predict")
    found = result.pred_instances_3d
    assert found.bboxes_3d.tensor.shape == (len(found.scores_3d), 9)
    assert len(found.scores_3d) > 0
    assert found.bboxes_3d.tensor.isfinite().all()

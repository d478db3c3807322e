"""The loss path never makes the host wait for a GPU: shown without one on meta tensors, and on a real one.

A meta tensor has no values, so ``item``, ``tolist``, ``bool``, boolean indexing, ``nonzero`` and ``cpu`` are errors by
themselves. The mode below adds what it would allow: copies from the host, and tensors made of Python numbers.
"""

from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bevkd.distill.distillbev import DistillBEV
from bevkd.distill.unidistill import UniDistill, feature_loss, relation_loss, response_loss
from bevkd.ops import masked_feature_loss, rotated_box_mask, sample_keypoints
from bevkd.structures import BEVGrid
from bevkd.structures.targets import Targets

GRID = BEVGrid((-6, 6), (-6, 6), 0.5)
_WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "item", "equal", "is_nonzero", "unique", "lift_fresh")


class NoCopies(TorchDispatchMode):
    """Raises where an operator would look at values, or copies between devices."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        name = op.overloadpacket.__name__
        if name.startswith(_WAITING):
            raise AssertionError(f"{op} makes the host wait")
        indices = [i for a in args for i in (a if isinstance(a, list) else [a]) if isinstance(i, torch.Tensor)]
        if name.startswith("index") and any(i.dtype == torch.bool for i in indices):
            raise AssertionError(f"{op} with a mask makes the host wait")
        out = op(*args, **(kwargs or {}))
        devices = {t.device.type for t in (*indices, out) if isinstance(t, torch.Tensor) and t.dim()}
        if len(devices) > 1:
            raise AssertionError(f"{op} copies between {sorted(devices)}")
        return out


class NoUploads(TorchFunctionMode):
    """Raises where Python numbers would be copied to the device."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        made = function in (torch.tensor, torch.as_tensor, torch.from_numpy, torch.Tensor.new_tensor)
        if made and out.device.type != "cpu":
            raise AssertionError(f"{function.__name__} copies from the host")
        return out


@contextmanager
def no_host_sync():
    """No operator that would make the host wait, had its tensors been on a GPU."""
    with NoUploads(), NoCopies():
        yield


def scene(device, seed=0):
    """Maps, heads and ragged boxes of a batch of three, one sample without a box."""
    draw = torch.Generator().manual_seed(seed)
    sizes = {"heatmap": 2, "reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}

    def some(*shape):
        return torch.randn(3, *shape, *GRID.shape, generator=draw).to(device)

    taps = [{"low": some(6), "high": some(8), "head": [{k: some(n) for k, n in sizes.items()}]} for _ in range(2)]
    box = torch.tensor([[1.0, 2.0, 0, 3, 1.5, 1, 0.3, 0, 0], [-3.0, -2.5, 0, 2, 1, 1, -2, 0, 0]])
    return *taps, [box.to(device), torch.zeros(0, 9, device=device), box[:1].to(device)]


def requires_grad(feature):
    if isinstance(feature, torch.Tensor):
        return feature.requires_grad_()
    return [{key: m.requires_grad_() for key, m in task.items()} for task in feature]


LOSSES = {
    "feature": lambda mine, theirs, boxes: feature_loss(mine["low"], theirs["low"], boxes, GRID),
    "mirrored": lambda mine, theirs, boxes: feature_loss(mine["low"], theirs["low"], boxes, GRID, True),
    "relation": lambda mine, theirs, boxes: relation_loss(mine["high"], theirs["high"], boxes, GRID),
    "response": lambda mine, theirs, boxes: response_loss(mine["head"], theirs["head"], boxes, GRID),
    "unidistill": lambda mine, theirs, boxes: sum(UniDistill()(mine, theirs, Targets(boxes, [], GRID)).values()),
    "distillbev": lambda mine, theirs, boxes: sum(
        DistillBEV({"low": {"false_positive": True}}, spatial=0)(mine, theirs, Targets(boxes, [], GRID)).values()
    ),
}


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_losses_and_backward_look_at_no_value(loss):
    mine, theirs, boxes = scene("meta")
    mine = {tap: requires_grad(feature) for tap, feature in mine.items()}
    with no_host_sync():
        value = LOSSES[loss](mine, theirs, boxes)
        value.backward()
    assert (value.shape, value.device.type) == ((), "meta")
    assert any(t.grad is not None for t in (mine["low"], mine["high"], mine["head"][0]["reg"]))


def test_ops_look_at_no_value():
    mine, theirs, _ = scene("meta")
    boxes, valid = torch.zeros(3, 4, 7, device="meta"), torch.ones(3, 4, dtype=torch.bool, device="meta")
    student = mine["low"].requires_grad_()
    with no_host_sync():
        mask = rotated_box_mask(boxes, valid, GRID, 0.7)
        weight = mask.area_weight() * mask.gaussian + mask.foreground
        loss = masked_feature_loss(student, theirs["low"], weight, normaliser=weight.sum())
        samples = sample_keypoints(student, theirs["high"], boxes[..., :2])
        (loss + samples[0].sum() + samples[1].sum()).backward()
    assert samples[1].shape == (3, 4, 8)
    assert student.grad.shape == student.shape


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: x.cpu(),
        lambda x: x + torch.ones(3).to(x.device),
        lambda x: x * x.new_tensor([1.0, 2.0, 3.0]),
        lambda x: torch.tensor([1.0], device=x.device),
    ],
)
def test_the_test_sees_what_waits(waits):
    x = torch.zeros(3, device="meta")
    with no_host_sync(), pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        waits(x)


@pytest.mark.gpu
@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("boxes_on", ["cpu", "cuda"])
def test_losses_and_backward_on_a_gpu(loss, boxes_on):
    mine, theirs, boxes = scene("cuda")
    boxes = [box.to(boxes_on) for box in boxes]
    mine = {tap: requires_grad(feature) for tap, feature in mine.items()}
    LOSSES[loss](mine, theirs, boxes).backward()  # first calls load kernels
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        value = LOSSES[loss](mine, theirs, boxes)
        value.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert value.isfinite()


@pytest.mark.gpu
@pytest.mark.parametrize(("column", "value"), [(0, float("nan")), (3, -1.0), (6, 90.0), (0, 500.0)])
def test_unusable_boxes_on_a_gpu_make_the_loss_nan(column, value):
    mine, theirs, boxes = scene("cuda")
    for box in boxes:
        box[:, column] = value
    for loss in ("feature", "relation", "response", "unidistill"):
        assert LOSSES[loss](mine, theirs, boxes).isnan()

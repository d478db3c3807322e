"""What the distillation losses keep for backward, in whole feature maps, and what they make on the way.

UniDistill's keep and make none: they read maps at points. DistillBEV's weighted differences keep one slope of the size
of the map for each level, which backward needs, and make nothing else of that size.
"""

import pytest
import torch
from method_scenes import head, maps, random_boxes
from torch.utils._python_dispatch import TorchDispatchMode

from bevkd.distill import DistillBEV, UniDistill
from bevkd.structures import BEVGrid
from bevkd.structures.targets import Targets

GRID = BEVGrid((-16, 16), (-16, 16), 0.5)
CHANNELS = 64
TAPS = ("low", "high")
MAP = 2 * CHANNELS * GRID.shape[0] * GRID.shape[1]  # numbers in one feature map


class Allocations(TorchDispatchMode):
    """Counts the operators whose result is new memory of at least ``size`` numbers."""

    def __init__(self, size):
        super().__init__()
        self.size, self.found = size, []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        known = {t.untyped_storage().data_ptr() for t in args if isinstance(t, torch.Tensor)}
        out = op(*args, **(kwargs or {}))
        for result in out if isinstance(out, tuple | list) else [out]:
            storage = result.untyped_storage() if isinstance(result, torch.Tensor) else None
            if storage is not None and storage.nbytes() >= 4 * self.size and storage.data_ptr() not in known:
                self.found.append(op.overloadpacket.__name__)
        return out


def scene():
    student = {tap: maps(GRID, CHANNELS, seed=k).requires_grad_() for k, tap in enumerate(TAPS)}
    teacher = {tap: maps(GRID, CHANNELS, seed=k + 5) for k, tap in enumerate(TAPS)}
    student["head"], teacher["head"] = head(GRID, seed=1), head(GRID, seed=2)
    for task in student["head"]:
        for part in task.values():
            part.requires_grad_()
    boxes = [random_boxes(6, GRID, seed=k) for k in range(2)]
    return student, teacher, Targets(boxes, [torch.zeros(6, dtype=torch.long)] * 2, GRID)


def storages(taps):
    tensors = [taps[tap] for tap in TAPS] + [part for task in taps["head"] for part in task.values()]
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


METHODS = {
    "UniDistill": UniDistill(),
    "DistillBEV": DistillBEV({"low": {}, "high": {"false_positive": True}}),
}


@pytest.mark.parametrize(("name", "slopes"), [("UniDistill", 0), ("DistillBEV", 2)])
def test_no_copy_of_a_feature_map_is_made_beside_the_slopes(name, slopes):
    student, teacher, targets = scene()
    known, kept = storages(student) | storages(teacher), {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with Allocations(MAP) as forward, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = sum(METHODS[name](student, teacher, targets).values())
    assert forward.found == ["masked_feature_loss"] * slopes
    assert sum(kept.values()) < 4 * MAP * (slopes + 0.5)  # and head maps side by side, masks, keypoints
    with Allocations(MAP) as backward:
        loss.backward()
    # A gradient from every part that reads a map, and their sums.
    assert len(backward.found) <= (5 if slopes else 0) + 2 * len(TAPS)


def test_copies_would_be_seen():
    feature = maps(GRID, CHANNELS)
    with Allocations(MAP) as seen:
        feature.abs().mean()
        feature.flatten(2)
    assert seen.found == ["abs"]

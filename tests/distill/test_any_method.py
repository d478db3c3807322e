"""What holds for every method in bird's-eye view on detectors, through the distiller."""

import pytest
import torch
from distill_fakes import FakeDetector
from mmengine.optim import OptimWrapper
from torch import nn

from bevkd.distill import Distiller, LiveTeacher
from bevkd.methods import METHODS, list_methods

# Their examples have adapters between the widths of these detectors, (4, 8) and (6, 12).
every_method = pytest.mark.parametrize("name", list_methods("bev"))


class Temporal(FakeDetector):
    """Two frames fused before the encoder, the earlier one detached as in BEVDet4D."""

    def __init__(self):
        super().__init__()
        self.fuse = nn.Conv2d(8, 4, 1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        earlier = self.stem(inputs["image"].flip(-1)).detach()
        self.stem, stem = nn.Identity(), self.stem
        try:
            fused = self.fuse(torch.cat([stem(inputs["image"]), earlier], 1))
            return super().forward({"image": fused}, data_samples, mode)
        finally:
            self.stem = stem


def distiller(name, student=FakeDetector):
    torch.manual_seed(0)
    teacher = LiveTeacher(FakeDetector(channels=6))
    return Distiller(student(), teacher, {"m": METHODS[name].example().method})


def kd(losses):
    return {name: value for name, value in losses.items() if name.startswith("kd/")}


@pytest.mark.parametrize("student", [FakeDetector, Temporal])
@every_method
def test_every_parameter_receives_a_gradient_and_the_teacher_none(name, student, batch):
    model = distiller(name, student)
    losses = model(*batch, mode="loss")
    sum(kd(losses).values()).backward()
    assert list(model.methods.parameters())
    for name, parameter in model.methods.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert model.student.stem.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.teacher.model.parameters())


@every_method
def test_batches_without_boxes_are_finite_and_have_no_foreground(name, empty_batch):
    model = distiller(name)
    losses = model(*empty_batch, mode="loss")
    model.parse_losses(losses)[0].backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad is not None for p in model.methods.parameters())  # or data-parallel training would wait for one
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    if model.methods["m"].foreground_only:
        assert all(value == 0 for value in kd(losses).values())
    assert all(value == 0 for name, value in kd(losses).items() if name.endswith(".foreground"))


@every_method
def test_half_precision_autocast(name, batch):
    wide = {name: value.item() for name, value in kd(distiller(name)(*batch, mode="loss")).items()}
    model = distiller(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = kd(model(*batch, mode="loss"))
    for name, value in losses.items():
        assert value.dtype == torch.float32, name
        assert value.item() == pytest.approx(wide[name], rel=0.05), name
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_all_methods_at_once_train_and_log_their_own_parts(batch):
    torch.manual_seed(0)
    names = sorted(list_methods("bev"), reverse=True)  # RDD's regions move with its convolution's random start
    methods = {name.lower(): METHODS[name].example().method for name in names}
    model = Distiller(FakeDetector(), LiveTeacher(FakeDetector(channels=6)), methods)
    optimizer = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-2))
    data = {"inputs": batch[0], "data_samples": batch[1]}
    logs = [model.train_step(data, optimizer) for _ in range(8)]
    for name in methods:
        parts = [part for part in logs[0] if part.startswith(f"kd/{name}/")]
        assert len(parts) >= 2
        assert sum(logs[-1][part] for part in parts) < sum(logs[0][part] for part in parts), name
    own = [value for part, value in logs[0].items() if part.startswith("kd/") or part == "task0.loss_heatmap"]
    torch.testing.assert_close(logs[0]["loss"], sum(own))

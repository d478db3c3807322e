"""What holds for every method on every student: each one registered here is tried."""

import copy

import pytest
import torch
from distill_fakes import GRID, FakeDetector
from mmengine.optim import OptimWrapper
from torch import nn

import bevkd.distill
from bevkd.distill import RDD, DistillBEV, Distiller, LiveTeacher, UniDistill
from bevkd.structures.targets import Targets

# Arguments that switch everything on, adapters between widths (4, 8) and (6, 12) included.
EVERYTHING = {
    UniDistill: {"adapters": {"low": (4, 6), "high": (8, 12)}},
    DistillBEV: {
        "levels": {"low": {"channels": (4, 6), "layers": 3}, "high": {"channels": (8, 12), "false_positive": True}}
    },
    RDD: {"channels": (8, 12), "threshold": 0.0},
}
METHODS = list(EVERYTHING)


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


def distiller(method, student=FakeDetector, **arguments):
    torch.manual_seed(0)
    teacher = LiveTeacher(FakeDetector(channels=6))
    return Distiller(student(), teacher, {"m": method(**{**EVERYTHING[method], **arguments})})


def kd(losses):
    return {name: value for name, value in losses.items() if name.startswith("kd/")}


def test_no_method_is_forgotten():
    exported = [getattr(bevkd.distill, name) for name in bevkd.distill.__all__]
    assert {kind for kind in exported if hasattr(kind, "required_taps")} == set(METHODS)


@pytest.mark.parametrize("student", [FakeDetector, Temporal])
@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_receives_a_gradient_and_the_teacher_none(method, student, batch):
    model = distiller(method, student)
    losses = model(*batch, mode="loss")
    sum(kd(losses).values()).backward()
    assert list(model.methods.parameters())
    for name, parameter in model.methods.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert model.student.stem.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.teacher.model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_batches_without_boxes_are_finite_and_have_no_foreground(method, empty_batch):
    model = distiller(method)
    losses = model(*empty_batch, mode="loss")
    model.parse_losses(losses)[0].backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad is not None for p in model.methods.parameters())  # or data-parallel training would wait for one
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    if method is UniDistill:
        assert all(value == 0 for value in kd(losses).values())
    if method is DistillBEV:
        assert losses["kd/m/low.foreground"] == losses["kd/m/high.foreground"] == 0


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_autocast(method, batch):
    wide = {name: value.item() for name, value in kd(distiller(method)(*batch, mode="loss")).items()}
    model = distiller(method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = kd(model(*batch, mode="loss"))
    for name, value in losses.items():
        assert value.dtype == torch.float32, name
        assert value.item() == pytest.approx(wide[name], rel=0.05), name
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_part_itself_is_never_in_half_precision(method, batch):
    """The same features in and out of autocast give the same losses, to float32's digits."""
    levels = {"levels": {"low": {}, "high": {"false_positive": True}}}
    plain = method(**{UniDistill: {}, DistillBEV: levels, RDD: {"threshold": 0.0}}[method])
    targets = Targets.from_data_samples(batch[1], GRID)
    with torch.no_grad():
        taps = [_taps(FakeDetector(), batch), _taps(FakeDetector(), batch)]
        expected = plain(*taps, targets)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = plain(*taps, targets)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


def _taps(model, batch):
    low = model.stem(batch[0]["image"])
    high = model.encoder(low)
    return {"low": low, "high": high, "head": [task[0] for task in model.head([high])]}


@pytest.mark.parametrize("method", METHODS)
def test_a_student_that_is_its_teacher_can_only_stay(method, batch):
    """With the same weights the features agree; what remains is UniDistill's temperature."""
    torch.manual_seed(0)
    student = FakeDetector()
    arguments = {UniDistill: {"response": 0}, DistillBEV: {"levels": {"low": {}, "high": {}}}, RDD: {}}[method]
    model = Distiller(student, LiveTeacher(copy.deepcopy(student)), {"m": method(**arguments)})
    model.eval()  # batch norm statistics, as the teacher's
    assert all(value == 0 for value in kd(model(*batch, mode="loss")).values())


def test_all_methods_at_once_train_and_log_their_own_parts(batch):
    torch.manual_seed(0)
    methods = {kind.__name__.lower(): kind(**EVERYTHING[kind]) for kind in METHODS}
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

"""The distiller: extra losses in training, the bare student otherwise."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from bevkd.distill import Distiller, LiveTeacher, UniDistill
from bevkd.errors import ConfigError
from bevkd.structures import BEVGrid
from bevkd.structures.checkpoint import load_weights

KD = ["kd/unidistill/feature", "kd/unidistill/relation", "kd/unidistill/response"]


@pytest.fixture
def distiller(detector):
    return Distiller(detector(0), LiveTeacher(detector(1)), {"unidistill": {"type": UniDistill}})


def test_fifty_steps_lower_all_three_losses(distiller, batch):
    optimizer = OptimWrapper(torch.optim.Adam(distiller.parameters(), lr=5e-3))
    distiller.train()
    teacher = copy.deepcopy(distiller.teacher.config.state_dict())
    inputs, samples = batch
    logs = [distiller.train_step({"inputs": inputs, "data_samples": samples}, optimizer) for _ in range(50)]
    for name in KD:
        assert logs[-1][name] < 0.7 * logs[0][name], name
    after = distiller.teacher.model.state_dict()  # batch norm statistics included
    assert all(torch.equal(teacher[key], after[key]) for key in teacher)
    assert all(p.grad is None for p in distiller.teacher.model.parameters())


def test_total_counts_every_part_once_and_keeps_the_names(distiller, batch):
    losses = distiller(*batch, mode="loss")
    total, log = distiller.parse_losses(losses)
    assert set(log) == {"loss", "task0.loss_heatmap", "task0.accuracy", *KD}
    expected = losses["task0.loss_heatmap"] + sum(losses[name] for name in KD)
    torch.testing.assert_close(total, expected)
    assert log["loss"] is total
    named = {"kd/loss_of_x/part": torch.tensor(2.0), "loss_y": torch.tensor(3.0), "kd/a/b": torch.tensor(5.0)}
    assert distiller.parse_losses(named)[0] == 10


def test_predict_and_tensor_are_the_student_bit_for_bit(distiller, detector, batch):
    student = detector(0).eval()
    distiller.eval()
    assert distiller(*batch, mode="predict") == student(*batch, mode="predict")
    mine, theirs = distiller(*batch), student(*batch)
    assert all(torch.equal(a[0][k], b[0][k]) for a, b in zip(mine, theirs) for k in b[0])
    assert distiller.teacher.model is None  # testing needs no teacher


def test_teacher_is_in_no_parameter_and_no_state(distiller, batch, tmp_path, detector):
    distiller.init_weights()
    names = {name.split(".")[0] for name in distiller.state_dict()}
    assert names == {"student"}
    mine = {id(p) for p in distiller.parameters()}
    assert not mine & {id(p) for p in distiller.teacher.model.parameters()}
    assert not distiller.train().teacher.model.training
    path = tmp_path / "distiller.pth"
    torch.save({"state_dict": distiller.state_dict()}, path)
    student = detector(7)
    load_weights(student, path, prefix="student.")
    assert torch.equal(student.stem.weight, distiller.student.stem.weight)


def test_adapters_are_trained_and_saved(detector, batch):
    method = UniDistill(adapters={"low": (4, 6), "high": (8, 12)}, response=0)
    model = Distiller(detector(0), LiveTeacher(detector(1, channels=6)), {"wide": method})
    sum(v for k, v in model(*batch, mode="loss").items() if k.startswith("kd/")).backward()
    assert all(p.grad is not None for p in model.methods.parameters())
    assert "methods.wide.adapters.low.0.weight" in model.state_dict()


def test_student_starts_as_it_would_without_a_teacher(detector, tmp_path):
    kind, path = type(detector()), tmp_path / "teacher.pth"
    torch.save(detector(9).state_dict(), path)
    torch.manual_seed(4)
    plain = kind()
    after = torch.rand(1)
    torch.manual_seed(4)
    teacher = {"type": LiveTeacher, "config": {"type": kind}, "checkpoint": str(path)}
    method = {"type": UniDistill, "adapters": {"low": (4, 4), "high": (8, 8)}}
    distilled = Distiller({"type": kind}, teacher, {"u": method})
    distilled.init_weights()
    assert torch.equal(torch.rand(1), after)
    assert all(torch.equal(v, distilled.student.state_dict()[k]) for k, v in plain.state_dict().items())


def test_no_box_in_the_batch(distiller, empty_batch):
    losses = distiller(*empty_batch, mode="loss")
    assert [losses[name].item() for name in KD] == [0, 0, 0]
    distiller.parse_losses(losses)[0].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in distiller.parameters())
    assert all(p.grad is not None for p in distiller.parameters())  # connected, so DDP waits for nothing


def test_nothing_is_kept_after_a_step(distiller, batch):
    distiller(*batch, mode="loss")
    kept = [v for part in (distiller, distiller.teacher) for v in vars(part).values() if isinstance(v, torch.Tensor)]
    assert kept == []
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in distiller.modules())


def test_a_copy_for_weight_averaging_shares_the_teacher(distiller):
    distiller.init_weights()
    assert copy.deepcopy(distiller).teacher is distiller.teacher


def test_teacher_info(distiller):
    assert distiller.teacher_info() == {"config": "FakeDetector", "checkpoint": None, "sha256": None, "settings": None}


def test_differing_grids_are_refused_before_the_first_step(detector):
    teacher = LiveTeacher(detector(1, grid=BEVGrid((-6, 6), (-6, 6), 0.25)))
    model = Distiller(detector(0), teacher, {"unidistill": UniDistill()})
    with pytest.raises(ConfigError, match=r"grids of student and teacher differ: cell 0.5 against 0.25"):
        model.init_weights()


def test_only_one_grid_is_refused(detector):
    flat = detector(1)
    flat.grid = None
    with pytest.raises(ConfigError, match="the teacher has no BEV grid"):
        Distiller(detector(0), LiveTeacher(flat), {"unidistill": UniDistill()}).init_weights()
    with pytest.raises(ConfigError, match="the student has no BEV grid"):
        Distiller(flat, LiveTeacher(detector(0)), {"unidistill": UniDistill()}).init_weights()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"methods": {}}, "methods are empty"),
        ({"taps": {"low": "encoder:input", "high": "encoder", "head": "heat"}}, "names 'heat'.*nearest: head"),
        ({"taps": {"low": "encoder:input"}}, r"'unidistill' needs the taps \['high', 'head'\] of the student"),
        ({"teacher": nn.Identity()}, r"expected a source such as LiveTeacher\(module\)"),
        ({"student": "absent.py"}, r"student names absent\.py, which does not exist"),
        ({"student": {"channels": 3}}, "expected a model config, a dict with a 'type'"),
        ({"teacher": {"type": LiveTeacher, "config": "teacher.py"}}, "a config but no checkpoint"),
        ({"grid": {"x_range": (0, 6), "y_range": (0, 6), "cell": 0.5}}, "student model and student's config differ"),
    ],
)
def test_bad_configs_are_refused(detector, change, found):
    parts = {"student": detector(0), "teacher": LiveTeacher(detector(1)), "methods": {"unidistill": UniDistill()}}
    with pytest.raises(ConfigError, match=found):
        Distiller(**{**parts, **change})


def test_teacher_s_missing_tap_is_refused(detector):
    teacher = LiveTeacher(detector(1), taps={"low": "encoder:input"})
    with pytest.raises(ConfigError, match=r"needs the taps \['high', 'head'\] of the teacher"):
        Distiller(detector(0), teacher, {"unidistill": UniDistill()}).init_weights()


def test_other_image_statistics_are_refused(detector):
    def preprocessed(seed, mean):
        model = detector(seed)
        model.data_preprocessor = nn.Module()
        model.data_preprocessor.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        return model

    teacher = LiveTeacher(preprocessed(1, [1.0, 0, 0]))
    with pytest.raises(ConfigError, match=r"image mean is \[0.0, 0.0, 0.0\] for the student, \[1.0"):
        Distiller(preprocessed(0, [0.0, 0, 0]), teacher, {"u": UniDistill()}).init_weights()
    with pytest.raises(ConfigError, match=r"image mean is none for the student, \[1.0"):
        Distiller(detector(0), teacher, {"u": UniDistill()}).init_weights()
    given = preprocessed(2, [1.0, 0, 0]).data_preprocessor
    Distiller(detector(0), teacher, {"u": UniDistill()}, data_preprocessor=given).init_weights()


def test_two_dimensional_models_get_the_data_samples(detector, batch):
    class Direct(nn.Module):
        def forward(self, student, teacher, targets):
            assert targets is batch[1]
            return {"low": (student["low"] - teacher["low"]).square().mean()}

    student, teacher = detector(0), detector(1)
    student.grid = teacher.grid = None
    assert "kd/d/low" in Distiller(student, LiveTeacher(teacher), {"d": Direct()})(*batch, mode="loss")


def test_parts_start_from_the_teacher(detector):
    parts = {"init_from_teacher": {"head.tasks": "head.tasks", "encoder.1": "encoder.1"}}
    model = Distiller(detector(0), LiveTeacher(detector(1)), {"u": UniDistill()}, **parts)
    with torch.no_grad():
        model.teacher.config.encoder[1].running_mean += 1
    model.init_weights()
    theirs = model.teacher.model.state_dict()
    same = {key for key, value in model.student.state_dict().items() if torch.equal(value, theirs[key])}
    assert {key for key in theirs if key.startswith(("head.tasks", "encoder.1"))} <= same
    assert "stem.weight" not in same
    assert model.student.head.tasks[0]["reg"].weight.requires_grad


@pytest.mark.parametrize(
    ("modules", "found"),
    [
        ({"head.task": "head.tasks"}, "names 'head.task', which the student does not have; nearest: head.tasks"),
        ({"head": "heads"}, "names 'heads', which the teacher does not have; nearest: head"),
        ({"encoder.1": "head"}, "'encoder.1' and the teacher's 'head' differ in"),
        ({"encoder.1": "encoder.1", "head.tasks": "head.tasks"}, r"'head\.tasks' differ in 0\.\w+\.weight"),
    ],
)
def test_parts_that_cannot_start_from_the_teacher(detector, modules, found):
    class Wide(type(detector())):
        def __init__(self):
            super().__init__()
            self.head = type(self.head)(9)
            nn.init.constant_(self.encoder[1].weight, 2.0)

    model = Distiller(detector(0), LiveTeacher(Wide()), {"u": UniDistill()}, init_from_teacher=modules)
    with pytest.raises(ConfigError, match=found):
        model.init_weights()
    assert (model.student.encoder[1].weight == 1).all()  # nothing was copied


def test_other_classes_are_refused_where_heads_are_compared(detector):
    def named(seed, classes):
        model = detector(seed)
        model.head.class_names = classes
        return model

    teacher = LiveTeacher(named(1, [("car",), ("bicycle", "bus")]))
    student = named(0, [["car"], ["bus", "bicycle"]])
    with pytest.raises(ConfigError, match=r"classes \[\['car'\], \['bus', 'bicycle'\]\], the teacher's .*same by task"):
        Distiller(student, teacher, {"u": UniDistill()}).init_weights()
    Distiller(student, teacher, {"u": UniDistill(response=0)}).init_weights()  # which does not read the heads

"""What holds for every method, on its own example: each file of bevkd/methods/ is tried."""

import dataclasses
import re
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from tap_model import TapModel

import bevkd.methods
from bevkd.distill import Distiller, LiveTeacher
from bevkd.distill.method import INFO, Method, Paper, tensors_of
from bevkd.errors import ConfigError
from bevkd.methods import METHODS, get_method, list_methods
from bevkd.registry import MODELS
from bevkd.structures.targets import Targets
from tests.two_ranks import run_ranks

ROOT = Path(__file__).resolve().parents[2]
every_method = pytest.mark.parametrize("name", list_methods())


def example(name):
    torch.manual_seed(0)
    return METHODS[name].example()


def losses_of(found):
    return {part: value for part, value in found.items() if not part.startswith(INFO)}


def mapped(feature, change):
    """A tap with every tensor changed."""
    if isinstance(feature, torch.Tensor):
        return change(feature)
    if isinstance(feature, dict):
        return {key: mapped(value, change) for key, value in feature.items()}
    return [mapped(value, change) for value in feature]


def test_the_registry_walks_the_files():
    files = {path.stem for path in Path(bevkd.methods.__file__).parent.glob("[!_]*")}
    assert {method.__module__.split(".")[2] for method in METHODS.values()} == files
    assert list_methods("bev") == ["DistillBEV", "RDD", "UniDistill"]
    assert list_methods("nothing of the kind") == []
    with pytest.raises(ConfigError, match="there is no method 'UniDistil'; nearest: UniDistill"):
        get_method("UniDistil")


@every_method
def test_it_says_what_it_is(name):
    method = METHODS[name]
    assert MODELS.get(name) is method
    assert isinstance(method.paper, Paper)
    assert all(getattr(method.paper, field.name) for field in dataclasses.fields(Paper) if field.name != "arxiv")
    assert re.fullmatch(r"[a-z0-9]+", method.family)
    assert str(method.paper.year) in str(method.paper)
    header = __import__(method.__module__, fromlist=["x"]).__doc__
    assert (method.paper.arxiv or method.paper.title) in header
    assert "Reproduced:" in method.__doc__


@every_method
def test_it_has_a_test_of_its_own_and_a_recipe(name):
    stem = METHODS[name].__module__.split(".")[2]
    assert list((ROOT / "tests").rglob(f"test_{stem}.py"))
    recipes = [path for path in (ROOT / "configs").rglob("*.py") if f'type="{name}"' in path.read_text()]
    assert recipes


@every_method
def test_every_parameter_and_feature_receives_a_gradient_and_the_teacher_none(name):
    method, student, teacher, targets = example(name)
    for tensor in tensors_of(teacher):
        tensor.requires_grad_(tensor.is_floating_point())
    losses = losses_of(method(student, teacher, targets))
    sum(losses.values()).backward()
    for parameter, value in method.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.abs().sum() > 0, parameter
    for tap in method.taps:
        assert any(t.grad is not None and t.grad.abs().sum() > 0 for t in tensors_of(student[tap])), tap
    assert all(t.grad is None for t in tensors_of(teacher))


@every_method
def test_its_parts_are_those_it_declares(name):
    method, student, teacher, targets = example(name)
    losses = losses_of(method(student, teacher, targets))
    assert set(losses) == set(method.parts)
    assert set(method.parts.values()) <= {"task", "distill"}
    assert all(value.shape == () and value.isfinite() for value in losses.values())
    assert set(method.taps) <= set(student)
    assert {*method.taps, *method.teacher_taps} <= set(teacher)


@every_method
def test_it_needs_no_taps_but_those_it_names(name):
    method, student, teacher, targets = example(name)
    given = {tap: student[tap] for tap in method.taps}
    other = {tap: teacher[tap] for tap in {*method.taps, *method.teacher_taps}}
    method.eval()
    expected = method(student, teacher, targets)
    for part, value in method(given, other, targets).items():
        torch.testing.assert_close(value, expected[part])


@every_method
def test_under_autocast_its_losses_stay_in_float32(name):
    method, student, teacher, targets = example(name)
    method.eval()
    with torch.no_grad():
        expected = losses_of(method(student, teacher, targets))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = losses_of(method(student, teacher, targets))
    for part, value in found.items():
        assert value.dtype == torch.float32, part
        assert value.item() == pytest.approx(expected[part].item(), rel=0.05, abs=1e-3), part


@every_method
def test_a_batch_without_boxes_is_finite_and_connected(name):
    method, student, teacher, targets = example(name)
    if not isinstance(targets, Targets):
        pytest.skip("not a method in bird's-eye view")
    nothing = Targets([box[:0] for box in targets.boxes], [label[:0] for label in targets.labels], targets.grid)
    losses = losses_of(method(student, teacher, nothing))
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad is not None for p in method.parameters())  # or data-parallel training would wait for one
    if method.foreground_only:
        assert all(value == 0 for value in losses.values())


@every_method
def test_unusable_boxes_are_refused_where_boxes_are_read(name):
    method, student, teacher, targets = example(name)
    if not method.reads_boxes:
        pytest.skip("reads no boxes")
    broken = [box.clone() for box in targets.boxes]
    broken[1][0, 3] = -1
    with pytest.raises(ValueError, match="box 0 of sample 1 has size"):
        method(student, teacher, Targets(broken, targets.labels, targets.grid))


@every_method
def test_it_trains_inside_the_distiller(name):
    method, student, teacher, targets = example(name)
    grid = getattr(targets, "grid", None)
    model = Distiller(TapModel(student, grid), LiveTeacher(TapModel(teacher, grid)), {"m": method})
    optimizer = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-2))
    data = {"inputs": {}, "data_samples": samples_of(targets)}
    logs = [model.train_step(data, optimizer) for _ in range(12)]
    parts = [f"kd/m/{part}" for part in method.parts]
    assert model.roles() == {f"kd/m/{part}": role for part, role in method.parts.items()}
    assert sum(logs[-1][part] for part in parts) < sum(logs[0][part] for part in parts)


def samples_of(targets):
    """Data samples from which the distiller makes the same targets again."""
    if not isinstance(targets, Targets):
        return targets
    return [
        SimpleNamespace(gt_instances_3d=SimpleNamespace(bboxes_3d=boxes, labels_3d=labels), metainfo={})
        for boxes, labels in zip(targets.boxes, targets.labels)
    ]


def part_of(targets, chosen):
    if isinstance(targets, Targets):
        return Targets(targets.boxes[chosen], targets.labels[chosen], targets.grid)
    return targets[chosen]


def _rank(rank, names):
    found = {}
    for name in names:
        method, student, teacher, targets = example(name)
        chosen = slice(rank, rank + 1)
        own, other = (mapped(taps, itemgetter(chosen)) for taps in (student, teacher))
        losses = losses_of(method.eval()(own, other, part_of(targets, chosen)))
        sum(losses.values()).backward()
        found[name] = {
            **{part: value.detach() for part, value in losses.items()},
            **{f"grad of {key}": p.grad for key, p in method.named_parameters()},
        }
    return found


def test_two_ranks_have_the_losses_and_gradients_of_the_joined_batch(tmp_path):
    """The mean over ranks, as data-parallel training takes it; every example has one sample for each rank."""
    first, second = run_ranks(_rank, tmp_path, list_methods())
    for name in list_methods():
        method, student, teacher, targets = example(name)
        losses = losses_of(method.eval()(student, teacher, targets))
        sum(losses.values()).backward()
        expected = {part: value.detach() for part, value in losses.items()}
        expected |= {f"grad of {key}": p.grad for key, p in method.named_parameters()}
        for key, value in expected.items():
            mean = (first[name][key] + second[name][key]) / 2
            torch.testing.assert_close(mean, value, rtol=1e-4, atol=1e-6, msg=f"{name}: {key}")


def test_other_parts_than_the_declared_ones_are_refused():
    class Wrong(Method):
        taps = ("low",)
        parts = {"a": "distill"}

        def losses(self, student, teacher, targets):
            return {"b": student["low"].sum()}

    with pytest.raises(ConfigError, match=r"Wrong returned the parts \['b'\], expected .*\['a'\]"):
        Wrong()({"low": torch.ones(1)}, {}, None)

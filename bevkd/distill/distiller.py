"""The distiller: a student that trains with extra losses from a teacher's features, and is itself alone otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from bevkd.distill.bev.resampling import resample_taps
from bevkd.distill.conflict import GradientConflict
from bevkd.distill.method import INFO, Role
from bevkd.distill.models import HEADS, build_model, copy_modules, grid_of, head_classes, join_grids
from bevkd.distill.schedule import WeightSchedules, current_iteration
from bevkd.errors import ConfigError
from bevkd.registry import MODELS
from bevkd.structures import BEVGrid
from bevkd.structures.taps import record_taps, resolve_taps
from bevkd.structures.targets import Targets

_LOSS = "kd/"


@MODELS.register_module()
class Distiller(BaseModel):
    """A student, a teacher source and methods, as one mmengine model.

    ``mode='loss'`` gives the student's losses plus ``kd/<method>/<part>``, each of which enters the total once, and
    ``info/<method>/<part>`` for what a method returns as ``info/<part>``, which is logged alone;
    ``mode='predict'`` and ``'tensor'`` are the student alone. With one seed the student starts from the same weights as
    without a teacher, whatever the methods bring of their own, but for ``init_from_teacher``. The state
    dict holds ``student.*`` and the methods' own parameters; the teacher is loaded by :meth:`init_weights` or at the
    first training step, so testing needs none.

    Args:
        student: model config, config file or module; its ``data_preprocessor`` is the distiller's too.
        teacher: config of a teacher source such as :class:`bevkd.distill.teachers.LiveTeacher`, or the object.
        methods: name -> config or module of a :class:`bevkd.distill.method.Method`. It is called with the student's
            taps, the teacher's taps and targets: what the student's own ``targets(data_samples, device)`` returns, such
            as :class:`bevkd.structures.labels.LabelTargets`; without one :class:`bevkd.structures.targets.Targets` of
            the student's grid in bird's-eye view, and the data samples for a student without either. A plain module
            serves too; it declares no taps and no parts, so less can be checked before training.
        taps: name -> module path in the student; None takes its ``default_taps``.
        grid: ``dict(x_range, y_range, cell)`` for a student without a ``grid`` of its own.
        resample: bring the teacher's maps onto the student's grid, see
            :func:`bevkd.distill.bev.resampling.resample_taps`; False refuses grids that differ.
        schedules: ``method`` or ``method/part`` -> ``[(iteration, factor), ...]`` on the weights, see
            :class:`bevkd.distill.schedule.Schedule`. A resumed run goes on where it stopped.
        gradient_conflict: arguments of :class:`bevkd.distill.conflict.GradientConflict`, which says what it costs;
            None reads nothing.
        init_from_teacher: module path in the student -> module path in a live teacher, whose weights
            :meth:`init_weights` copies, see :func:`bevkd.distill.models.copy_modules`.

    Raises:
        ConfigError: no method, an unknown tap, a tap that a method lacks, a schedule or gradient pattern that fits
            nothing, or, once the teacher is loaded, grids, classes or image normalisations that differ.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        methods: Mapping[str, Any],
        taps: Mapping[str, str] | None = None,
        grid: Mapping[str, Any] | BEVGrid | None = None,
        resample: bool = False,
        schedules: Mapping[str, Any] | None = None,
        gradient_conflict: Mapping[str, Any] | None = None,
        init_from_teacher: Mapping[str, str] | None = None,
        data_preprocessor: Any = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        if not methods:
            raise ConfigError("the distiller's methods are empty, expected methods=dict(name=dict(type=...), ...)")
        student = build_model(student, "the distiller's student")
        super().__init__(data_preprocessor or getattr(student, "data_preprocessor", None), init_cfg)
        self.student = student
        self.taps = resolve_taps(student, taps)
        self.grid = grid_of(student, grid, "student")
        with torch.random.fork_rng(devices=[]):  # so that a seed gives the student the weights that it has alone
            self.methods = nn.ModuleDict({name: _build(method) for name, method in methods.items()})
            self.teacher = _build(teacher)
        if isinstance(self.teacher, nn.Module):
            raise ConfigError("the distiller's teacher is a module, expected a source such as LiveTeacher(module)")
        self._require_taps(self.taps, "student")
        self.resample = resample
        self.schedules = WeightSchedules(schedules, dict(self.methods.items()))
        self.conflict = GradientConflict(**gradient_conflict) if gradient_conflict else None
        if self.conflict is not None:
            self.conflict.attach(student)
        self._counted = 0  # training steps, where no runner counts them
        self._init_from_teacher = dict(init_from_teacher or {})
        self._ready = False

    def init_weights(self) -> None:
        """Initialise the student and the methods, load and check the teacher, and copy what starts from it."""
        super().init_weights()
        self.prepare()
        if self._init_from_teacher:
            if getattr(self.teacher, "model", None) is None:
                raise ConfigError("init_from_teacher needs a teacher with a model, expected a LiveTeacher")
            copy_modules(self.student, self.teacher.model, self._init_from_teacher)

    def prepare(self) -> None:
        """Load the teacher and compare it with the student, once.

        Raises:
            ConfigError, CheckpointError: see the class and the teacher source.
        """
        if self._ready:
            return
        self.teacher.load()
        join_grids(self.grid, self.teacher.grid, self.resample)
        self._require_taps(self.teacher.taps, "teacher")
        self._require_whole_maps()
        self._require_same_images()
        self._require_same_classes()
        self._ready = True

    def teacher_info(self) -> dict[str, Any]:
        """Where the teacher came from, see :meth:`bevkd.distill.LiveTeacher.info`."""
        info: dict[str, Any] = self.teacher.info()
        return info

    def forward(
        self, inputs: Any, data_samples: Sequence[Any] | None = None, mode: str = "tensor", **kwargs: Any
    ) -> Any:
        """As the student's, plus the methods' losses in ``mode='loss'``."""
        if mode != "loss":
            return self.student(inputs, data_samples, mode=mode, **kwargs)
        self.prepare()
        device = _device(self.student)
        # The teacher first: its memory is free again before the student keeps activations for backward.
        teacher = self.teacher(inputs, data_samples, device)
        with record_taps(self.student, self.taps) as student:
            losses = dict(self.student(inputs, data_samples, mode=mode, **kwargs))
        targets = self._targets(data_samples, device)
        if self.resample and self.grid is not None and self.grid != self.teacher.grid:
            teacher = resample_taps(teacher, self.teacher.grid, self.grid)
        return {**losses, **self._distill(losses, student, teacher, targets)}

    def _targets(self, data_samples: Sequence[Any] | None, device: torch.device) -> Any:
        """What the methods get to know of the ground truth, see the class."""
        make = getattr(self.student, "targets", None)
        if callable(make):
            return make(data_samples or [], device)
        if self.grid is not None:
            return Targets.from_data_samples(data_samples or [], self.grid, device)
        return data_samples

    def roles(self) -> dict[str, Role]:
        """The role of every loss that the methods add, by its name in the log."""
        return {
            f"{_LOSS}{name}/{part}": role
            for name, method in self.methods.items()
            for part, role in getattr(method, "parts", {}).items()
        }

    def _distill(
        self, own: Mapping[str, Any], student: Mapping[str, Any], teacher: Mapping[str, Any], targets: Any
    ) -> dict[str, Any]:
        """The methods' weighted parts under ``kd/``, and under ``info/`` what is logged alone."""
        iteration = current_iteration(self._counted)
        self._counted += self.training
        losses: dict[str, Any] = {}
        sums: dict[str, Tensor] = {}
        infos: dict[str, Any] = {
            f"{INFO}schedule/{name}": value for name, value in self.schedules.values(iteration).items()
        }
        for name, method in self.methods.items():
            parts = method(student, teacher, targets)
            for part in [part for part in parts if part.startswith(INFO)]:
                infos[f"{INFO}{name}/{part.removeprefix(INFO)}"] = parts.pop(part)
            for part, factor in self.schedules.factors(name, parts, iteration).items():
                parts[part] = factor * parts[part]
            losses.update({f"{_LOSS}{name}/{part}": value for part, value in parts.items()})
            sums[name] = sum(parts.values(), torch.zeros((), device=_device(self.student)))
        if self.conflict is not None and self.conflict.due(iteration):
            read = self.conflict(self.student, super().parse_losses(own)[0], sums)
            infos.update({f"{INFO}{name}": value for name, value in read.items()})
        return {**losses, **infos}

    def parse_losses(self, losses: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """As mmengine's, which sums what has 'loss' in its name, with every ``kd/`` part and no ``info/``."""
        infos = {name: value for name, value in losses.items() if name.startswith(INFO)}
        total, log = super().parse_losses({name: value for name, value in losses.items() if name not in infos})
        total = total + sum(value for name, value in log.items() if name.startswith(_LOSS) and "loss" not in name)
        log.update(infos, loss=total)
        return total, log

    def _require_taps(self, taps: Mapping[str, str], who: str) -> None:
        for name, method in self.methods.items():
            wanted = [*getattr(method, "taps", ()), *(getattr(method, "teacher_taps", ()) if who == "teacher" else ())]
            missing = [tap for tap in wanted if tap not in taps]
            if missing:
                raise ConfigError(f"method {name!r} needs the taps {missing} of the {who}, which has {sorted(taps)}")

    def _require_whole_maps(self) -> None:
        """A teacher that holds the foreground alone serves only methods that read nothing else."""
        if not getattr(self.teacher, "foreground_only", False):
            return
        for name, method in self.methods.items():
            if not getattr(method, "foreground_only", False):
                raise ConfigError(
                    f"method {name!r} ({type(method).__name__}) reads whole maps of the teacher and "
                    f"{type(self.teacher).__name__} has their foreground, expected a CachedDenseTeacher or LiveTeacher"
                )

    def _require_same_images(self) -> None:
        """One preprocessor serves both, so a teacher trained on other image statistics would see wrong colours."""
        other = getattr(getattr(self.teacher, "model", None), "data_preprocessor", None)
        for key in ("mean", "std"):
            student, teacher = getattr(self.data_preprocessor, key, None), getattr(other, key, None)
            if teacher is None or (student is not None and torch.equal(student.cpu(), teacher.cpu())):
                continue
            found = "none" if student is None else student.flatten().tolist()
            raise ConfigError(
                f"image {key} is {found} for the student, {teacher.flatten().tolist()} for the teacher, expected the "
                "same: one preprocessor serves both (a student without images takes the distiller's data_preprocessor)"
            )

    def _require_same_classes(self) -> None:
        """Methods compare heads channel by channel, so their classes must stand in one order."""
        read = {tap for method in self.methods.values() for tap in getattr(method, "taps", ())}
        if not read & set(HEADS):
            return
        names = [head_classes(self.student, self.taps), self.teacher.classes()]
        if None not in names and names[0] != names[1]:
            raise ConfigError(
                f"the student's head has the classes {names[0]}, the teacher's {names[1]}, expected the same by task"
            )


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _build(part: Any) -> Any:
    return MODELS.build(part) if isinstance(part, Mapping) else part

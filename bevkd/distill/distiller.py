"""The distiller: a student that trains with extra losses from a teacher's features, and is itself alone otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor, nn

from bevkd.distill.models import build_model, copy_modules, grid_of, join_grids
from bevkd.errors import ConfigError
from bevkd.structures import BEVGrid
from bevkd.structures.taps import record_taps, resolve_taps
from bevkd.structures.targets import Targets

_LOSS, _INFO = "kd/", "info/"


@MODELS.register_module()
class Distiller(BaseModel):
    """A student, a teacher source and methods, as one mmengine model.

    ``mode='loss'`` gives the student's losses plus ``kd/<method>/<part>``, each of which enters the total once, and
    ``info/<method>/<part>`` for what a method returns as ``info/<part>``, which is logged alone;
    ``mode='predict'`` and ``'tensor'`` are the student alone. The state dict holds ``student.*`` and the methods' own
    parameters; the teacher is loaded by :meth:`init_weights` or at the first training step, so testing needs none.

    Args:
        student: model config, config file or module; its ``data_preprocessor`` is the distiller's too.
        teacher: config of a teacher source such as :class:`bevkd.distill.teachers.LiveTeacher`, or the object.
        methods: name -> config or module of a distillation method. A method is called with the student's taps, the
            teacher's taps and :class:`bevkd.structures.targets.Targets`, or the data samples without a BEV grid. Its
            attribute ``required_taps`` names what it reads of both, ``teacher_taps`` what of the teacher alone.
        taps: name -> module path in the student; None takes its ``default_taps``.
        grid: ``dict(x_range, y_range, cell)`` for a student without a ``grid`` of its own.
        init_from_teacher: module path in the student -> module path in a live teacher, whose weights
            :meth:`init_weights` copies, see :func:`bevkd.distill.models.copy_modules`.

    Raises:
        ConfigError: no method, an unknown tap, a tap that a method lacks, or, once the teacher is loaded, grids or
            image normalisations that differ.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        methods: Mapping[str, Any],
        taps: Mapping[str, str] | None = None,
        grid: Mapping[str, Any] | BEVGrid | None = None,
        init_from_teacher: Mapping[str, str] | None = None,
        data_preprocessor: Any = None,
        init_cfg: dict | None = None,
    ) -> None:
        if not methods:
            raise ConfigError("the distiller's methods are empty, expected methods=dict(name=dict(type=...), ...)")
        student = build_model(student, "the distiller's student")
        super().__init__(data_preprocessor or getattr(student, "data_preprocessor", None), init_cfg)
        self.student = student
        self.taps = resolve_taps(student, taps)
        self.grid = grid_of(student, grid, "student")
        self.methods = nn.ModuleDict({name: _build(method) for name, method in methods.items()})
        self.teacher = _build(teacher)
        if isinstance(self.teacher, nn.Module):
            raise ConfigError("the distiller's teacher is a module, expected a source such as LiveTeacher(module)")
        self._require_taps(self.taps, "student")
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
        join_grids(self.grid, self.teacher.grid)
        self._require_taps(self.teacher.taps, "teacher")
        self._require_same_images()
        self._ready = True

    def teacher_info(self) -> dict[str, str | None]:
        """Where the teacher came from: its ``config``, ``checkpoint`` and ``sha256``."""
        return self.teacher.info()

    def forward(
        self, inputs: Any, data_samples: Sequence[Any] | None = None, mode: str = "tensor", **kwargs: Any
    ) -> Any:
        """As the student's, plus the methods' losses in ``mode='loss'``."""
        if mode != "loss":
            return self.student(inputs, data_samples, mode=mode, **kwargs)
        self.prepare()
        device = next(self.student.parameters()).device
        # The teacher first: its memory is free again before the student keeps activations for backward.
        theirs = self.teacher(inputs, data_samples, device)
        with record_taps(self.student, self.taps) as mine:
            losses = dict(self.student(inputs, data_samples, mode=mode, **kwargs))
        targets = data_samples
        if self.grid is not None:
            targets = Targets.from_data_samples(data_samples or [], self.grid, device)
        for name, method in self.methods.items():
            for part, value in method(mine, theirs, targets).items():
                prefix = _INFO if part.startswith(_INFO) else _LOSS
                losses[f"{prefix}{name}/{part.removeprefix(_INFO)}"] = value
        return losses

    def parse_losses(self, losses: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """As mmengine's, which sums what has 'loss' in its name, with every ``kd/`` part and no ``info/``."""
        infos = {name: value for name, value in losses.items() if name.startswith(_INFO)}
        total, log = super().parse_losses({name: value for name, value in losses.items() if name not in infos})
        total = total + sum(value for name, value in log.items() if name.startswith(_LOSS) and "loss" not in name)
        log.update(infos, loss=total)
        return total, log

    def _require_taps(self, taps: Mapping[str, str], who: str) -> None:
        for name, method in self.methods.items():
            wanted = [*getattr(method, "required_taps", ()), *getattr(method, f"{who}_taps", ())]
            missing = [tap for tap in wanted if tap not in taps]
            if missing:
                raise ConfigError(f"method {name!r} needs the taps {missing} of the {who}, which has {sorted(taps)}")

    def _require_same_images(self) -> None:
        """One preprocessor serves both, so a teacher trained on other image statistics would see wrong colours."""
        other = getattr(getattr(self.teacher, "model", None), "data_preprocessor", None)
        for key in ("mean", "std"):
            mine, theirs = getattr(self.data_preprocessor, key, None), getattr(other, key, None)
            if mine is not None and theirs is not None and not torch.equal(mine.cpu(), theirs.cpu()):
                found = f"{mine.flatten().tolist()} for the student, {theirs.flatten().tolist()} for the teacher"
                raise ConfigError(f"image {key} is {found}, expected the same: one preprocessor serves both")


def _build(part: Any) -> Any:
    return MODELS.build(part) if isinstance(part, Mapping) else part

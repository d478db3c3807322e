"""That a comparison is fair: a student has the same model, samples and schedule with a teacher and without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bevkd.engine.compare.grid import Grid
from bevkd.engine.config import load_config
from bevkd.errors import ConfigError
from bevkd.registry import SCOPE
from bevkd.structures.config_types import type_name

# Of a resolved recipe: what a student with a teacher must have in common with the one without.
_SCHEDULE = ("train_cfg", "optim_wrapper", "param_scheduler", "auto_scale_lr", "randomness")
_LOADER = ("batch_size", "sampler", "batch_sampler", "drop_last", "num_batch_per_epoch")
_PER_SENSOR = ("pipeline", "modality", "previous")  # a teacher needs its own sensors


def require_fair(grid: Grid, out: str | Path) -> None:
    """Every arm must train the same student by the same schedule on the same samples as its control.

    Raises:
        ConfigError: naming the arm and what differs; also for recipes and options that do not exist, and for an
            arm whose recipe names another teacher.
    """
    for name, arm in grid.arms.items():
        mine, control = (
            job.resolve()
            for job in (grid.arm_job(name, grid.seeds[0], out), grid.student_job(arm.student, grid.seeds[0], out))
        )
        for what, (found, expected) in _compared(mine, control).items():
            if found != expected:
                where = _difference(found, expected, what)
                raise ConfigError(f"arm {name!r} and its student {arm.student!r} differ in {where}")
        named = ((mine.get("model") or {}).get("teacher") or {}).get("config")
        if isinstance(named, str) and named != grid.teachers[arm.teacher].config:
            raise ConfigError(
                f"arm {name!r} has model.teacher.config {named!r}, expected "
                f"{grid.teachers[arm.teacher].config!r} as its teacher {arm.teacher!r} is trained"
            )


def _compared(mine: Config, control: Config) -> dict[str, tuple[Any, Any]]:
    """What must be equal: name -> (of the arm, of the control)."""
    pairs = {key: (mine.get(key), control.get(key)) for key in _SCHEDULE}
    loaders = [cfg.get("train_dataloader") or {} for cfg in (mine, control)]
    pairs |= {f"train_dataloader.{key}": tuple(loader.get(key) for loader in loaders) for key in _LOADER}
    own = () if control.get("default_scope") == SCOPE else _PER_SENSOR  # its tasks have one sensor
    pairs["train_dataloader.dataset"] = tuple(_without(loader.get("dataset") or {}, own) for loader in loaders)
    pairs["BEVAugment"] = tuple(_augments(loader.get("dataset") or {}) for loader in loaders)
    model = mine.get("model") or {}
    if "student" in model:
        student = model["student"]
        student = load_config(student).model if isinstance(student, str) else student
        pairs["model"] = (_plain(student), _plain(control.get("model")))
    return {key: (_plain(found), _plain(expected)) for key, (found, expected) in pairs.items()}


def _without(node: Any, keys: Sequence[str]) -> Any:
    if isinstance(node, Mapping):
        return {key: _without(value, keys) for key, value in node.items() if key not in keys}
    return node


def _augments(node: Mapping) -> list:
    steps = list(node.get("pipeline") or [])
    inner = node.get("dataset")
    return [step for step in steps if type_name(step.get("type")) == "BEVAugment"] + (_augments(inner) if inner else [])


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, list | tuple) else node


def _difference(found: Any, expected: Any, where: str) -> str:
    """The first place in which two configs differ, in words."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in [*expected, *(key for key in found if key not in expected)]:
            if found.get(key) != expected.get(key):
                return _difference(found.get(key), expected.get(key), f"{where}.{key}")
    return f"{where}: {found!r}, expected {expected!r} as in the student's recipe"

"""Parts of a model by their module paths: found with the nearest right names, and filled from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from bevkd.errors import CheckpointError, ConfigError, nearest
from bevkd.structures.checkpoint import fill_model, load_state_dict, under

_STUDENT = "student."
_KEYS = ("checkpoint", "parts")


def submodule(model: nn.Module, path: str, field: str, who: str = "the model") -> nn.Module:
    """The module at a dotted path.

    Raises:
        ConfigError: there is none; ``field`` and ``who`` are for its sentence.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if not path or path not in modules:
        known = nearest(str(path), sorted(filter(None, modules)))
        raise ConfigError(f"{field} names {path!r}, which {who} does not have{known}")
    return modules[path]


def find_parts(model: nn.Module, parts: Any, field: str) -> dict[str, nn.Module]:
    """Modules by their paths in ``model``; those of a distiller's student may be named as in the student alone.

    Args:
        parts: paths such as ``("lidar_encoder", "bev_encoder.backbone")``.
        field: of the config, for error sentences.

    Raises:
        ConfigError: no paths, one that names no module, or one that lies in another.
    """
    if isinstance(parts, str) or not isinstance(parts, Sequence | Mapping) or not len(parts):
        raise ConfigError(f"{field} is {parts!r}, expected paths of modules such as ('lidar_encoder', 'head')")
    modules = dict(model.named_modules())
    found: dict[str, nn.Module] = {}
    for part in parts:
        path = f"{_STUDENT}{part}" if part not in modules and f"{_STUDENT}{part}" in modules else part
        outer = next((other for other in found if f"{path}.".startswith(f"{other}.")), None)
        inner = next((other for other in found if f"{other}.".startswith(f"{path}.")), None)
        if outer or inner:
            raise ConfigError(f"{field} has {part!r} and {outer or inner!r}, which overlap, expected one of them")
        found[path] = submodule(model, path, field)
    return found


def start_from(model: nn.Module, given: Any) -> None:
    """What ``load_from`` means: a path fills the whole model, anything else see :func:`load_parts`.

    Raises:
        ConfigError, CheckpointError: see :func:`load_parts` and :func:`bevkd.structures.checkpoint.fill_model`.
    """
    if not isinstance(given, str | Path):
        load_parts(model, given)
        return
    state = load_state_dict(given)
    try:
        fill_model(model, state, given)
    except CheckpointError as error:
        parts = fitting_parts(model, state)
        fit = f" and would fit at {tuple(parts)}" if parts else ""
        raise CheckpointError(f"{error}; load_from=dict(checkpoint=..., parts=(...)) takes parts alone{fit}") from error


def load_parts(model: nn.Module, given: Any, field: str = "load_from") -> None:
    """Start parts of a model from checkpoints; every key and shape within a part must fit, or nothing of it is loaded.

    Args:
        model: a detector, or a distiller around one.
        given: ``dict(checkpoint=..., parts=("lidar_encoder", "head"))``, or a list of such dicts. ``parts`` may also be
            a dict from the path in the model to that in the checkpoint. Parts of a distiller's student are found with
            and without ``student.``, in the model as in the checkpoint.
        field: of the config, for error sentences.

    Raises:
        ConfigError: another form, or a part that the model does not have or that is given twice.
        CheckpointError: a file that is unreadable, or has nothing or something else at a part.
    """
    entries = list(given) if isinstance(given, list | tuple) else [given]
    seen: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, Mapping) or set(entry) != set(_KEYS):
            raise ConfigError(f"{field} is {entry!r}, expected dict(checkpoint='path', parts=('lidar_encoder', ...))")
        parts = entry["parts"]
        found = find_parts(model, parts, f"{field}.parts")
        for path in found:
            if path in seen:
                raise ConfigError(f"{field} takes {path!r} from {seen[path]} and {entry['checkpoint']}, expected one")
            seen[path] = entry["checkpoint"]
        state = load_state_dict(entry["checkpoint"])
        homes = parts.values() if isinstance(parts, Mapping) else parts
        for part, home in zip(found.values(), homes):
            fill_model(part, _at(state, home, entry["checkpoint"]), f"{entry['checkpoint']} at {home!r}")


def fitting_parts(model: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """The parts right below a model, or below a distiller's student, whose keys and shapes a checkpoint has."""
    student = getattr(model, "student", None)
    root = student if isinstance(student, nn.Module) else model
    fitting = []
    for name, part in root.named_children():
        own = part.state_dict()
        found = _under(state, name)
        if own and own.keys() == found.keys() and all(own[k].shape == getattr(found[k], "shape", None) for k in own):
            fitting.append(name)
    return fitting


def _under(state: Mapping[str, Any], home: str) -> dict[str, Any]:
    """What a checkpoint holds at a path, with or without ``student.`` before it."""
    if f"{home}." == _STUDENT:
        return under(state, _STUDENT) or dict(state)
    bare = home.removeprefix(_STUDENT)
    return next((found for path in (home, f"{_STUDENT}{bare}", bare) if (found := under(state, f"{path}."))), {})


def _at(state: Mapping[str, Any], home: str, path: str | Path) -> dict[str, Any]:
    found = _under(state, home)
    if not found:
        tops = {".".join(key.split(".")[:depth]) for key in state for depth in (1, 2) if key.count(".") >= depth}
        raise CheckpointError(f"checkpoint {path} has no key under {home + '.'!r}{nearest(home, sorted(tops))}")
    return found

"""Models for the distiller, from modules, config dicts or config files, and the grids that they work on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from bevkd.distill.bev.resampling import require_cover
from bevkd.errors import ConfigError
from bevkd.registry import MODELS, SCOPE
from bevkd.structures import BEVGrid, config_types
from bevkd.structures.config_types import type_name
from bevkd.structures.parts import submodule

HEADS = ("head", "logits")  # taps on what has one channel for each class


def read_model_config(source: Any, field: str) -> Any:
    """A model's config out of what a user may write: a module (returned as it is), a config dict, or a config file.

    Args:
        source: the module, ``dict(type=...)``, a path, or ``mmdet3d::...`` for a config that a package ships.
        field: name of the config field, for the error sentence.

    Raises:
        ConfigError: a file that is missing or has no ``model``, or a dict without ``type``.
    """
    if isinstance(source, nn.Module):
        return source
    if isinstance(source, str | Path):
        field, source = f"'model' of {source}", read_config(source, field).get("model")
    if not isinstance(source, Mapping) or "type" not in source:
        raise ConfigError(f"{field} is {source!r}, expected a model config, a dict with a 'type'")
    return source


def read_config(path: str | Path, field: str) -> Config:
    """A whole config file, or ``mmdet3d::...`` for one that a package ships.

    Raises:
        ConfigError: there is none; ``field`` names the config's field for its sentence.
    """
    path = str(path)
    if "::" not in path and not Path(path).is_file():
        raise ConfigError(f"{field} names {path}, which does not exist, expected a config file")
    return config_types.read_config(path)


def student_of(config: Any, field: str) -> Mapping[str, Any] | None:
    """The student's config, when ``config`` is that of a distiller; None for any other model.

    The distiller's own ``data_preprocessor``, which prepares what its student predicts from, goes with the student.

    Args:
        config: a model's config or module.
        field: name of the config field, for the error sentence.

    Raises:
        ConfigError: a distiller whose student is no model config.
    """
    if isinstance(config, nn.Module) or not type_name(config["type"]).endswith("Distiller"):
        return None
    student: Mapping[str, Any] = read_model_config(config.get("student"), f"the student of {field}")
    if config.get("data_preprocessor"):
        return {**student, "data_preprocessor": config["data_preprocessor"]}
    return student


def build_model(source: Any, field: str) -> nn.Module:
    """The module of :func:`read_model_config`, built when it is a config; sparse convolutions run on any device."""
    model: Any = read_model_config(source, field)
    if not isinstance(model, nn.Module):
        kind = model["type"]
        MODELS.import_from_location()
        # mmdet3d's models, and detectors made of its parts, expect to find them in its scope.
        known = kind in MODELS.module_dict if isinstance(kind, str) else kind in MODELS.module_dict.values()
        with DefaultScope.overwrite_default_scope(SCOPE if known else "mmdet3d"):
            model = MODELS.build(model)
    if "spconv" in sys.modules:  # else it has no sparse convolution, and the import below would take seconds
        from bevkd.detectors.sparse import run_anywhere

        run_anywhere(model)
    built: nn.Module = model
    return built


def known_taps(model: nn.Module) -> Mapping[str, str] | None:
    """The model's own ``default_taps``, or those of a detector of mmdet3d with one BEV backbone and one head.

    CenterPoint and PointPillars for nuScenes have ``pts_`` before the names, SECOND and PointPillars for KITTI not.
    Of an FPN the finest level is taken. None for any other model.
    """
    own = getattr(model, "default_taps", None)
    prefix = "pts_" if hasattr(model, "pts_bbox_head") else ""
    backbone, neck, head = (f"{prefix}{part}" for part in ("backbone", "neck", "bbox_head"))
    if own or not all(isinstance(getattr(model, part, None), nn.Module) for part in (backbone, neck, head)):
        return own
    high = f"{neck}.fpn_convs.0" if hasattr(getattr(model, neck), "fpn_convs") else neck
    return {"low": f"{backbone}:input", "high": high, "head": head}


def grid_of(model: nn.Module, config: Any, who: str) -> BEVGrid | None:
    """The model's own ``grid``, else the one configured for it, else None (a model that is not in bird's-eye view).

    Raises:
        ConfigError: a wrong key in the config, or a config that contradicts the model.
    """
    own = getattr(model, "grid", None)
    own = own if isinstance(own, BEVGrid) else None
    if config is None:
        return own
    if isinstance(config, Mapping):
        if set(config) != {"x_range", "y_range", "cell"}:
            raise ConfigError(f"the {who}'s grid has the keys {sorted(config)}, expected x_range, y_range and cell")
        config = BEVGrid(**config)
    given: BEVGrid = config
    if own is not None:
        own.require_same(given, mine=f"{who} model", theirs=f"{who}'s config")
    return given


def head_classes(model: nn.Module, taps: Mapping[str, str]) -> list[list[str]] | None:
    """The classes by task of the module that the tap ``head`` or ``logits`` names; None where it does not tell."""
    path = next((taps[tap] for tap in HEADS if tap in taps), None)
    names = getattr(dict(model.named_modules()).get(path), "class_names", None)
    return names and [list(task) if isinstance(task, list | tuple) else [task] for task in names]


def join_grids(student: BEVGrid | None, teacher: BEVGrid | None, resample: bool = False) -> None:
    """Compare the grids of both models, of which neither may have one.

    Args:
        resample: the teacher's maps will be brought onto the student's grid, which the teacher's must then cover.

    Raises:
        ConfigError: only one has a grid, or they differ and may not.
    """
    if student is None and teacher is None:
        return
    if student is None or teacher is None:
        who = "student" if student is None else "teacher"
        raise ConfigError(f"the {who} has no BEV grid, expected grid=dict(x_range, y_range, cell) in its config")
    if resample:
        require_cover(student, teacher)
    else:
        student.require_same(teacher)


@torch.no_grad()
def copy_modules(student: nn.Module, teacher: nn.Module, modules: Mapping[str, str]) -> None:
    """Start parts of the student from the teacher's weights and statistics.

    Args:
        modules: dotted module path in the student -> path in the teacher, e.g. ``{"head.task_heads":
            "pts_bbox_head.task_heads"}``. Keys and shapes must agree.

    Raises:
        ConfigError: a path that names no module, or parts that differ; nothing is copied then.
    """
    pairs = []
    for mine, theirs in modules.items():
        ours = submodule(student, mine, "init_from_teacher", "the student")
        given = submodule(teacher, theirs, "init_from_teacher", "the teacher").state_dict()
        wanted = ours.state_dict()
        wrong = sorted(wanted.keys() ^ given.keys()) or [k for k in wanted if wanted[k].shape != given[k].shape]
        if wrong:
            raise ConfigError(
                f"init_from_teacher: the student's {mine!r} and the teacher's {theirs!r} differ in "
                f"{', '.join(wrong[:3])}, expected equal names and shapes"
            )
        pairs.append((ours, given))
    for ours, given in pairs:
        ours.load_state_dict(given)

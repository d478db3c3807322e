"""What a run must share with the checkpoint that it goes on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size

from bevkd.engine.config import changed_lines
from bevkd.errors import CheckpointError, ConfigError
from bevkd.structures.settings import first_difference


def require_same_run(
    path: str | Path,
    found: Mapping[str, Any],
    cfg: Config,
    teacher: Mapping[str, Any] | None,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Refuse a checkpoint that this run cannot go on from, and say what else the config changes.

    Args:
        found: what the checkpoint holds. teacher: of this run. warn: is given the changes, if any.

    Returns:
        The checkpoint's ``meta``.

    Raises:
        CheckpointError: weights alone. ConfigError: another number of processes, or another teacher.
    """
    meta = found.get("meta", {})
    if "iter" not in meta or "optimizer" not in found:
        raise CheckpointError(f"checkpoint {path} holds weights only, expected a training state; use load_from for it")
    if changes := config_changes(path, meta, cfg):
        warn(changes)
    require_same_processes(path, meta)
    require_same_teacher(path, meta, teacher)
    return meta


def config_changes(path: str | Path, meta: Mapping[str, Any], cfg: Config) -> str:
    """A sentence on what ``cfg`` changes against the config that the checkpoint was written with; empty for nothing."""
    changes = changed_lines(str(meta.get("cfg", "")), cfg.pretty_text)
    if not changes:
        return ""
    return (
        f"the config differs from that of checkpoint {path}; the learning-rate schedule goes on as it began, "
        "whatever the config says now:\n  " + "\n  ".join(changes)
    )


def require_same_processes(path: str | Path, meta: Mapping[str, Any]) -> None:
    """Refuse another number of processes.

    Raises:
        ConfigError: naming both numbers.
    """
    before = meta.get("world_size", get_world_size())
    if before != get_world_size():
        raise ConfigError(
            f"checkpoint {path} was written by {before} processes and this run has {get_world_size()}: batches and "
            f"learning rate would differ; resume with {before}, or start a new run with load_from"
        )


def require_same_teacher(path: str | Path, meta: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> None:
    """Refuse another teacher than the checkpoint's; None stands for a model without one.

    Raises:
        ConfigError: naming both files.
    """
    then, now = meta.get("teacher") or {}, teacher or {}
    if then.get("sha256") != now.get("sha256"):
        raise ConfigError(
            f"the teacher of checkpoint {path} was {_describe(then)} and that of this run is {_describe(now)}; "
            "expected the same file"
        )
    before, after = then.get("settings"), now.get("settings")
    if before and after and (found := first_difference(before, after)):
        setting, old, new = found
        raise ConfigError(
            f"the teacher of checkpoint {path} had model.{setting} {old} and that of this run has {new} "
            f"({now.get('config')}), expected the same settings"
        )


def _describe(teacher: Mapping[str, Any]) -> str:
    return f"{teacher.get('checkpoint')} (sha256 {str(teacher.get('sha256'))[:12]})" if teacher else "none"

"""Where a run will write beside its work folder, tried before its first step."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bevkd.errors import FULL, ConfigError

_LEAST_ROOM = 1 << 16  # bytes: the log and the configs of a run that does nothing else
_FOLDERS = ("output_dir", "jsonfile_prefix", "submission_prefix", "result_prefix")  # of mmdet3d's metrics and ours
_FILES = ("pklfile_prefix", "out_file_path", "outfile_prefix")


def require_writable(folder: str | Path, field: str = "work_dir") -> None:
    """Refuse a folder that cannot be written now, not after the first epoch.

    Raises:
        ConfigError: naming ``field``, the folder and the reason.
    """
    folder = Path(folder)
    probe = folder / f".write_test.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(_LEAST_ROOM))
    except OSError as error:
        room = f" with room for {_LEAST_ROOM} bytes" if error.errno in FULL else ""
        raise ConfigError(
            f"{field} {folder} cannot be written: {error.strerror}; expected a writable folder{room}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def require_outputs(cfg: Config, evaluator: str, training: bool = False) -> None:
    """Write and remove an empty file in every folder that a run will write to.

    Args:
        evaluator: the key of the config whose metrics will run, ``"val_evaluator"`` or ``"test_evaluator"``.
        training: the run will save checkpoints too.

    Raises:
        ConfigError: see :func:`require_writable`.
    """
    for field, folder in [
        *_metric_folders(cfg.get(evaluator), evaluator),
        *(checkpoint_folders(cfg) if training else ()),
    ]:
        require_writable(folder, field)


def visualizer_folders(cfg: Config) -> Iterator[tuple[str, Path]]:
    """Fields and folders of the visualizer and its backends where the config names them."""
    visualizer = cfg.get("visualizer")
    if isinstance(visualizer, Mapping):
        places = [("visualizer", visualizer)]
        places += [
            (f"visualizer.vis_backends.{i}", part) for i, part in enumerate(visualizer.get("vis_backends") or [])
        ]
        yield from ((f"{name}.save_dir", Path(part["save_dir"])) for name, part in places if part.get("save_dir"))


def checkpoint_folders(cfg: Config) -> Iterator[tuple[str, Path]]:
    """Fields and folders of checkpoint hooks that save outside the work folder: mmengine appends the run's own name."""
    hooks = dict(cfg.get("default_hooks") or {})
    named = [(f"default_hooks.{name}", hook) for name, hook in hooks.items()]
    named += [(f"custom_hooks.{i}", hook) for i, hook in enumerate(cfg.get("custom_hooks") or [])]
    for name, hook in named:
        saves = isinstance(hook, Mapping) and "CheckpointHook" in str(hook.get("type"))
        if saves and hook.get("out_dir") and Path(hook["out_dir"]) != Path(cfg.work_dir):
            yield f"{name}.out_dir", Path(hook["out_dir"], Path(cfg.work_dir).name)


def _metric_folders(node: Any, field: str) -> Iterator[tuple[str, Path]]:
    if isinstance(node, list | tuple):
        for index, part in enumerate(node):
            yield from _metric_folders(part, f"{field}.{index}")
    elif isinstance(node, Mapping):
        yield from _metric_folders(node.get("metrics"), f"{field}.metrics")
        for key in (*_FOLDERS, *_FILES):
            if node.get(key):
                yield f"{field}.{key}", Path(node[key]) if key in _FOLDERS else Path(node[key]).parent

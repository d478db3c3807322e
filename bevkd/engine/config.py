"""Configs: found by path or package, options merged, and every misspelt key refused instead of ignored."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.config.utils import ConfigParsingError
from mmengine.runner import Runner

from bevkd.engine.data_root import use_data_root
from bevkd.errors import ConfigError, nearest
from bevkd.structures.config_types import read_config

RUNNER_KEYS = tuple(name for name in inspect.signature(Runner.__init__).parameters if name not in ("self", "cfg"))
# Keys that mmengine reads from the config itself, beside the arguments of Runner.
_READ_KEYS = (
    *("custom_imports", "compile", "activation_checkpointing", "efficient_conv_bn_eval"),
    *("model_wrapper_cfg", "find_unused_parameters", "sync_bn", "fsdp"),
)
# What broken Python in a config raises, and a base of the other style (ConfigParsingError).
_UNREADABLE = (
    *(SyntaxError, NameError, ImportError, AttributeError, KeyError, TypeError, OSError, ValueError),
    ConfigParsingError,
)
_VARIABLES = ("eval_dataloader",)  # nothing reads it, but configs of mmdet3d have it
_PER_RUN = ("work_dir", "resume", "load_from", "experiment_name", "launcher", "name")
# At this likeness an unknown top-level key is a typing error, not a variable of the config's author: over all
# configs that mmdet3d ships no other variable comes nearer than 0.72 to a Runner argument; 'modle' has 0.80.
_TYPO_LIKENESS = 0.8


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config and merge the options of a command line.

    Args:
        path: a file, or ``mmdet3d::centerpoint/...`` for a config that an installed package ships
            (the ending ``.py`` may be left out there).
        options: dotted keys and values as ``--cfg-options`` gives them. A key must exist already;
            ``+key`` adds a new one. ``data_root`` also reaches every nested path below the old root.

    Raises:
        ConfigError: no such file or package config, broken Python in it, or a key that resembles a known one.
    """
    cfg = _read(str(path))
    check_top_level(cfg)
    merge_options(cfg, options or {})
    return cfg


def _read(path: str) -> Config:
    file = _package_file(path) if "::" in path else Path(path)
    if not file.is_file():
        raise ConfigError(f"config {path} does not exist{_nearest_config(file)}")
    try:
        return read_config(file)
    except ConfigError:
        raise
    except _UNREADABLE as error:
        raise ConfigError(f"config {path} cannot be read: {type(error).__name__}: {error}") from error


def _package_file(spec: str) -> Path:
    package, _, name = spec.partition("::")
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise ConfigError(f"config {spec} names package {package!r}, which is not installed")
    file = Path(found.submodule_search_locations[0], ".mim", "configs", name)
    return file if file.suffix == ".py" else file.with_name(file.name + ".py")


def _nearest_config(missing: Path) -> str:
    """Names near a missing config, from the closest folder above it that exists."""
    folder = next((p for p in missing.parents if p.is_dir()), None)
    if folder is None or folder == Path(folder.anchor):
        return "; expected a .py file or a package config such as mmdet3d::centerpoint/NAME"
    names = [p.name for p in folder.glob("*.py")] or [str(p.relative_to(folder)) for p in folder.glob("*/*.py")]
    if not names and Path("configs").is_dir():
        names = [str(p) for p in Path("configs").rglob("*.py") if "_base_" not in p.parts]
    return nearest(missing.name, sorted(names)[:400] if len(names) > 12 else names)


def check_top_level(cfg: Config) -> None:
    """Refuse a top-level key that is no argument of Runner but looks like one.

    mmengine treats every other top-level name as a variable of the config's author and says nothing, so that
    ``train_cgf`` would leave a run without its training settings.
    """
    known = (*RUNNER_KEYS, *_READ_KEYS)
    for key in cfg:
        if key in known or key in _VARIABLES:
            continue
        close = difflib.get_close_matches(key, known, n=1, cutoff=_TYPO_LIKENESS)
        if close:
            raise ConfigError(
                f"config {_name(cfg)} has the key {key!r}, which nothing reads; did you mean {close[0]!r}?"
            )


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Merge dotted ``--cfg-options`` into ``cfg``, refusing keys that it does not have."""
    merged = {}
    for key, value in options.items():
        if key == "data_root" and "data_root" in cfg:
            use_data_root(cfg, value)
        elif key.startswith("+"):
            merged[key[1:]] = value
        else:
            _require_key(cfg, key)
            merged[key] = value
    if merged:
        cfg.merge_from_dict(merged, allow_list_keys=True)


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words of a command line, values read as mmengine's DictAction reads them.

    Raises:
        ConfigError: a word without ``=``.
    """
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"--cfg-options {pair} has no '=', expected KEY=VALUE")
    parser = argparse.ArgumentParser()
    parser.add_argument("--options", nargs="*", action=DictAction)
    return parser.parse_args(["--options", *pairs]).options or {} if pairs else {}


def apply_flags(
    cfg: Config,
    *,
    work_dir: str | None = None,
    data_root: str | None = None,
    launcher: str | None = None,
    seed: int | None = None,
    amp: bool = False,
    resume: str | None = None,
) -> None:
    """Write the flags that every tool shares into ``cfg``; None leaves the config's own value.

    Args:
        resume: a checkpoint, or ``"auto"`` for the latest of the work folder. Where that holds none yet, the run starts
            from ``load_from`` as it would without the flag.
    """
    if data_root is not None:
        use_data_root(cfg, data_root)
    if work_dir is not None:
        cfg.work_dir = work_dir
    if launcher is not None:
        cfg.launcher = launcher
    if seed is not None:
        cfg.randomness = dict(cfg.get("randomness") or {}, seed=seed)
    if amp:
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    if resume is not None:
        cfg.resume = "auto" if resume == "auto" else True
        cfg.load_from = cfg.get("load_from") if resume == "auto" else resume


def changed_lines(before: str, after: str, shown: int = 30) -> list[str]:
    """Lines in which two config texts differ, with ``-`` and ``+``; where a run lies and how it starts is left out."""
    differing = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    lines = [d for d in differing if not d.startswith(("---", "+++", "@@"))]
    lines = [d for d in lines if d[1:].split("=")[0].strip() not in _PER_RUN]
    return lines if len(lines) <= shown else [*lines[:shown], f"... and {len(lines) - shown} more lines"]


def _require_key(cfg: Config, key: str) -> None:
    node: Any = cfg
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, list | tuple):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(f"--cfg-options {key}: {part!r} is no index into a list of {len(node)} items")
            node = node[int(part)]
        elif isinstance(node, Mapping | Config):
            if part not in node:
                if depth == 0 and part in RUNNER_KEYS:
                    return
                choices = [str(k) for k in node] + (list(RUNNER_KEYS) if depth == 0 else [])
                where = ".".join(parts[:depth]) or "the config"
                raise ConfigError(
                    f"--cfg-options {key}: {where} has no key {part!r}{nearest(part, choices)} "
                    f"(+{key}=... adds a new one)"
                )
            node = node[part]
        elif node is not None:
            raise ConfigError(f"--cfg-options {key}: {'.'.join(parts[:depth])} is {node!r}, expected a dict or a list")


def _name(cfg: Config) -> str:
    return str(cfg.filename or "(built in code)")

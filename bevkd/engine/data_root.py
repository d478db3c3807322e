"""Point a resolved config at another data folder.

By the time a config is read, ``data_root`` has been copied into data sets, database samplers and annotation paths,
so changing the top-level variable alone changes nothing. This module rewrites every copy.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from bevkd.errors import DataError
from bevkd.structures.config_types import type_name

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_EVALUATORS = ("val_evaluator", "test_evaluator")


def use_data_root(cfg: Config, root: str | Path) -> None:
    """Rewrite every path of ``cfg`` below its old ``data_root`` to lie below ``root``, in place.

    ``ObjectSample`` is taken out of the pipelines, with a logged sentence, when its database file is absent there,
    and the data sets' version becomes that of the folder (``v1.0-mini`` where only that is present).

    Raises:
        DataError: ``root`` is no folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"data root {root} is not a folder; expected one with the info files and the sensors' files")
    old = cfg.get("data_root") or _first_root(cfg)
    if old:
        for key in cfg:
            cfg[key] = _rewrite(cfg[key], old.rstrip("/") + "/", str(root) + "/")
    cfg.data_root = str(root) + "/"
    version = _version(root)
    if version is None and "NuScenes" in str(cfg.get("test_evaluator") or cfg.get("val_evaluator")):
        print_log(f"{root} has no v1.0-* tables: training works, evaluation will not", "current", logging.WARNING)
    for key in _LOADERS:
        if cfg.get(key):
            dataset = cfg[key].get("dataset")
            _set_version(dataset, version)
            _drop_absent_samples(dataset)
    for key in _EVALUATORS:
        if isinstance(cfg.get(key), Mapping) and "data_root" in cfg[key]:
            cfg[key]["data_root"] = str(root) + "/"


def _first_root(cfg: Config) -> str | None:
    for key in _LOADERS:
        node = cfg.get(key, {}) or {}
        while isinstance(node := node.get("dataset"), Mapping):
            if node.get("data_root"):
                return node["data_root"]
    return None


def _rewrite(node: Any, old: str, new: str) -> Any:
    if isinstance(node, str):
        return new + node[len(old) :] if node.startswith(old) else (new if node + "/" == old else node)
    if isinstance(node, Mapping):
        for key, value in node.items():
            node[key] = _rewrite(value, old, new)
    elif isinstance(node, list):
        node[:] = [_rewrite(value, old, new) for value in node]
    elif isinstance(node, tuple):
        return tuple(_rewrite(value, old, new) for value in node)
    return node


def _version(root: Path) -> str | None:
    found = sorted(p.name for p in root.glob("v1.0-*") if p.is_dir())
    return next((v for v in ("v1.0-trainval", *found) if v in found), None)


def _set_version(dataset: Any, version: str | None) -> None:
    while isinstance(dataset, Mapping):
        if version and "NuScenes" in str(dataset.get("type")):
            dataset.setdefault("metainfo", {})["version"] = version
        dataset = dataset.get("dataset")


def _drop_absent_samples(node: Any) -> None:
    """Take ObjectSample steps whose database file is missing out of every list below ``node``."""
    if isinstance(node, Mapping):
        for value in node.values():
            _drop_absent_samples(value)
    elif isinstance(node, list):
        for step in [s for s in node if _is_absent_sample(s)]:
            node.remove(step)
            path = step["db_sampler"]["info_path"]
            print_log(f"ObjectSample is left out: its database {path} does not exist", "current", logging.WARNING)
        for value in node:
            _drop_absent_samples(value)


def _is_absent_sample(step: Any) -> bool:
    if not isinstance(step, Mapping) or type_name(step.get("type")) != "ObjectSample":
        return False
    sampler = step.get("db_sampler") or {}
    return "info_path" in sampler and not Path(sampler["info_path"]).is_file()

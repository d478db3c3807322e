"""Config files in both of mmengine's styles, text and pure Python, read into one form: every type is a name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.hub import get_config
from mmengine.registry import Registry, root
from mmengine.utils import get_object_from_string

from bevkd.errors import ConfigError

_Finder = Callable[[Any], "str | None"]
_IMPORTED = (LazyObject, LazyAttr)
_TYPE_KEYS = ("type", "constructor")  # and what ends in _type: what a registry looks up


def type_name(kind: Any) -> str:
    """What a config's ``type`` is called, without the scope or the module before it; empty for None.

    >>> type_name("mmdet3d.CBGSDataset")
    'CBGSDataset'
    """
    if kind is None:
        return ""
    return kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__


def read_config(path: str | Path) -> Config:
    """A config file, or ``mmdet3d::...`` for one that a package ships, with every class replaced by its name.

    Raises:
        ConfigError: an object in a place where a config's text cannot name one. What mmengine raises is passed on.
    """
    return named_types(get_config(str(path)) if "::" in str(path) else Config.fromfile(path))


def named_types(cfg: Config) -> Config:
    """``cfg`` with a registry name in the place of each class or function, as a text config has it.

    mmengine's pure-Python configs import what text configs name. In one form a run can be compared, copied, written
    into a checkpoint and resumed without asking in which style its config was written. An object that no registry has
    gets its module's path, which registries find as well. Imported names are left out of the top level.

    Raises:
        ConfigError: an object under a key that is no ``type``, or one that no path leads to.
    """
    raw = cfg._cfg_dict._to_lazy_dict()  # as written: reading a key would import what it names
    own = {key: value for key, value in raw.items() if not _is_object(value)}
    if len(own) == len(raw) and not _has_objects(own):
        return cfg
    found = _registered(raw.get("default_scope") or "mmengine")
    return Config({key: _named(value, key, found, cfg) for key, value in own.items()}, filename=cfg.filename)


def _is_object(value: Any) -> bool:
    return isinstance(value, (*_IMPORTED, ModuleType)) or inspect.isclass(value) or inspect.isroutine(value)


def _has_objects(node: Any) -> bool:
    if isinstance(node, Mapping | list | tuple):
        return any(map(_has_objects, node.values() if isinstance(node, Mapping) else node))
    return _is_object(node)


def _named(node: Any, key: str, found: _Finder, cfg: Config) -> Any:
    """``node`` with names; ``key`` is where it stands."""
    if isinstance(node, Mapping):
        return {name: _named(value, f"{key}.{name}", found, cfg) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(_named(value, f"{key}.{index}", found, cfg) for index, value in enumerate(node))
    if not _is_object(node):
        return node
    kind = node.build() if isinstance(node, _IMPORTED) else node
    last = key.rpartition(".")[2]
    if not (last in _TYPE_KEYS or last.endswith("_type")) or isinstance(kind, ModuleType):
        raise ConfigError(
            f"config {cfg.filename} sets {key} to the object {node}, expected plain values there: bevkd reads imported "
            "names as 'type' only"
        )
    return found(kind) or _path(kind, key, cfg)


def _registered(scope: str) -> _Finder:
    """A function from an object to the name by which a config of ``scope`` finds it in a registry, or None."""
    registries = [r for r in vars(root).values() if isinstance(r, Registry)]
    names: dict[int, str] = {}
    for registry in registries:
        for holder in (registry, *registry.children.values()):
            for name, kind in holder.module_dict.items():
                seen = registry.children.get(scope, registry).get(name) if holder.scope in ("mmengine", scope) else None
                full = name if seen is kind else f"{holder.scope}.{name}"
                # A class may have several names: its own is what people know it by.
                if id(kind) not in names or name == getattr(kind, "__name__", None):
                    names[id(kind)] = full
    return lambda kind: names.get(id(kind))


def _path(kind: Any, key: str, cfg: Config) -> str:
    path = f"{kind.__module__}.{kind.__qualname__}"
    if get_object_from_string(path) is not kind:
        raise ConfigError(f"config {cfg.filename} sets {key} to {path}, which no import leads to, expected a class")
    return path

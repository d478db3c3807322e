"""Looking through wrappers and pipelines of built data sets, and of their configs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.registry import DATASETS

_OURS = ("bevkd", "mmdet3d", "mmdet", "mmcv", "mmengine")  # whose steps are known by name


def leaves(dataset: Any) -> Iterator[Any]:
    """The data sets that hold samples, below whatever repeats, balances, joins or seeds them."""
    inner = vars(dataset).get("dataset") if hasattr(dataset, "__dict__") else None
    parts = [inner] if inner is not None else list(getattr(dataset, "datasets", None) or ())
    if not parts:
        yield dataset
    for part in parts:
        yield from leaves(part)


def config_leaves(node: Any) -> Iterator[Mapping[str, Any]]:
    """As :func:`leaves`, for the config of a data set."""
    if not isinstance(node, Mapping):
        return
    inner = node.get("dataset")
    parts = [inner] if isinstance(inner, Mapping) else list(node.get("datasets") or ())
    if not parts:
        yield node
    for part in parts:
        yield from config_leaves(part)


def dataset_class(kind: Any, scope: str | None) -> Any:
    """The class of a data set's ``type``; None where nothing is registered by that name."""
    if not isinstance(kind, str):
        return kind
    with DATASETS.switch_scope_and_registry(scope) as registry:
        return registry.get(kind)


def named(dataset: Any) -> str:
    """What people call a data set: its info file, or its class where it has none."""
    return str(getattr(dataset, "ann_file", "") or type(dataset).__name__)


def steps(dataset: Any) -> list[Any]:
    """The transforms of a data set's pipeline, those inside test-time augmentation too."""
    return list(_flat(getattr(getattr(dataset, "pipeline", None), "transforms", ())))


def _flat(transforms: Any) -> Iterator[Any]:
    for step in transforms:
        yield step
        inner = getattr(step, "transforms", ())
        inner = getattr(inner, "transforms", inner)  # a Compose
        if isinstance(inner, list | tuple):
            yield from _flat(inner)


def kinds(thing: Any) -> set[str]:
    """The names of an object's class and its bases."""
    return {cls.__name__ for cls in type(thing).__mro__}


def all_known(transforms: list[Any]) -> bool:
    """Whether no step is of the user's own making, which may load what it likes."""
    return all(type(step).__module__.partition(".")[0] in _OURS for step in transforms)

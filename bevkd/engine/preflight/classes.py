"""Data sets and models call labels by the same names, or a run is refused.

Labels are numbers. A data set and a model that list the same classes in another order would train, teach and report
every class under another's name, and nothing would fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bevkd.engine.preflight.datasets import config_leaves, dataset_class, leaves, named
from bevkd.engine.preflight.settings import LOADERS
from bevkd.errors import ConfigError, DataError, nearest

_HEADS = ("head", "pts_bbox_head", "bbox_head")


def compare_classes(where: str, data: Sequence[str], model: Sequence[str], field: str) -> None:
    """Refuse two lists of classes that are not the same, name by name.

    Args:
        where: the loader or file, for the error sentence.
        data: classes of the data set in the order of its labels.
        model: classes of the model in the order of its labels.
        field: what lists the model's, for the error sentence.

    Raises:
        ConfigError: the first label with two names, or both lists.
    """
    data, model = list(data), list(model)
    if data == model:
        return
    if sorted(data) == sorted(model):
        label = next(i for i, (a, b) in enumerate(zip(data, model)) if a != b)
        raise ConfigError(
            f"{where}: the data set calls label {label} {data[label]}, {field} calls it {model[label]}; expected one "
            f"order in metainfo.classes {data} and {field} {model}"
        )
    missing = [f"{' and '.join(names)} only in {place}" for names, place in (
        ([n for n in data if n not in model], "the data set"), ([n for n in model if n not in data], field),
    ) if names]  # fmt: skip
    raise ConfigError(
        f"{where}: the data set has the classes {data}, {field} has {model}{': ' if missing else ''}"
        f"{', '.join(missing)}; expected the same in metainfo.classes of every data set and in the model"
    )


def model_classes(model: Any) -> tuple[str, list[str] | int] | None:
    """The field in which a detector lists its classes, and these in the order of its labels, or their number.

    None where it does not tell.
    """
    own = getattr(model, "classes", None)
    if isinstance(own, list | tuple) and all(isinstance(name, str) for name in own):
        return "classes", list(own)
    for part in _HEADS:
        head = getattr(model, part, None)
        tasks = getattr(head, "class_names", None)
        if tasks:  # CenterHead numbers classes through its tasks
            return f"{part}.tasks", [n for task in tasks for n in ([task] if isinstance(task, str) else task)]
        if isinstance(getattr(head, "num_classes", None), int):
            return f"{part}.num_classes", head.num_classes
    return None


def require_same_classes(where: str, data: Sequence[str] | None, model: Any, prefix: str = "model.") -> None:
    """Compare a data set's classes with a model's, as far as both tell.

    Raises:
        ConfigError: see :func:`compare_classes`.
    """
    told = model_classes(model)
    if told is None or data is None:
        return
    field, names = f"{prefix}{told[0]}", told[1]
    if not isinstance(names, int):
        compare_classes(where, data, names, field)
    elif names != len(data):
        raise ConfigError(
            f"{where}: the data set has {len(data)} classes {list(data)}, {field} is {names}; expected as many"
        )


def require_dataset_classes(key: str, dataset: Any, model: Any, prefix: str = "model.") -> None:
    """Compare every data set below ``dataset`` with a model, and its info file with itself.

    Raises:
        ConfigError: see :func:`compare_classes`. DataError: see :func:`require_categories`.
    """
    for leaf in leaves(dataset):
        meta = getattr(leaf, "metainfo", None) or {}
        require_same_classes(key, meta.get("classes"), model, prefix)
        require_categories(named(leaf), meta, (getattr(leaf, "METAINFO", None) or {}).get("classes"))


def require_categories(where: str, meta: Mapping[str, Any], known: Sequence[str] | None) -> None:
    """Refuse an info file that numbers its categories otherwise than the data set's class reads them.

    Args:
        where: the info file, for the error sentence.
        meta: ``metainfo`` of the data set, with the file's ``categories`` and the ``classes`` that are used.
        known: all classes that the data set's class knows, in the order of the file's labels.

    Raises:
        DataError: naming the label.
    """
    categories = meta.get("categories")
    if not isinstance(categories, Mapping) or not known:
        return
    names = {index: name for name, index in categories.items()}
    for index, name in enumerate(known):
        if name in (meta.get("classes") or known) and names.get(index, name) != name:
            raise DataError(
                f"{where}: metainfo.categories call label {index} {names[index]}, and it is read as {name}; expected "
                f"labels in the order {list(known)}"
            )


def require_configured_classes(cfg: Mapping[str, Any], model: Any, prefix: str = "model.") -> None:
    """As :func:`require_dataset_classes` for all loaders of a config, of which no data set need be built.

    Raises:
        ConfigError: see :func:`compare_classes`.
    """
    for key, known, chosen in _configured(cfg):
        require_same_classes(key, chosen or known, model, prefix)


def require_known_classes(cfg: Mapping[str, Any]) -> None:
    """Refuse classes that a data set does not have.

    Raises:
        ConfigError: naming the class and the nearest that there are.
    """
    for key, known, chosen in _configured(cfg):
        unknown = [name for name in chosen or () if known and name not in known]
        if unknown:
            near = nearest(unknown[0], known)
            raise ConfigError(f"{key}: metainfo.classes has {unknown[0]!r}, which the data set does not know{near}")


def _configured(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str] | None, Sequence[str] | None]]:
    """Loader, classes that its data set's type knows, and those that its metainfo chooses."""
    for key in LOADERS:
        for node in config_leaves((cfg.get(key) or {}).get("dataset")):
            kind = dataset_class(node.get("type"), cfg.get("default_scope"))
            known = (getattr(kind, "METAINFO", None) or {}).get("classes")
            yield key, known, (node.get("metainfo") or {}).get("classes")

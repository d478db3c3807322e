"""Checks before the first step: data, model and settings that disagree are refused by name.

Nothing here loads a sample: configs, info files and built objects say enough. The functions that compare take plain
things; those of this file say when which is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data import DataLoader

from bevkd.engine.preflight.boxes import require_box_columns, require_boxes
from bevkd.engine.preflight.classes import (
    require_configured_classes,
    require_dataset_classes,
    require_known_classes,
)
from bevkd.engine.preflight.datasets import leaves, named
from bevkd.engine.preflight.inputs import require_annotations, require_inputs
from bevkd.engine.preflight.ranges import check_filters, require_one_range
from bevkd.engine.preflight.schedules import check_ratios, check_schedules, require_movement
from bevkd.engine.preflight.settings import check_settings, without_worker_options
from bevkd.errors import ConfigError

_HEADS = ("head", "pts_bbox_head", "bbox_head")


def check_training_data(
    loader: DataLoader, model: Any, cfg: Mapping[str, Any], warn: Callable[[str], None], key: str = "train_dataloader"
) -> None:
    """Refuse a training loader that its model cannot learn from.

    Args:
        loader: the built loader.
        model: a detector, or a distiller.
        cfg: the whole config: the classes of its other loaders are compared as well.
        warn: is given sentences on what need not be wrong.

    Raises:
        ConfigError, DataError: one sentence.
    """
    require_batches(key, loader)
    student, prefix = student_of(model)
    require_annotations(key, loader.dataset)
    require_dataset_classes(key, loader.dataset, student, prefix)
    require_configured_classes(cfg, student, prefix)
    require_inputs(key, loader.dataset, student, training=True, who=prefix[:-1])
    head = next((part for name in _HEADS if (part := getattr(student, name, None)) is not None), None)
    require_one_range(student, head)
    for sentence in check_filters(key, loader.dataset, student):
        warn(sentence)
    require_box_columns(key, loader.dataset, head)
    # A teacher's background teaches too: a distiller may do without boxes.
    require_boxes(key, loader.dataset, student, warn if student is not model else None)


def check_test_data(key: str, loader: DataLoader, model: Any, evaluator: Any, warn: Callable[[str], None]) -> None:
    """Refuse a loader that a model cannot predict from.

    Args:
        key: ``val_dataloader`` or ``test_dataloader``.
        loader: the built loader.
        model: a detector, or a distiller, whose student predicts.
        evaluator: its metrics; where one only writes predictions, no ground truth is missed.
        warn: is given sentences on what need not be wrong.

    Raises:
        ConfigError, DataError: one sentence.
    """
    require_batches(key, loader)
    student, prefix = student_of(model)
    require_dataset_classes(key, loader.dataset, student, prefix)
    require_inputs(key, loader.dataset, student, training=False, who=prefix[:-1])
    if not any(getattr(metric, "format_only", False) for metric in getattr(evaluator, "metrics", ())):
        require_boxes(key, loader.dataset, None, lambda text: warn(f"{text}: scores against them are 0 or undefined"))


def check_teacher(loader: DataLoader, model: Any, warn: Callable[[str], None], key: str = "train_dataloader") -> None:
    """Refuse a training loader that does not hold what the teacher looks at; the teacher must be loaded.

    A teacher whose classes differ from the data set's is warned of: methods that read its head refuse it themselves.

    Raises:
        ConfigError: one sentence.
    """
    teacher = getattr(model, "teacher", None)
    if teacher is None:
        return
    if (inner := getattr(teacher, "model", None)) is not None:
        require_inputs(key, loader.dataset, inner, training=False, who="the teacher")
    tasks = teacher.classes() if callable(getattr(teacher, "classes", None)) else None
    known = {name for task in tasks or () for name in task}
    for leaf in leaves(loader.dataset):
        unknown = [n for n in (getattr(leaf, "metainfo", None) or {}).get("classes") or () if known and n not in known]
        if unknown:
            warn(f"{key}: the teacher's head does not know {', '.join(unknown)}, which {named(leaf)} has")


def require_batches(key: str, loader: DataLoader) -> None:
    """Refuse a loader without a single batch.

    Raises:
        ConfigError: saying whether the data set is empty or its last, only batch is dropped.
    """
    try:
        batches = len(loader)
    except TypeError:  # an iterable data set does not know
        return
    if batches:
        return
    samples = len(loader.dataset)
    files = ", ".join(named(leaf) for leaf in leaves(loader.dataset))
    if samples:
        size = getattr(loader.batch_sampler, "batch_size", loader.batch_size)
        raise ConfigError(
            f"{key} has no batch: {samples} samples of {files} do not fill one of batch_size {size}, and drop_last "
            "leaves it out; expected a smaller batch_size or drop_last=False"
        )
    raise ConfigError(
        f"{key} has no sample: {files} is empty, or indices, filter_cfg or filter_empty_gt leave nothing of it; "
        "expected at least one"
    )


def student_of(model: Any) -> tuple[Any, str]:
    """What predicts, a distiller's student or the model itself, and the place in the config where it stands."""
    student = getattr(model, "student", None)
    return (model, "model.") if student is None else (student, "model.student.")


__all__ = [
    "check_ratios", "check_schedules", "check_settings", "check_teacher", "check_test_data", "check_training_data",
    "require_configured_classes", "require_dataset_classes", "require_inputs", "require_known_classes",
    "require_movement", "require_one_range", "without_worker_options",
]  # fmt: skip

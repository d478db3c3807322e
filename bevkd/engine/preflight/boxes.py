"""A training set without one box to learn from is found before the first step, with the reasons counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bevkd.datasets import safe_pickle
from bevkd.engine.preflight.datasets import kinds, leaves, named, steps
from bevkd.errors import BevkdError, ConfigError, DataError

_LOOKS = 100  # samples of a data set that may go without boxes
Area = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max in metres


def ground_truth(dataset: Any, index: int) -> tuple[Any, Any] | None:
    """Boxes [M, >= 7] and labels [M] of a sample, without loading it; None for a data set that holds no 3D boxes."""
    info = dataset.get_data_info(index) if hasattr(dataset, "get_data_info") else None
    truth = (info.get("ann_info") or info.get("eval_ann_info")) if isinstance(info, Mapping) else None
    if not isinstance(truth, Mapping) or "gt_bboxes_3d" not in truth or "gt_labels_3d" not in truth:
        return None
    return truth["gt_bboxes_3d"].tensor, truth["gt_labels_3d"]


def areas(dataset: Any, model: Any) -> list[tuple[str, Area]]:
    """Where boxes count, by what says so: the model's grid, and the filters of the data set's pipeline."""
    found = []
    grid = getattr(model, "grid", None)
    if hasattr(grid, "x_range") and hasattr(grid, "y_range"):
        found.append(("the model's grid", (grid.x_range[0], grid.y_range[0], grid.x_range[1], grid.y_range[1])))
    for step in steps(dataset):
        if "ObjectRangeFilter" in kinds(step):
            limits = [float(v) for v in step.pcd_range]
            found.append(("ObjectRangeFilter", (limits[0], limits[1], limits[3], limits[4])))
    return found


def usable(boxes: Any, labels: Any, where: Sequence[tuple[str, Area]]) -> Any:
    """Which boxes [M] have a class and their centre in every area."""
    kept = boxes[:, 0] == boxes[:, 0]  # NaN is nowhere
    kept &= kept.new_tensor([bool(label >= 0) for label in labels])
    for _, (x0, y0, x1, y1) in where:
        kept &= (boxes[:, 0] >= x0) & (boxes[:, 0] < x1) & (boxes[:, 1] >= y0) & (boxes[:, 1] < y1)
    return kept


def require_boxes(key: str, dataset: Any, model: Any, warn: Callable[[str], None] | None = None) -> None:
    """Refuse a data set of which no sample has a box that counts; stops looking at the first that has one.

    Args:
        key: the loader, for the error sentence.
        dataset: the built data set, wrapped or not.
        model: the detector, whose grid says where boxes count.
        warn: is given the sentence in place of an error, where a run without boxes has some sense; as that run goes
            on, a few samples in equal steps are looked at then.

    Raises:
        DataError: naming the info files, and why their instances do not count.
    """
    found = []
    for leaf in leaves(dataset):
        if not len(leaf):
            continue
        if ground_truth(leaf, 0) is None:
            return
        if any("ObjectSample" in kinds(step) for step in steps(leaf)):
            return  # boxes are pasted in
        where = areas(leaf, model)
        looked = range(len(leaf)) if warn is None else range(0, len(leaf), -(-len(leaf) // _LOOKS))
        if any(bool(usable(*ground_truth(leaf, i), where).any()) for i in looked):
            return
        found.append(f"{named(leaf)}: none of {len(looked)} samples has {_why(leaf, where, looked, warn is None)}")
    if not found:
        return
    sentence = "; ".join(found)
    if warn is None:
        raise DataError(f"{key}: {sentence}; expected ground truth to train on")
    warn(f"{key}: {sentence}")


def _why(leaf: Any, where: Sequence[tuple[str, Area]], looked: Sequence[int], read_file: bool) -> str:
    """``a box that counts`` with the reasons; those in the info file take seconds, which a run that starts saves."""
    reasons: Counter[str] = Counter()
    total = 0
    for index in looked:
        boxes, labels = ground_truth(leaf, index)
        total += len(boxes)
        for name, area in where:
            inside = usable(boxes, labels, [(name, area)])
            reasons[f"outside {name} {tuple(area)}"] += int((~inside).sum())
    counted = _raw_reasons(leaf) if read_file else None
    if counted is not None:
        total, raw = counted
        reasons.update(raw)
    said = ", ".join(f"{'all' if n == total else n} {reason}" for reason, n in reasons.most_common() if n)
    return f"a box that counts ({total or 'no'} instances{f': {said}' if said else ''})"


def _raw_reasons(leaf: Any) -> tuple[int, Counter[str]] | None:
    """How many instances the info file holds for the split, and why the data set left them out."""
    file = str(getattr(leaf, "ann_file", ""))
    if not file.endswith(".pkl"):
        return None
    try:
        data = safe_pickle.load(file)["data_list"]
    except (BevkdError, OSError, KeyError, TypeError):
        return None
    mapping = (getattr(leaf, "metainfo", None) or {}).get("label_mapping") or {}
    instances = [instance for sample in data for instance in sample.get("instances") or ()]
    reasons: Counter[str] = Counter()
    for instance in instances:
        label = instance.get("bbox_label_3d", -1)
        reasons["with bbox_3d_isvalid False"] += instance.get("bbox_3d_isvalid") is False
        reasons["without a LiDAR point (num_lidar_pts 0)"] += instance.get("num_lidar_pts") == 0
        reasons["with label -1"] += label < 0
        reasons["of classes that metainfo.classes leaves out"] += label >= 0 and mapping.get(label, label) < 0
    return len(instances), reasons


def require_box_columns(key: str, dataset: Any, head: Any) -> None:
    """Refuse boxes with other columns than the head regresses: velocities that are missing, or that it does not know.

    Raises:
        ConfigError: naming both numbers.
    """
    if (wanted := _box_columns(head)) is None:
        return
    for leaf in leaves(dataset):
        truth = ground_truth(leaf, 0) if len(leaf) else None
        if truth is not None and truth[0].shape[1] != wanted:
            raise ConfigError(
                f"{key}: boxes of {named(leaf)} have {truth[0].shape[1]} columns (with_velocity="
                f"{getattr(leaf, 'with_velocity', truth[0].shape[1] > 7)}), the model's {type(head).__name__} "
                f"regresses {wanted}; expected 9 with velocities in both, or 7 without"
            )


def _box_columns(head: Any) -> int | None:
    """Columns of the boxes that a head trains on; None where that is not known.

    Raises:
        ConfigError: a CenterHead without a branch that its loss reads, or with other code_weights.
    """
    if hasattr(head, "task_heads") and hasattr(head, "bbox_coder"):
        names = {"reg", "height", "dim", "rot", "vel"}
        for task in head.task_heads:
            if missing := sorted(names - set(getattr(task, "heads", names))):
                raise ConfigError(
                    f"the model's {type(head).__name__} has no branch {' and no '.join(missing)}, expected "
                    f"{', '.join(sorted(names))} in common_heads: the loss reads all of them"
                )
        weights = (getattr(head, "train_cfg", None) or {}).get("code_weights")
        if weights is not None and len(weights) != 10:
            raise ConfigError(
                f"the model's {type(head).__name__} has {len(weights)} code_weights in its train_cfg, expected 10: "
                "reg 2, height, dim 3, rot 2, vel 2"
            )
        return 9
    size = getattr(head, "box_code_size", None)  # Anchor3DHead
    return size if isinstance(size, int) else None

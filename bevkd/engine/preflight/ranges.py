"""Where points become cells, where boxes become cells, and what pipelines keep: one range, stated in several places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bevkd.engine.preflight.datasets import kinds, leaves, steps
from bevkd.errors import ConfigError

_TOLERANCE = 1e-3  # metres


def require_one_range(model: Any, head: Any) -> None:
    """Refuse a detector of mmdet3d whose voxels and CenterHead state other ranges or cells.

    bevkd's own detectors state their grid once.

    Raises:
        ConfigError: naming both places, where boxes would be learnt and found in other cells than their points.
    """
    voxels = getattr(getattr(model, "data_preprocessor", None), "voxel_layer", None)
    train = getattr(head, "train_cfg", None)
    if voxels is None or not isinstance(train, Mapping):
        return
    whole, size = _numbers(voxels, "point_cloud_range"), _numbers(voxels, "voxel_size")
    if whole is None or size is None:
        return
    coder = getattr(head, "bbox_coder", None)
    stated = {
        "train_cfg.point_cloud_range": (train.get("point_cloud_range"), whole),
        "train_cfg.voxel_size": (train.get("voxel_size"), size),
        "bbox_coder.pc_range": (getattr(coder, "pc_range", None), whole[:2]),
        "bbox_coder.voxel_size": (getattr(coder, "voxel_size", None), size[:2]),
        "train_cfg.grid_size": (train.get("grid_size"), [(whole[i + 3] - whole[i]) / size[i] for i in (0, 1)]),
    }
    for field, (found, wanted) in stated.items():
        if found is not None and not _close(found, wanted):
            raise ConfigError(
                f"the model's head has {field} {list(found)}, its voxel_layer has point_cloud_range {whole} and "
                f"voxel_size {size}; expected {[round(value, 4) for value in wanted]}: boxes would lie in other cells "
                "than points"
            )


def check_filters(key: str, dataset: Any, model: Any) -> list[str]:
    """A sentence on each filter of a pipeline that keeps another range than the model's voxels cover."""
    voxels = getattr(getattr(model, "data_preprocessor", None), "voxel_layer", None)
    if (whole := _numbers(voxels, "point_cloud_range")) is None:
        return []
    said = []
    for leaf in leaves(dataset):
        for step in steps(leaf):
            if not kinds(step) & {"PointsRangeFilter", "ObjectRangeFilter"}:
                continue
            kept = [float(value) for value in step.pcd_range]
            if not _close(kept, whole):
                said.append(f"{key}: {type(step).__name__} keeps {kept}, the model's voxel_layer covers {whole}")
    return said


def _numbers(holder: Any, name: str) -> list[float] | None:
    values = getattr(holder, name, None)
    return None if values is None else [float(value) for value in values]


def _close(found: Sequence[float], wanted: Sequence[float]) -> bool:
    """As far as both go: heads state two or three axes."""
    return all(abs(float(a) - b) <= _TOLERANCE for a, b in zip(found, wanted))

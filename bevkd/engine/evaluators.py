"""What a run does for its metrics: mmdet3d's nuScenes metric is made to last, and told which inputs the model has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn

from bevkd.errors import ConfigError

_STOCK = "NuScenesMetric"
_WAYMO_TOOL = Path("mmdet3d/evaluation/functional/waymo_utils/compute_detection_metrics_main")
_LIDAR = ("lidar_encoder", "pts_voxel_encoder", "voxel_encoder", "pts_backbone")
_CAMERA = ("camera_encoder", "img_backbone")


def replace_stock_metrics(cfg: Config) -> None:
    """Put ``NuScenesStockMetric`` in the place of mmdet3d's ``NuScenesMetric``, whose names and scores it keeps.

    mmdet3d's ends the run, after the epoch, where a young model finds nothing.
    """
    for key in ("val_evaluator", "test_evaluator"):
        for metric in _metrics(cfg.get(key)):
            kind = metric.get("type")
            if getattr(kind, "__name__", str(kind).rpartition(".")[2]) == _STOCK:
                metric["type"] = "NuScenesStockMetric"
                print_log(f"{key}: NuScenesStockMetric takes the place of NuScenesMetric (same scores)", "current")


def _metrics(node: Any) -> Iterator[Any]:
    """The metrics' configs in an evaluator's, which may be one, a list, or an Evaluator with ``metrics``."""
    if isinstance(node, Mapping):
        yield node
        yield from _metrics(node.get("metrics"))
    elif isinstance(node, list | tuple):
        for part in node:
            yield from _metrics(part)


def prepare_metrics(metrics: Iterable[Any], model: nn.Module) -> None:
    """Tell every metric that asks (``declare_inputs``) what the model uses, see :func:`model_inputs`.

    Raises:
        ConfigError: mmdet3d's ``WaymoMetric`` without the official tool, which it would call after the epoch.
    """
    for metric in metrics:
        if type(metric).__name__ == "WaymoMetric" and not metric.format_only and not _WAYMO_TOOL.is_file():
            raise ConfigError(
                f"WaymoMetric of mmdet3d calls {_WAYMO_TOOL}, which is not there; expected WaymoBEVMetric, or a folder "
                "to run in with the official tool built at that place"
            )
        if callable(declare := getattr(metric, "declare_inputs", None)):
            declare(model_inputs(model))


def model_inputs(model: nn.Module) -> dict[str, bool]:
    """Which sensors a detector reads, and whether it began from weights made with other data.

    A distiller is its student: the teacher's sensors are not read by what is scored. ``use_external`` is True where a
    part's ``init_cfg`` loads a file (ImageNet weights, say); a config whose file was trained on nuScenes alone says
    ``use_external=False`` itself.

    Returns:
        ``use_lidar`` and ``use_camera``, unless the model is of an unknown kind, and ``use_external``.
    """
    model = getattr(model, "module", model)
    model = getattr(model, "student", model)
    has = {
        key: any(getattr(model, name, None) is not None for name in names)
        for key, names in (("use_lidar", _LIDAR), ("use_camera", _CAMERA))
    }
    return {**(has if any(has.values()) else {}), "use_external": _external(model)}


def _external(model: nn.Module) -> bool:
    for module in model.modules():
        settings = getattr(module, "init_cfg", None)
        for setting in settings if isinstance(settings, list | tuple) else [settings]:
            if isinstance(setting, Mapping) and setting.get("type") == "Pretrained" and setting.get("checkpoint"):
                return True
    return False

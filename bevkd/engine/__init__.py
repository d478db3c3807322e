"""Running a config: reading it, training, checkpoints, resuming, testing."""

import importlib

from bevkd.engine.build import build_runner
from bevkd.engine.config import load_config
from bevkd.engine.runner import BEVRunner
from bevkd.structures.quiet import quieten

_ROOMS = (
    "mmdet3d.models", "bevkd.datasets.nuscenes", "bevkd.datasets.waymo.dataset", "bevkd.detectors", "bevkd.methods",
    "bevkd.evaluation", "bevkd.evaluation.nuscenes_stock",
)  # fmt: skip


def register_all() -> None:
    """Make every part of bevkd known to mmdet3d's registries; calling it again does nothing.

    The rooms are named by string, and only here: engine lies below evaluation in the import order, and importing them
    brings mmdet3d along, which takes seconds.
    """
    quieten()
    for room in _ROOMS:
        importlib.import_module(room)


__all__ = ["BEVRunner", "build_runner", "load_config", "register_all"]

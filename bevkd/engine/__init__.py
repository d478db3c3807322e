"""Running a config: reading it, training, checkpoints, resuming, testing."""

import warnings

from bevkd.engine.config import load_config
from bevkd.engine.runner import BEVRunner, build_runner


def register_all() -> None:
    """Make every part of bevkd known to mmdet3d's registries; calling it again does nothing.

    The imports stand here and not at the top because engine lies below evaluation in the import order, and because
    they bring mmdet3d along, which takes seconds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spconv and mmdet greet current torch with a page of deprecations
        import mmdet3d.models  # noqa: F401

        import bevkd.datasets
        import bevkd.detectors
        import bevkd.distill
        import bevkd.evaluation  # noqa: F401


__all__ = ["BEVRunner", "build_runner", "load_config", "register_all"]

"""bevkd: knowledge distillation for 3D detectors in bird's-eye view."""

from bevkd.ops import mmcv_ext

__version__ = "0.1.0"

mmcv_ext.install()

"""Importing bevkd provides mmcv._ext, without which test modules could not import mmdet3d.structures."""

import bevkd  # noqa: F401

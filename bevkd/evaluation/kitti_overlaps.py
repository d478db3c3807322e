"""The overlaps that mmdet3d's KittiMetric asks CUDA for, from bevkd's own op where numba finds no CUDA.

``mmdet3d.evaluation.functional.kitti_utils.rotate_iou`` compiles its kernel with numba.cuda while it is imported, first
after an epoch of training (open-mmlab/mmdetection3d#2817). :func:`install` lets that import fall back on
:func:`rotated_overlaps`; where the kernel compiles, mmdet3d's own is used. No file of mmdet3d is touched.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

import numpy as np
import torch

from bevkd.ops import box_iou_rotated

_NAME = "mmdet3d.evaluation.functional.kitti_utils.rotate_iou"


def install() -> None:
    """Serve the fall-back from now on. Imports nothing; may be called twice."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def rotated_overlaps(boxes: np.ndarray, query_boxes: np.ndarray, criterion: int = -1, device_id: int = 0) -> np.ndarray:
    """What mmdet3d's ``rotate_iou_gpu_eval`` computes, on the CPU.

    Args:
        boxes: [N, 5] x, y, two sides, angle (clockwise).
        query_boxes: [K, 5].
        criterion: what the intersection is divided by: -1 the union, 0 the area of the query box, 1 that of the box
            (mmdet3d's kernel swaps the two, against its documentation), 2 nothing.
        device_id: not used.

    Returns:
        [N, K] float32.
    """
    found, query = (torch.from_numpy(part.astype(np.float32)).double() * torch.tensor([1.0, 1, 1, 1, -1])
                    for part in (boxes, query_boxes))  # fmt: skip
    if criterion == -1:
        return box_iou_rotated(found, query).float().numpy()
    share = box_iou_rotated(found, query, over_first=True)  # of the box's own area
    area, query_area = (part[:, 2] * part[:, 3] for part in (found, query))
    if criterion != 1:
        share = share * area[:, None]
    return (share / query_area if criterion == 0 else share).float().numpy()


class _Finder:
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != _NAME:
            return None
        spec = PathFinder.find_spec(fullname, path)
        return spec and ModuleSpec(fullname, _Loader(spec.loader), origin=spec.origin)


class _Loader(Loader):
    def __init__(self, real: Loader) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        try:
            self.real.exec_module(module)
        except Exception:  # of numba: no driver, no NVVM, no GPU, or one that it does not know
            module.rotate_iou_gpu_eval = rotated_overlaps

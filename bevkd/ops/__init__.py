"""Operators with a compiled kernel each, and a plain torch twin of the same name in :mod:`bevkd.ops.reference`.

Names load on first use, so that ``import bevkd`` costs neither torch nor the compiled library.
"""

import sys
from importlib import import_module
from types import ModuleType

_MODULE_OF = {
    "voxelize": "voxelize",
    "voxelize_mean": "voxelize",
    "voxelize_dynamic": "voxelize",
    "voxelize_segments": "voxelize",
    "Voxels": "voxelize",
    "MeanVoxels": "voxelize",
    "Segments": "voxelize",
    "StaticVoxels": "voxel_workspace",
    "VoxelWorkspace": "voxel_workspace",
    "segment_sum": "segment_scatter",
    "segment_mean": "segment_scatter",
    "segment_max": "segment_scatter",
    "segments_from_coords": "segment_scatter",
    "bev_pool": "bev_pool",
    "LiftPlan": "lift_plan",
    "box_iou_rotated": "box_iou_rotated",
    "nms": "nms",
    "nms_rotated": "nms",
    "points_in_boxes": "points_in_boxes",
    "points_in_boxes_all": "points_in_boxes",
    "points_in_boxes_part": "points_in_boxes",
    "rotated_box_mask": "rotated_box_mask",
    "BoxMask": "rotated_box_mask",
    "box_keypoints": "box_keypoints",
    "sample_keypoints": "sample_keypoints",
    "masked_feature_loss": "masked_feature_loss",
    "masked_feature_losses": "masked_feature_loss",
    "waymo_matching": "waymo_matching",
    "MatchingPredictions": "waymo_matching",
    "MatchingTruths": "waymo_matching",
    "MatchingCounts": "waymo_matching",
    "Longitudinal": "waymo_matching",
}

__all__ = sorted(_MODULE_OF)


class _Ops(ModuleType):
    """An op and the file that holds it share one name; after the import, the name means the op."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _MODULE_OF and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Ops


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]

"""Operators with a compiled kernel each, and a plain torch twin of the same name in :mod:`bevkd.ops.reference`.

Names load on first use, so that ``import bevkd`` costs neither torch nor the compiled library.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what __getattr__ finds, for editors and type checkers
    from bevkd.ops.bev_pool import bev_pool as bev_pool
    from bevkd.ops.box_iou_rotated import box_iou_rotated as box_iou_rotated
    from bevkd.ops.box_keypoints import box_keypoints as box_keypoints
    from bevkd.ops.lift_plan import LiftPlan as LiftPlan
    from bevkd.ops.masked_feature_loss import masked_feature_loss as masked_feature_loss
    from bevkd.ops.masked_feature_loss import masked_feature_losses as masked_feature_losses
    from bevkd.ops.nms import nms as nms
    from bevkd.ops.nms import nms_rotated as nms_rotated
    from bevkd.ops.points_in_boxes import points_in_boxes as points_in_boxes
    from bevkd.ops.points_in_boxes import points_in_boxes_all as points_in_boxes_all
    from bevkd.ops.points_in_boxes import points_in_boxes_part as points_in_boxes_part
    from bevkd.ops.rotated_box_mask import BoxMask as BoxMask
    from bevkd.ops.rotated_box_mask import rotated_box_mask as rotated_box_mask
    from bevkd.ops.sample_keypoints import sample_keypoints as sample_keypoints
    from bevkd.ops.segment_scatter import segment_max as segment_max
    from bevkd.ops.segment_scatter import segment_mean as segment_mean
    from bevkd.ops.segment_scatter import segment_sum as segment_sum
    from bevkd.ops.segment_scatter import segments_from_coords as segments_from_coords
    from bevkd.ops.voxel_workspace import StaticVoxels as StaticVoxels
    from bevkd.ops.voxel_workspace import VoxelWorkspace as VoxelWorkspace
    from bevkd.ops.voxelize import MeanVoxels as MeanVoxels
    from bevkd.ops.voxelize import Segments as Segments
    from bevkd.ops.voxelize import Voxels as Voxels
    from bevkd.ops.voxelize import voxelize as voxelize
    from bevkd.ops.voxelize import voxelize_dynamic as voxelize_dynamic
    from bevkd.ops.voxelize import voxelize_mean as voxelize_mean
    from bevkd.ops.voxelize import voxelize_segments as voxelize_segments
    from bevkd.ops.waymo_matching import Longitudinal as Longitudinal
    from bevkd.ops.waymo_matching import MatchingCounts as MatchingCounts
    from bevkd.ops.waymo_matching import MatchingPredictions as MatchingPredictions
    from bevkd.ops.waymo_matching import MatchingTruths as MatchingTruths
    from bevkd.ops.waymo_matching import waymo_matching as waymo_matching

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


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]

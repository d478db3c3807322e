"""mmdet3d's detectors from the configs that it ships, as they are and made small, and a scene for them."""

from mmengine.config import ConfigDict
from mmengine.hub import get_config

import bevkd.ops.mmcv_ext
from bevkd.structures import BEVGrid

PTS = {"low": "pts_backbone:input", "high": "pts_neck", "head": "pts_bbox_head"}
PLAIN = {"low": "backbone:input", "high": "neck", "head": "bbox_head"}
# name: config, taps, grid of the taps high and head at full size and made small, channels of high, columns of points.
DETECTORS = {
    "centerpoint_pillar": (
        "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py",
        PTS, BEVGrid((-51.2, 51.2), (-51.2, 51.2), 0.8), BEVGrid((-12.8, 12.8), (-12.8, 12.8), 0.8), 384, 5,
    ),
    "centerpoint_voxel": (
        "mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py",
        PTS, BEVGrid((-51.2, 51.2), (-51.2, 51.2), 0.8), BEVGrid((-12.8, 12.8), (-12.8, 12.8), 0.8), 512, 5,
    ),
    "pointpillars": (
        "mmdet3d::pointpillars/pointpillars_hv_fpn_sbn-all_8xb4-2x_nus-3d.py",
        {**PTS, "high": "pts_neck.fpn_convs.0"},
        BEVGrid((-50, 50), (-50, 50), 0.5), BEVGrid((-12, 12), (-12, 12), 0.5), 256, 4,
    ),
    "second": (
        "mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py",
        PLAIN, BEVGrid((0, 70.4), (-40, 40), 0.4), BEVGrid((0, 12.8), (-6.4, 6.4), 0.4), 512, 4,
    ),
}  # fmt: skip


def shipped(name: str) -> ConfigDict:
    """The model's config as mmdet3d ships it."""
    bevkd.ops.mmcv_ext.install()
    return get_config(DETECTORS[name][0]).model


def small(name: str) -> ConfigDict:
    """The same on a tenth of the ground and with shallow backbones: only numbers of ranges and layers differ."""
    model, grid = shipped(name), DETECTORS[name][3]
    (x0, x1), (y0, y1) = grid.x_range, grid.y_range
    voxel_layer = model.data_preprocessor.voxel_layer
    z = [voxel_layer.point_cloud_range[i] for i in (2, 5)]
    ranges = [x0, y0, z[0], x1, y1, z[1]]
    columns, rows = (round((high - low) / voxel_layer.voxel_size[0]) for low, high in (grid.x_range, grid.y_range))
    prefix = "" if name == "second" else "pts_"
    parts = {part: model[f"{prefix}{part}"] for part in ("voxel_encoder", "middle_encoder", "backbone", "bbox_head")}
    voxel_layer.point_cloud_range = ranges
    if "point_cloud_range" in parts["voxel_encoder"]:
        parts["voxel_encoder"].point_cloud_range = ranges
    middle = parts["middle_encoder"]
    if "sparse_shape" in middle:
        middle.sparse_shape = [middle.sparse_shape[0], rows, columns]
    else:
        middle.output_shape = [rows, columns]
    parts["backbone"].layer_nums = [1] * len(parts["backbone"].layer_nums)
    if "anchor_generator" in parts["bbox_head"]:
        anchors = parts["bbox_head"].anchor_generator
        anchors.ranges = [[x0, y0, r[2], x1, y1, r[5]] for r in anchors.ranges]
    else:
        parts["bbox_head"].bbox_coder.pc_range = [x0, y0]
        model.train_cfg.pts.update(grid_size=[columns, rows, 1], point_cloud_range=ranges)
        model.test_cfg.pts.pc_range = [x0, y0]
    return model

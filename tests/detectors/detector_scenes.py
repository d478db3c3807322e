"""A small world for detector tests: a grid that is not square, six cameras around the origin, clusters of points."""

import math

import numpy as np
import torch

from bevkd.datasets.constants import CLASSES
from bevkd.structures import BEVGrid

# 16 rows and 32 columns of 1 m, so that exchanged axes show.
GRID = BEVGrid((-16.0, 16.0), (-8.0, 8.0), 1.0)
IMAGE, FOCAL = (32, 64), 24.0
NORM = {"type": "BN", "eps": 1e-3, "momentum": 0.1}


def detector_config(**changes) -> dict:
    """A LiDAR detector of some ten thousand parameters; ``camera_encoder=CAMERA, lidar_encoder=None`` for the other."""
    return {
        "type": "BEVDetector",
        "grid": {"x_range": GRID.x_range, "y_range": GRID.y_range, "cell": GRID.cell},
        "lidar_encoder": {"type": "PillarEncoder", "out_channels": 16, "pillar_channels": 16, "max_points": 8},
        "bev_encoder": {
            "type": "BEVEncoder",
            "backbone": {
                "type": "SECOND", "out_channels": [16, 16], "layer_nums": [1, 1], "layer_strides": [1, 2],
                "norm_cfg": NORM,
            },
            "neck": {
                "type": "SECONDFPN", "in_channels": [16, 16], "out_channels": [16, 16], "upsample_strides": [1, 2],
                "norm_cfg": NORM,
            },
        },
        "head": {"type": "SlimCenterHead", "share_conv_channel": 16, "norm_cfg": NORM},
        **changes,
    }  # fmt: skip


CAMERA = {
    "type": "LiftSplatEncoder",
    "backbone": {
        "type": "mmdet.ResNet", "depth": 18, "base_channels": 8, "num_stages": 2, "out_indices": (0, 1),
        "strides": (1, 2), "dilations": (1, 1), "norm_cfg": {"type": "BN"}, "norm_eval": False,
        "zero_init_residual": False,  # else nothing before it has a gradient in the first step
    },
    "neck": {"type": "SECONDFPN", "in_channels": [8, 16], "out_channels": [8, 8], "upsample_strides": [1, 2]},
    "in_channels": 16,
    "channels": 8,
    "out_channels": 16,
    "depth": {"min": 1.0, "max": 17.0, "step": 1.0},
}  # fmt: skip


def voxel_config() -> dict:
    encoder = {"type": "VoxelEncoder", "width": 0.25, "blocks": 1, "downsample": 4, "voxel_height": 0.5}
    return detector_config(lidar_encoder=encoder)


def camera_config() -> dict:
    return detector_config(lidar_encoder=None, camera_encoder=CAMERA)


def fusion_config() -> dict:
    return detector_config(camera_encoder=CAMERA, fusion={"type": "ChannelAttentionFusion", "out_channels": 16})


def camera_matrix(yaw: float, position=(0.0, 0.0, 0.0)) -> np.ndarray:
    """lidar2img [4, 4] of a level pinhole camera that looks along (cos yaw, sin yaw); u right, v down."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    rotation = np.array([[sin, -cos, 0.0], [0.0, 0.0, -1.0], [cos, sin, 0.0]])
    intrinsics = np.array([[FOCAL, 0.0, (IMAGE[1] - 1) / 2], [0.0, FOCAL, (IMAGE[0] - 1) / 2], [0.0, 0.0, 1.0]])
    matrix = np.eye(4)
    matrix[:3, :3] = intrinsics @ rotation
    matrix[:3, 3] = -matrix[:3, :3] @ np.asarray(position)
    return matrix


def ring(count: int = 6) -> np.ndarray:
    """[N, 4, 4]: cameras all around."""
    return np.stack([camera_matrix(2 * math.pi * n / count) for n in range(count)])


def sample(boxes: torch.Tensor, labels: torch.Tensor):
    """A data sample with ground truth and the six cameras, without ``box_type_3d`` as a hand-made one would be."""
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    data_sample = Det3DDataSample(metainfo={"lidar2img": ring()})
    data_sample.gt_instances_3d = InstanceData(bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9), labels_3d=labels)
    return data_sample


def one_of_each(seed: int = 0):
    """Boxes [10, 9] and labels [10], one object of each class, 6 m apart, and a cloud [N, 5] that fills them."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.zeros(len(CLASSES), 9)
    for k in range(len(CLASSES)):
        x, y = -12.7 + 6 * (k % 5), -3.6 + 7 * (k // 5)
        boxes[k] = torch.tensor([x, y, -1.5, 3.0, 1.5, 1.0 + 0.2 * k, 0.3 * k, 1.0, -0.5])
    inside = torch.rand(len(CLASSES), 60, 3, generator=generator) - 0.5
    inside[..., 2] += 0.5
    cos, sin = boxes[:, None, 6].cos(), boxes[:, None, 6].sin()
    offset = inside * boxes[:, None, 3:6]
    x = offset[..., 0] * cos - offset[..., 1] * sin
    y = offset[..., 0] * sin + offset[..., 1] * cos
    xyz = torch.stack((x, y, offset[..., 2]), -1) + boxes[:, None, :3]
    intensity = (torch.arange(len(CLASSES)) * 20.0)[:, None, None].expand(-1, 60, 1)
    cloud = torch.cat((xyz, intensity, torch.zeros(len(CLASSES), 60, 1)), -1).reshape(-1, 5)
    return boxes, torch.arange(len(CLASSES)), cloud

"""3D detectors in bird's-eye view; importing this package registers them with mmdet3d."""

from bevkd.detectors import sparse  # first: it quietens what spconv warns of when mmdet3d imports it
from bevkd.detectors.bev_detector import BEVDetector
from bevkd.detectors.bev_encoder import BEVEncoder
from bevkd.detectors.bevformer import BEVFormerEncoder
from bevkd.detectors.camera_batch import CameraBatch, CameraEncoder
from bevkd.detectors.center_head import LabelOrder, SlimCenterHead, build_center_head
from bevkd.detectors.depth_net import CameraAwareDepthNet, DepthNet
from bevkd.detectors.fusion import ChannelAttentionFusion
from bevkd.detectors.lift_splat import LiftSplatEncoder
from bevkd.detectors.pillar import PillarEncoder
from bevkd.detectors.temporal import TemporalEncoder
from bevkd.detectors.voxel import VoxelEncoder

__all__ = [
    "BEVDetector",
    "BEVEncoder",
    "BEVFormerEncoder",
    "CameraAwareDepthNet",
    "CameraBatch",
    "CameraEncoder",
    "ChannelAttentionFusion",
    "DepthNet",
    "LabelOrder",
    "LiftSplatEncoder",
    "PillarEncoder",
    "SlimCenterHead",
    "TemporalEncoder",
    "VoxelEncoder",
    "build_center_head",
    "sparse",
]

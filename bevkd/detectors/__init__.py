"""3D detectors in bird's-eye view; importing this package registers them with mmdet3d."""

from bevkd.detectors.bev_detector import BEVDetector
from bevkd.detectors.bev_encoder import BEVEncoder
from bevkd.detectors.center_head import LabelOrder, SlimCenterHead, build_center_head
from bevkd.detectors.lift_splat import LiftSplatEncoder
from bevkd.detectors.pillar import PillarEncoder

__all__ = [
    "BEVDetector",
    "BEVEncoder",
    "LabelOrder",
    "LiftSplatEncoder",
    "PillarEncoder",
    "SlimCenterHead",
    "build_center_head",
]

"""Scores by the official tools or their rules (importing registers the metrics)."""

from . import kitti_overlaps
from .nuscenes import NuScenesBEVMetric, evaluate
from .waymo_metric import WaymoBEVMetric

kitti_overlaps.install()

__all__ = ["NuScenesBEVMetric", "WaymoBEVMetric", "evaluate"]

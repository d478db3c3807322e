"""Scores by the official tools or their rules (importing registers the metrics)."""

from .nuscenes import NuScenesBEVMetric, evaluate
from .waymo_metric import WaymoBEVMetric

__all__ = ["NuScenesBEVMetric", "WaymoBEVMetric", "evaluate"]

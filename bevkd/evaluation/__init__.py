"""Scores by the official tools (importing registers the metrics)."""

from .nuscenes import NuScenesBEVMetric, evaluate

__all__ = ["NuScenesBEVMetric", "evaluate"]

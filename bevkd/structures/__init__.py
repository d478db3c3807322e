"""Frames, points and named features that every other part shares."""

from bevkd.structures.bev_grid import BEVGrid
from bevkd.structures.keypoints import box_corners_bev, gaussian_radius, nine_keypoints, sample_bev

__all__ = ["BEVGrid", "box_corners_bev", "gaussian_radius", "nine_keypoints", "sample_bev"]

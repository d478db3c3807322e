"""Boxes as line segments: in the ground plane, in space, and clipped to a camera's view."""

from __future__ import annotations

import numpy as np
import torch

from bevkd.structures import box_corners_bev

# Corners 0-3 are the bottom face counter-clockwise from front-left, 4-7 the top face above them.
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
FRONT_FACE = (0, 3, 7, 4)
HEADING_OVERHANG = 1.0


def bev_outlines(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Closed outlines and heading ticks in the ground plane.

    Args:
        boxes: [M, >=7] x, y, z, dx, dy, dz, yaw (metres, radians).

    Returns:
        outlines [M, 5, 2], counter-clockwise from front-left, last point = first; ticks [M, 2, 2] from the centre
        to 1 m ahead of the front edge. A box at the origin with dx 4, dy 2 and yaw 0 starts at (2, 1) and its tick
        ends at (3, 0).
    """
    corners = box_corners_bev(torch.as_tensor(boxes, dtype=torch.float64)).numpy()
    outlines = np.concatenate((corners, corners[:, :1]), 1)
    heading = np.stack((np.cos(boxes[:, 6]), np.sin(boxes[:, 6])), -1)
    tips = boxes[:, :2] + heading * (boxes[:, 3:4] / 2 + HEADING_OVERHANG)
    return outlines, np.stack((boxes[:, :2], tips), 1)


def box_corners_3d(boxes: np.ndarray) -> np.ndarray:
    """[M, 8, 3] corners of bottom-centre boxes [M, >=7]: bottom face first, each face starting front-left."""
    corners = box_corners_bev(torch.as_tensor(boxes, dtype=torch.float64)).numpy()
    bottom = np.concatenate((corners, np.broadcast_to(boxes[:, None, 2:3], (len(boxes), 4, 1))), -1)
    return np.concatenate((bottom, bottom + boxes[:, None, None, 5] * np.array([0.0, 0.0, 1.0])), 1)


def project(points: np.ndarray, lidar2img: np.ndarray) -> np.ndarray:
    """[..., 3] metres to [..., 3] (u d, v d, d): undivided, so that straight lines stay straight behind the camera."""
    return points @ lidar2img[:3, :3].T + lidar2img[:3, 3]


def _view_planes(width: int, height: int, near: float) -> np.ndarray:
    """[5, 4] planes p with p . (u d, v d, d, 1) >= 0 inside the view: near, left, right, top, bottom.

    Pixel centres have whole coordinates, so an image of W columns spans u from -0.5 to W - 0.5.
    """
    return np.array(
        [
            [0, 0, 1, -near],
            [1, 0, 0.5, 0],
            [-1, 0, width - 0.5, 0],
            [0, 1, 0.5, 0],
            [0, -1, height - 0.5, 0],
        ],
        dtype=np.float64,
    )


def clip_segments(segments: np.ndarray, width: int, height: int, near: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Clip undivided segments to what the camera sees, then divide by depth.

    A segment that crosses the camera plane is cut at depth ``near``; dividing first would mirror its far end.

    Args:
        segments: [S, 2, 3] ends as (u d, v d, d).
        width, height: image size in pixels.
        near: least depth in metres.

    Returns:
        pixels [K, 2, 2] (u, v) and the index [K] of the segment each piece comes from.
    """
    planes = _view_planes(width, height, near)
    distance = segments @ planes[:, :3].T + planes[:, 3]  # [S, 2, 5]
    start, end = distance[:, 0], distance[:, 1]
    span = np.where(start == end, 1.0, start - end)
    crossing = start / span
    enter = np.where((start < 0) & (end >= 0), crossing, 0.0).max(1, initial=0.0)
    leave = np.where((start >= 0) & (end < 0), crossing, 1.0).min(1, initial=1.0)
    seen = ~((start < 0) & (end < 0)).any(1) & (enter < leave)
    index = np.flatnonzero(seen)
    first, way = segments[index, 0], segments[index, 1] - segments[index, 0]
    ends = np.stack((first + enter[index, None] * way, first + leave[index, None] * way), 1)
    return ends[..., :2] / ends[..., 2:], index


def clip_polygon(polygon: np.ndarray, width: int, height: int, near: float = 0.1) -> np.ndarray:
    """Clip one convex polygon [P, 3] of (u d, v d, d) to the view: pixels [Q, 2], empty when nothing is seen."""
    for plane in _view_planes(width, height, near):
        if not len(polygon):
            return np.zeros((0, 2))
        distance = polygon @ plane[:3] + plane[3]
        kept = []
        for point, value, after, next_value in zip(
            polygon, distance, np.roll(polygon, -1, 0), np.roll(distance, -1), strict=True
        ):
            if value >= 0:
                kept.append(point)
            if (value < 0) != (next_value < 0):
                kept.append(point + value / (value - next_value) * (after - point))
        polygon = np.array(kept).reshape(-1, 3)
    return polygon[:, :2] / polygon[:, 2:]

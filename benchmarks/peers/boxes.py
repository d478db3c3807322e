"""Peers of the box ops: what a user writes without them, in NumPy, torch and shapely."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def numpy_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Greedy suppression in the customary form: a loop over kept boxes, all that are left compared at once."""
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        w = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        h = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest])
        shared = w.clip(0) * h.clip(0)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= threshold]
    return np.asarray(kept)


def greedy(ious: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Suppression over a matrix of all pairs."""
    order = torch.sort(scores, stable=True, descending=True).indices
    hides = (ious > threshold)[order][:, order].cpu().numpy()
    alive, kept = np.ones(len(order), dtype=bool), []
    for i in range(len(order)):
        if alive[i]:
            kept.append(i)
            alive &= ~hides[i]
    return order[torch.tensor(kept, dtype=torch.int64, device=order.device)]


def shapely_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """All pairs of rotated boxes as polygons, with shapely's vectorized intersection."""
    import shapely

    def polygons(boxes: np.ndarray) -> np.ndarray:
        x, y, w, h, angle = boxes.T[..., None]
        along, across = w / 2 * np.array([1, -1, -1, 1]), h / 2 * np.array([1, 1, -1, -1])
        cos, sin = np.cos(angle), np.sin(angle)
        return shapely.polygons(np.stack((x + along * cos - across * sin, y + along * sin + across * cos), -1))

    a, b = polygons(first)[:, None], polygons(second)
    shared = shapely.area(shapely.intersection(a, b))
    return shared / (shapely.area(a) + shapely.area(b) - shared)


def torch_points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """[T, M] bool: every point turned into the frame of every box."""
    x, y, bottom, dx, dy, dz, yaw = boxes.T[..., None]
    px, py, pz = points.T
    along = (px - x) * yaw.cos() + (py - y) * yaw.sin()
    across = (py - y) * yaw.cos() - (px - x) * yaw.sin()
    return ((pz - (bottom + dz / 2)).abs() <= dz / 2) & (along.abs() < dx / 2) & (across.abs() < dy / 2)

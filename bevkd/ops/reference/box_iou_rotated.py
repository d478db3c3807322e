"""Twin of :mod:`bevkd.ops.box_iou_rotated`: polygons as lists of points, cut edge by edge in the common frame."""

import math

import torch
from torch import Tensor

Point = tuple[float, float]


def corners(box: list[float]) -> list[Point]:
    """Counter-clockwise corners of (x, y, w, h, angle)."""
    x, y, w, h, angle = box
    cos, sin = math.cos(angle), math.sin(angle)
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return [(x + (a * w * cos - b * h * sin) / 2, y + (a * w * sin + b * h * cos) / 2) for a, b in signs]


def cut(polygon: list[Point], start: Point, end: Point) -> list[Point]:
    """The part of a polygon on the left of the line from ``start`` to ``end``."""

    def side(p: Point) -> float:
        return (end[0] - start[0]) * (p[1] - start[1]) - (end[1] - start[1]) * (p[0] - start[0])

    kept = []
    for here, after in zip(polygon, polygon[1:] + polygon[:1]):
        s, t = side(here), side(after)
        if s >= 0:
            kept.append(here)
        if s * t < 0:
            share = s / (s - t)
            kept.append((here[0] + share * (after[0] - here[0]), here[1] + share * (after[1] - here[1])))
    return kept


def area(polygon: list[Point]) -> float:
    """Shoelace formula about the first corner."""
    if not polygon:
        return 0.0
    x0, y0 = polygon[0]
    shifted = [(x - x0, y - y0) for x, y in polygon]
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(shifted, shifted[1:] + shifted[:1]))) / 2


def ratio(a: list[float], b: list[float], over_first: bool = False) -> float:
    """Intersection over union, or over the area of ``a``; 0 for a side <= 0 or a value that is not finite."""
    if min(a[2], a[3], b[2], b[3]) <= 0 or not all(map(math.isfinite, a + b)):
        return 0.0
    polygon = corners(b)
    edges = corners(a)
    for start, end in zip(edges, edges[1:] + edges[:1]):
        polygon = cut(polygon, start, end)
    shared, first = area(polygon), a[2] * a[3]
    return shared / (first if over_first else first + b[2] * b[3] - shared)


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor, aligned: bool = False, over_first: bool = False) -> Tensor:
    """[M, K], or [M] when aligned."""
    rows, columns = boxes1.tolist(), boxes2.tolist()
    if aligned:
        return boxes1.new_tensor([ratio(a, b, over_first) for a, b in zip(rows, columns)])
    table = [[ratio(a, b, over_first) for b in columns] for a in rows]
    return torch.tensor(table, dtype=boxes1.dtype).reshape(len(rows), len(columns))

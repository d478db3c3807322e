"""Twin of :mod:`bevkd.ops.waymo_matching`: one frame, group and cut-off after the other, always by the full search.

The overlap follows the official metrics' steps (edges of both outlines chase each other), with exact fractions where
the sign of a cross product is in doubt; the assignment is Kuhn and Munkres' method on lists.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bevkd.ops.reference.box_iou_rotated import ratio

Point = tuple[float, float]
DOUBT = 2.0**-50


def cross(a: Point, b: Point, c: Point, d: Point) -> float:
    """(b - a) x (d - c), exact where rounding could hide its sign."""
    if a == b or c == d:
        return 0.0
    value = (b[0] - a[0]) * (d[1] - c[1]) - (b[1] - a[1]) * (d[0] - c[0])
    if abs(value) > DOUBT:
        return value
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = (map(Fraction, point) for point in (a, b, c, d))
    return float((bx - ax) * (dy - cy) - (by - ay) * (dx - cx))


def corners(box: list[float]) -> list[Point]:
    """Counter-clockwise from the rear left one, of (x, y, z, length, width, height, heading)."""
    x, y, _, length, width, _, heading = box
    rx, ry = math.cos(heading) * (length / 2), math.sin(heading) * (length / 2)
    rear, front = (x - rx, y - ry), (x + rx, y + ry)
    per_metre, half = 1 / length, width / 2
    lx, ly = -(front[1] - rear[1]) * per_metre * half, (front[0] - rear[0]) * per_metre * half
    return [
        (rear[0] + lx, rear[1] + ly), (rear[0] - lx, rear[1] - ly),
        (front[0] - lx, front[1] - ly), (front[0] + lx, front[1] + ly),
    ]  # fmt: skip


def between(a: Point, b: Point, p: Point) -> bool:
    return all(min(a[k], b[k]) <= p[k] <= max(a[k], b[k]) for k in range(2))


def meeting(p0: Point, p1: Point, q0: Point, q1: Point, det: float) -> Point | None:
    """A common point of two segments; det is (p1 - p0) x (q0 - q1)."""
    if det == 0:
        if cross(p0, p1, p0, q0) != 0:
            return None
        on_q = [p for p in (p0, p1) if between(q0, q1, p)]
        return next(iter(on_q + [q for q in (q0, q1) if between(p0, p1, q)]), None)
    sign, size = math.copysign(1, det), abs(det)
    doubt = max(size, 1.0) * DOUBT
    along_p, along_q = cross(p0, q0, q1, q0), cross(p0, p1, p0, q0)
    from_ends = (cross(p1, q1, q0, q1), cross(p1, p0, p1, q1))
    for share, from_end in zip((along_p, along_q), from_ends):
        if share * sign < 0 or share * sign > size + doubt:
            return None
        if share * sign > size - doubt and from_end * sign < 0:
            return None
    t = max(0.0, min(1.0, along_p / det))
    return p0[0] + (p1[0] - p0[0]) * t, p0[1] + (p1[1] - p0[1]) * t


def inside(polygon: list[Point], point: Point) -> bool:
    if not between(*frame(polygon), point):
        return False
    for a, b in zip(polygon, polygon[1:] + polygon[:1]):
        if (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0]) < 0:
            return False
    return True


def frame(polygon: list[Point]) -> tuple[Point, Point]:
    xs, ys = zip(*polygon)
    return (min(xs), min(ys)), (max(xs), max(ys))


def area(polygon: list[Point]) -> float:
    x0, y0 = polygon[0]
    twice = 0.0
    for (ax, ay), (bx, by) in itertools.pairwise(polygon[1:]):
        twice += (ax - x0) * (by - y0) - (ay - y0) * (bx - x0)
    return 0.0 if abs(twice) <= 1e-10 else twice / 2


def chased_overlap(p: list[Point], q: list[Point]) -> float:
    """Area of the intersection of two convex polygons of four corners, after O'Rourke et al. 1982."""
    (p_low, p_high), (q_low, q_high) = frame(p), frame(q)
    if any(p_low[k] > q_high[k] or q_low[k] > p_high[k] for k in range(2)):
        return 0.0
    shared: list[Point] = []

    def add(point: Point) -> None:
        if not shared or point not in (shared[0], shared[-1]):
            shared.append(point)

    i = j = turn = 0
    who = ""
    while turn < 16:
        p0, p1, q0, q1 = p[i], p[(i + 1) % 4], q[j], q[(j + 1) % 4]
        det, beside = cross(p0, p1, q1, q0), cross(q1, q0, p1, q0)
        point = meeting(p0, p1, q0, q1, det)
        if point is not None:
            if len(shared) > 2 and point == shared[0]:
                return area(shared)
            turn = turn if shared else 7
            add(point)
            who = "p" if beside >= 0 else "q"
        if beside < 0 if det >= 0 else cross(p1, p0, q1, p0) >= 0:
            if who == "p":
                add(p1)
            i = (i + 1) % 4
        else:
            if who == "q":
                add(q1)
            j = (j + 1) % 4
        turn += 1
    if shared:
        return 0.0
    for inner, outer in ((p, q), (q, p)):
        if all(inside(outer, point) for point in inner):
            return area(inner)
    return 0.0


def iou(a: list[float], b: list[float], exact: bool) -> float:
    """3D, of (x, y, z, length, width, height, heading)."""
    sides = a[3:6] + b[3:6]
    if min(sides) <= 1e-2 or max(sides) >= 1e6:
        return 0.0
    height = min(a[2] + a[5] * 0.5, b[2] + b[5] * 0.5) - max(a[2] - a[5] * 0.5, b[2] - b[5] * 0.5)
    if height < 0:
        return 0.0
    if exact:
        plans = [[box[0], box[1], box[3], box[4], box[6]] for box in (a, b)]
        over_union = ratio(plans[0], plans[1])  # shared / (first + second - shared)
        base = over_union * (a[3] * a[4] + b[3] * b[4]) / (1 + over_union)
    else:
        base = chased_overlap(corners(a), corners(b))
    shared = base * height
    union = a[3] * a[4] * a[5] + b[3] * b[4] * b[5] - shared
    return 0.0 if union <= 1e-6 else max(min(shared / union, 1.0), 0.0)


def heading_accuracy(a: float, b: float) -> np.float32:
    def wrapped(angle: float) -> np.float32:
        turn, shifted = 2 * math.pi, angle + math.pi
        rest = shifted - math.trunc(shifted * (1 / turn)) * turn
        if rest < 0:
            rest = 0.0 if turn + rest >= turn else turn + rest
        return np.float32(rest - math.pi)

    apart = abs(wrapped(a) - wrapped(b))
    if apart > math.pi:
        apart = np.float32(2 * math.pi - float(apart))
    return np.float32(min(1.0, max(0.0, 1 - float(apart) / math.pi)))


def assign(weight: list[list[int]]) -> list[int]:
    """The column of each row in the heaviest assignment of a square matrix; rows and columns in ascending order."""
    size = len(weight)
    row_label, column_label = [max(row) for row in weight], [0] * size
    column_of: dict[int, int] = {}
    row_of: dict[int, int] = {}

    def neighbours(rows: list[int]) -> dict[int, int]:
        reached: dict[int, int] = {}
        for row in rows:
            for column in range(size):
                if row_label[row] + column_label[column] == weight[row][column]:
                    reached.setdefault(column, row)
        return reached

    for root in range(size):
        rows: list[int] = [root]
        parent: dict[int, int] = {}
        reached = neighbours(rows)
        while True:
            if not reached.keys() - parent.keys():
                free = [c for c in range(size) if c not in parent]
                slack = min(row_label[r] + column_label[c] - weight[r][c] for r in rows for c in free)
                for row in rows:
                    row_label[row] -= slack
                for column in parent:
                    column_label[column] += slack
                reached = neighbours(rows)
            column = next(c for c in reached if c not in parent)
            parent[column] = reached[column]
            if column not in row_of:
                break
            rows.append(row_of[column])
            for found, row in neighbours(rows[-1:]).items():
                reached.setdefault(found, row)
        while True:
            row = parent[column]
            before = column_of.get(row)
            column_of[row], row_of[column] = column, row
            if row == root or before is None:
                break
            column = before
    return [column_of[row] for row in range(size)]


def tolerant(a: list[float], b: list[float], exact: bool, longitudinal: Any) -> tuple[np.float32, np.float32]:
    """The IoU of ``a``, moved along its line of sight to where it is closest to ``b``, and its affinity."""
    if longitudinal is None:
        return np.float32(iou(a, b, exact)), np.float32(1)
    sensor, share, least = longitudinal
    p, t = ([box[k] - sensor[k] for k in range(3)] for box in (a, b))
    dot, pp, tt = (sum(u * v for u, v in zip(*pair)) for pair in ((p, t), (p, p), (t, t)))
    moved = [v * (dot / max(pp, 1e-6)) for v in p]
    far, seen = max(math.sqrt(tt), 1e-6), max(math.sqrt(pp), 1e-6)
    tolerance = float(np.float32(max(float(np.float32(share)) * far, float(np.float32(least)))))
    error = abs((seen * (dot / far / seen) - far) / tolerance)
    return np.float32(iou(moved + a[3:], t + b[3:], exact)), np.float32(min(max(1 - error, 0), 1))


def waymo_matching(
    predictions: Sequence[Tensor],
    truths: Sequence[Tensor],
    groups: int,
    iou_thresholds: Sequence[float],
    score_cutoffs: Sequence[float],
    exact: bool = False,
    longitudinal: Any = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """counts [G, C, 4] int64, heading and affinity [G, C] float32."""
    counts = torch.zeros(groups, len(score_cutoffs), 4, dtype=torch.int64)
    heading, affinity = torch.zeros(2, groups, len(score_cutoffs), dtype=torch.float32)
    thresholds = np.asarray(iou_thresholds, dtype=np.float32)
    p_all, t_all = ([tensor.tolist() for tensor in side] for side in (predictions, truths))
    for f in range(len(p_all[-1]) - 1):
        p = [column[p_all[-1][f] : p_all[-1][f + 1]] for column in p_all[:-1]]
        t = [column[t_all[-1][f] : t_all[-1][f + 1]] for column in t_all[:-1]]
        for group in range(groups):
            for cutoff, score in enumerate(np.asarray(score_cutoffs, dtype=np.float32)):
                row, accuracy, close = count_one(p, t, group, score, thresholds, exact, longitudinal)
                counts[group, cutoff] += torch.tensor(row)
                heading[group, cutoff] += torch.tensor(accuracy)
                affinity[group, cutoff] += torch.tensor(close)
    return counts, heading, affinity


def count_one(
    p: list[Any], t: list[Any], group: int, cutoff: float, thresholds: Any, exact: bool, longitudinal: Any
) -> tuple[list[int], float, float]:
    """(hits, false alarms, misses, misses) and the sums of accuracies and affinities of a frame, group and cut-off."""
    p_boxes, p_types, scores, excused, p_groups = p
    t_boxes, t_types, difficulties, t_groups, counted = t
    rows = [i for i in range(len(p_boxes)) if p_groups[i] >> group & 1 and np.float32(scores[i]) >= cutoff]
    columns = [j for j in range(len(t_boxes)) if t_groups[j] >> group & 1]
    ious, affinities = np.zeros((2, len(rows), len(columns)), dtype=np.float32)
    for r, i in enumerate(rows):
        for c, j in enumerate(columns):
            if p_types[i] == t_types[j]:
                ious[r, c], affinities[r, c] = tolerant(p_boxes[i], t_boxes[j], exact, longitudinal)
    size = max(len(rows), len(columns))
    weight = [[0] * size for _ in range(size)]
    for r, i in enumerate(rows):
        for c in range(len(columns)):
            if ious[r, c] >= thresholds[p_types[i]] and affinities[r, c] > 0:
                weight[r][c] = math.floor(float(ious[r, c] * affinities[r, c] * np.float32(1e6)) + 0.5)
    column_of = assign(weight) if rows and columns else [size] * size
    inside_group = [bool(counted[j] >> group & 1) for j in columns]
    result, accuracy, close, found = [0, 0, 0, 0], np.float32(0), np.float32(0), set()
    for r, i in enumerate(rows):
        c = column_of[r]
        if c < len(columns) and weight[r][c] > 0:
            found.add(c)
            if inside_group[c]:
                result[0] += 1
                accuracy += heading_accuracy(p_boxes[i][6], t_boxes[columns[c]][6])
                close += affinities[r, c]
        elif not excused[i]:
            near = [c for c in range(len(columns)) if ious[r, c] >= 0.01]
            closest = max(near, key=lambda c: (ious[r, c], c), default=None)
            result[1] += closest is None or inside_group[closest]
    for c, j in enumerate(columns):
        if c not in found and inside_group[c]:
            result[2] += difficulties[j] <= 1
            result[3] += difficulties[j] <= 2
    return result, float(accuracy), float(close)

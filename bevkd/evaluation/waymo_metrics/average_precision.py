"""Average precision from counts at rising score cut-offs, rounded to single precision where the official tool is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

F32 = np.float32
_STEP = F32(0.05)  # recall
_SLACK = F32(1e-6)


def average_precision(precisions: Sequence[float], recalls: Sequence[float]) -> float:
    """Area under the precision-recall curve.

    A point's precision is the best at its recall or beyond. Gaps in recall above 0.05 are filled with points of the
    precision at the gap's far end, so that a curve of few points is not overrated; at recall 0 the curve is level.

    Example: precision 1 at recall 0.1 and 0.2 at recall 1 give 0.1 x 1 + 0.05 x 0.6 + 0.85 x 0.2 = 0.3.

    Args:
        precisions: float32, one a cut-off.
        recalls: float32, in any order.
    """
    best = {F32(0): F32(1)}
    for precision, recall in zip(precisions, recalls):
        best[recall] = max(best.get(recall, F32(0)), precision)
    curve, last, top = [], F32(0), F32(0)
    for recall in sorted(best, reverse=True):
        while last - recall > _STEP + _SLACK:
            last = last - _STEP
            curve.append([top, last])
        top = max(best[recall], top)
        curve.append([top, recall])
        last = recall
    if len(curve) > 1:
        curve[-1][0] = curve[-2][0]
    area = F32(0)
    for (p0, r0), (p1, r1) in itertools.pairwise(curve):
        area = F32(float(area) + 0.5 * float(r0 - r1) * float(p0 + p1))
    return float(area)


def precision_recall(
    hits: np.ndarray, weighted: np.ndarray, false_alarms: np.ndarray, misses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Precisions (of ``weighted`` hits) and recalls (of plain ones), [C] float32 each.

    Where nothing was found precision is 1, so that such a cut-off says nothing about precision.
    """
    seen, there = hits + false_alarms, hits + misses
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(seen > 0, weighted.astype(F32) / seen.astype(F32), F32(0))
        recall = np.where(there > 0, hits.astype(F32) / there.astype(F32), F32(0))
    return np.where(recall == 0, F32(1), precision), recall

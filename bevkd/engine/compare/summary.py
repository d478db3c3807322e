"""What a comparison found: scores, gains paired by seed, and how sure they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bevkd.engine.compare.grid import Grid
from bevkd.engine.compare.job import read_result
from bevkd.errors import ConfigError, nearest


def interval(gains: Sequence[float], level: float = 0.95) -> float | None:
    """Half the width of Student's t-interval of the mean; None for fewer than two numbers.

    >>> round(interval([1.0, 2.0, 3.0]), 4)
    2.4841
    """
    if len(gains) < 2:
        return None
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, len(gains) - 1) * statistics.stdev(gains) / math.sqrt(len(gains)))


def summarise(grid: Grid, out: str | Path) -> dict[str, Any]:
    """What is known so far of ``grid`` below ``out``, as plain JSON values.

    Returns:
        ``name``, ``metrics``, ``splits``, ``seeds``, ``jobs`` (``done`` and ``all``), ``teachers`` (name -> scores by
        split) and ``arms``: for each its path, method, names and goal; ``seeds`` that both it and its control finished;
        ``step_ratio``, the median over them of median step times; and by split and metric the ``teacher``'s score,
        the means ``without`` and ``with`` distillation over those seeds, the mean ``gain``, its ``interval`` and the
        ``gains`` by seed. Scores are as the evaluator gave them, from 0 to 1.
    """
    results = {job.name: read_result(job.work_dir) for job in grid.jobs(out)}
    teachers = {name: results[grid.teacher_job(name, out).name] for name in grid.teachers}
    return {
        "name": grid.name,
        "metrics": list(grid.metrics),
        "splits": dict(grid.splits),
        "seeds": list(grid.seeds),
        "jobs": {"done": sum(result is not None for result in results.values()), "all": len(results)},
        "teachers": {
            name: {split: _scores(result, split, grid.metrics) for split in grid.splits if result and result[split]}
            for name, result in teachers.items()
        },
        "arms": {name: _arm(grid, name, out, results, teachers) for name in grid.arms},
    }


def _arm(
    grid: Grid, name: str, out: str | Path, results: Mapping[str, dict | None], teachers: Mapping[str, dict | None]
) -> dict:
    arm = grid.arms[name]
    pairs = {}
    for seed in grid.seeds:
        pair = [results[job.name] for job in (grid.arm_job(name, seed, out), grid.student_job(arm.student, seed, out))]
        if None not in pair:
            pairs[seed] = pair
    row = {
        "path": arm.path,
        "method": arm.method,
        "teacher": arm.teacher,
        "student": arm.student,
        "goal": arm.goal,
        "seeds": list(pairs),
        "step_ratio": _step_ratio(list(pairs.values())),
    }
    for split in grid.splits:
        if pairs and all(result[split] for pair in pairs.values() for result in pair):
            row[split] = {metric: _gain(pairs, teachers[arm.teacher], split, metric) for metric in grid.metrics}
    return row


def _gain(pairs: Mapping[int, list[dict]], teacher: dict | None, split: str, metric: str) -> dict:
    scores = {seed: [_score(result, split, metric) for result in pair] for seed, pair in pairs.items()}
    gains = [mine - control for mine, control in scores.values()]
    return {
        "teacher": _score(teacher, split, metric) if teacher and teacher[split] else None,
        "without": statistics.fmean(control for _, control in scores.values()),
        "with": statistics.fmean(mine for mine, _ in scores.values()),
        "gain": statistics.fmean(gains),
        "interval": interval(gains),
        "gains": dict(zip(map(str, scores), gains)),
    }


def _step_ratio(pairs: Sequence[list[dict]]) -> float | None:
    ratios = [mine["step_s"] / control["step_s"] for mine, control in pairs if mine["step_s"] and control["step_s"]]
    return statistics.median(ratios) if ratios else None


def _scores(result: Mapping[str, Any], split: str, metrics: Sequence[str]) -> dict[str, float]:
    return {metric: _score(result, split, metric) for metric in metrics}


def _score(result: Mapping[str, Any], split: str, metric: str) -> float:
    """One score of a finished job.

    Raises:
        ConfigError: the job's evaluator does not give it.
    """
    if metric not in result[split]:
        raise ConfigError(f"metrics name {metric!r}, which no evaluator gave{nearest(metric, result[split])}")
    return result[split][metric]

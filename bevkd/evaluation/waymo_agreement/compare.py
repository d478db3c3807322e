"""bevkd's numbers beside the official ones, scene by scene."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bevkd.evaluation.waymo import load, match, score
from bevkd.evaluation.waymo_metrics.average_precision import precision_recall
from bevkd.evaluation.waymo_metrics.objects import Objects
from bevkd.evaluation.waymo_metrics.rules import CAMERA_ONLY, DETECTION, Rules

TOLERANCE = 1e-5
RULES = {"detection": DETECTION, "let": CAMERA_ONLY}
#: The official op's outputs by the keys of our scores.
SCORE_KEYS = {
    "detection": {"ap": "AP", "aph": "APH"},
    "let": {"apl": "LET-APL", "ap": "LET-AP", "aph": "LET-APH"},
}


@dataclass
class Result:
    """The largest difference of one kind of number in one scene, among ``count`` of them."""

    scene: str
    metric: str
    number: str
    count: int
    difference: float
    tolerance: float = TOLERANCE


def measure(metric: str, predictions: Path, ground_truth: Path) -> dict[str, np.ndarray]:
    """Our numbers in the official op's layout: scores [B], counts [B, C, 3] (TP, FP, FN), weighted precision [B, C]."""
    rules = RULES[metric]
    found, truth, _ = load(_predictions(predictions), ground_truth, True, rules, doubt=False)
    scores = score(found, truth, rules=rules)
    suffixes = {name: f"/{key}" for name, key in SCORE_KEYS[metric].items()}
    numbers = {
        name: np.array([value for key, value in scores.items() if key.endswith(suffix)])
        for name, suffix in suffixes.items()
    }
    return numbers | _curves(rules, *match(found, truth, rules))


def _predictions(path: Path) -> Objects | Path:
    """Without any prediction the official file is empty, which a user's file may not be."""
    if path.stat().st_size:
        return path
    return Objects.from_arrays(np.empty((0, 7)), [], [], source=str(path))


def _curves(rules: Rules, counts: np.ndarray, heading: np.ndarray, affinity: np.ndarray) -> dict[str, np.ndarray]:
    rows = {"counts": [], "precision_heading": [], "precision_longitudinal": []}
    for group in range(len(counts)):
        hits, false_alarms, *misses = counts[group].T
        for level in rules.levels:
            missed = misses[level - 1]
            rows["counts"].append(np.stack([hits, false_alarms, missed], -1))
            rows["precision_heading"].append(precision_recall(hits, heading[group], false_alarms, missed)[0])
            rows["precision_longitudinal"].append(precision_recall(hits, affinity[group], false_alarms, missed)[0])
    return {key: np.array(value) for key, value in rows.items()}


def compare(folder: Path) -> list[Result]:
    """Every scene of ``folder``, which holds the Objects files and ``official.npz``."""
    official = np.load(folder / "official.npz")
    results = []
    for row, name in enumerate(map(str, official["scenes"])):
        for metric in RULES:
            expected = {k.partition(".")[2]: official[k][row] for k in official.files if _per_scene(k, metric)}
            results += compare_scene(name, metric, folder / f"{name}.pd.bin", folder / f"{name}.gt.bin", expected)
    return results


def _per_scene(key: str, metric: str) -> bool:
    return key.startswith(f"{metric}.") and not key.endswith(".breakdowns")


def compare_scene(
    name: str, metric: str, predictions: Path, ground_truth: Path, official: Mapping[str, np.ndarray]
) -> Iterator[Result]:
    """One result for each kind of number that we have."""
    for number, ours in measure(metric, predictions, ground_truth).items():
        theirs = np.asarray(official[number], dtype=np.float64)
        if ours.shape != theirs.shape:
            raise ValueError(f"{name}: {metric} {number} has shape {ours.shape}, the official one {theirs.shape}")
        yield Result(name, metric, number, ours.size, float(np.abs(ours - theirs).max()))


def report(results: list[Result]) -> tuple[str, dict]:
    """A table with a line for each kind of scene, and its summary."""
    lines = [f"{'scenes':<22}{'number':>7}{'numbers compared':>18}{'largest difference':>20}"]
    kinds: dict[str, list[Result]] = {}
    for result in results:
        kinds.setdefault(result.scene.rpartition("-")[0] or result.scene, []).append(result)
    for kind, rows in kinds.items():
        scenes, numbers = len({r.scene for r in rows}), sum(r.count for r in rows)
        lines.append(f"{kind:<22}{scenes:>7}{numbers:>18}{max(r.difference for r in rows):>20.3g}")
    worst = max(results, key=lambda r: r.difference / r.tolerance)
    summary = {
        "scenes": len({r.scene for r in results}),
        "numbers": sum(r.count for r in results),
        "largest_difference": worst.difference,
        "where": f"{worst.scene}: {worst.metric} {worst.number}",
        "agree": worst.difference <= worst.tolerance,
    }
    return "\n".join(lines), summary

"""Loss curves of several runs from the scalars that mmengine's LocalVisBackend writes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from bevkd.errors import DataError
from bevkd.visualization.style import FAINT, INK, add_pixel_axes, new_figure, save_figure

RUN_COLOURS = ("#6a51a3", "#c8751c", "#0f8b72", "#2b7bba", "#d6336c")
PART_COLOURS = ("#0f8b72", "#d6336c", "#2b7bba", "#c8751c", "#6a51a3", "#7a8490")
RUN_STYLES = ("-", "--", ":", "-.")
PANEL_WIDTH, PANEL_HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 400, 84, 24, 56, 70
# A panel turns logarithmic when its curves span more than this ratio.
LOG_RATIO = 30.0

Curve = tuple[np.ndarray, np.ndarray]


def read_scalars(path: str | os.PathLike) -> dict[str, Curve]:
    """Training scalars of one run: tag -> (steps [n], values [n]), steps rising.

    Args:
        path: a ``scalars.json`` of JSON lines, or a work dir: then every ``vis_data/scalars.json`` below it is read
            in the order of its folder names. A resumed run overrides what the killed one wrote past that step.

    Raises:
        DataError: no such file, or not one line of training scalars in it. Single broken lines, as a kill leaves
            them, are skipped.
    """
    path = Path(path)
    files = sorted(path.glob("**/vis_data/scalars.json")) if path.is_dir() else [path]
    records: list[dict] = []
    for file in files:
        lines = _training_lines(file)
        if lines:
            records = [record for record in records if record["step"] < lines[0]["step"]] + lines
    if not records:
        raise DataError(f"{path} holds no training scalars, expected a work dir or a vis_data/scalars.json with 'loss'")
    tags = {tag for record in records for tag, value in record.items() if _is_number(value)} - {"step"}
    curves = {}
    for tag in sorted(tags):
        found = {record["step"]: record[tag] for record in records if _is_number(record.get(tag))}
        steps = np.array(sorted(found), dtype=np.float64)
        curves[tag] = steps, np.array([found[step] for step in steps], dtype=np.float64)
    return curves


def _training_lines(file: Path) -> list[dict]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}), expected JSON lines of scalars") from error
    lines = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and _is_number(record.get("loss")) and _is_number(record.get("step")):
            lines.append(record)
    return lines


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def kd_parts(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The distillation parts of one run, ``<method>/<part>`` -> curve."""
    return {tag.removeprefix("kd/"): curve for tag, curve in curves.items() if tag.startswith("kd/")}


def own_loss(curves: Mapping[str, Curve]) -> Curve:
    """The detector's own loss: the total without the distillation parts of the same step."""
    steps, values = curves["loss"]
    values = values.copy()
    for part_steps, part in kd_parts(curves).values():
        known = dict(zip(part_steps, part, strict=True))
        values -= np.array([known.get(step, 0.0) for step in steps])
    return steps, values


def running_median(values: np.ndarray, window: int) -> np.ndarray:
    """Median over a centred window that shrinks at both ends; robust to single spikes."""
    half = window // 2
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def draw_curves(runs: Mapping[str, str | os.PathLike | Mapping[str, Curve]], path: str | os.PathLike) -> Path:
    """Draw each run's own loss, the totals where they differ from it, and the distillation parts.

    Args:
        runs: title -> work dir, scalars file, or what :func:`read_scalars` returned.
        path: the PNG to write.

    Raises:
        DataError: no run, or a run without scalars.
    """
    if not runs:
        raise DataError("no run to draw, expected at least one title with its work dir")
    read = {title: run if isinstance(run, Mapping) else read_scalars(run) for title, run in runs.items()}
    colours = {title: RUN_COLOURS[i % len(RUN_COLOURS)] for i, title in enumerate(read)}
    own = [(title, own_loss(curves), colours[title], "-") for title, curves in read.items()]
    panels = [("Detection loss", own)]
    if any(kd_parts(curves) for curves in read.values()):
        total = [(title, curves["loss"], colours[title], "-") for title, curves in read.items()]
        panels += [("Total loss, with distillation", total), ("Distillation parts", _parts(read))]

    step = LEFT + PANEL_WIDTH + RIGHT
    figure = new_figure(len(panels) * step, TOP + PANEL_HEIGHT + BOTTOM)
    for index, (title, lines) in enumerate(panels):
        axes = add_pixel_axes(figure, index * step + LEFT, TOP, PANEL_WIDTH, PANEL_HEIGHT)
        _draw_panel(axes, title, lines)
    return save_figure(figure, path)


def _parts(read: Mapping[str, Mapping[str, Curve]]) -> list[tuple[str, Curve, str, str]]:
    with_parts = {title: kd_parts(curves) for title, curves in read.items() if kd_parts(curves)}
    names = sorted({name for parts in with_parts.values() for name in parts})
    colours = {name: PART_COLOURS[i % len(PART_COLOURS)] for i, name in enumerate(names)}
    several = len(with_parts) > 1
    return [
        (f"{title}: {name}" if several else name, curve, colours[name], RUN_STYLES[i % len(RUN_STYLES)])
        for i, (title, parts) in enumerate(with_parts.items())
        for name, curve in parts.items()
    ]


def _draw_panel(axes: Axes, title: str, lines: list[tuple[str, Curve, str, str]]) -> None:
    """Raw values faint, their running median on top; the axis spans the medians, so a spike cannot flatten them."""
    smooth = [running_median(values, max(5, len(values) // 25)) for _, (_, values), _, _ in lines]
    for (label, (steps, values), colour, style), median in zip(lines, smooth, strict=True):
        axes.plot(steps, values, color=colour, linewidth=0.9, alpha=0.25)
        axes.plot(steps, median, color=colour, linewidth=2.4, linestyle=style, label=label)
        if len(steps) == 1:
            axes.plot(steps, values, color=colour, marker="o")
    everything = np.concatenate(smooth)
    low, high = float(everything.min()), float(everything.max())
    if low > 0 and high / low > LOG_RATIO:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.5, high * 1.5)
    else:
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(min(0.0, low - margin) if low < 0.3 * high else low - margin, high + margin)
    axes.set_title(title, fontsize=17, fontweight="bold", color=INK, loc="left", pad=12)
    axes.set_xlabel("iteration", fontsize=13, color=INK)
    axes.tick_params(labelsize=12, colors=INK)
    axes.grid(True, color="#e3e7ec", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.legend(fontsize=13, frameon=True, framealpha=0.85, edgecolor="none", labelcolor=INK)

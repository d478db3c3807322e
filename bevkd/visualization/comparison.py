"""The result of a comparison as a table, a plot and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from bevkd.structures.files import whole_file
from bevkd.visualization.style import FAINT, INK, add_pixel_axes, new_figure, save_figure

Summary = Mapping[str, Any]
SPLITS = {"seen": "validation scenes", "unseen": "unseen scenes"}  # of summaries that name none
SCORES = ("teacher", "without", "with")
COLOURS = {"seen": "#0f8b72", "unseen": "#c8751c"}
ROW, LEFT, PANEL, GAP, TOP, BOTTOM = 58, 330, 460, 40, 96, 76


def comparison_table(summary: Summary) -> str:
    """The summary of :func:`bevkd.engine.compare.summarise` as markdown, scores in points (hundredths).

    Each arm with a result has a line: scores on the validation data, gains there and on unseen data. Several
    metrics stand in one cell, in the order of the heading. A gain is the mean over seeds with its 95% interval, in bold
    where it reaches the arm's goal.
    """
    metrics = " / ".join(summary["metrics"])
    splits = summary.get("splits", SPLITS)
    gains = [f"gain, {title}" for title in splits.values()]
    heads = ("path", "method", f"teacher ({metrics})", "student", "student + KD", *gains, "goal", "seeds", "step")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * 2 + "---:|" * (len(heads) - 2)]
    arms = summary["arms"].values()
    lines += ["| " + " | ".join(_cells(arm, summary["metrics"], splits)) + " |" for arm in arms if "seen" in arm]
    done, total = summary["jobs"]["done"], summary["jobs"]["all"]
    if done < total:
        lines += ["", f"{done} of {total} trainings are done; means are over the seeds that both students finished."]
        without = sum(not arm["seeds"] for arm in arms)
        lines[-1] += f" Without any result yet: {without} of {len(arms)} arms."
    return "\n".join(lines) + "\n"


def _cells(arm: Mapping[str, Any], metrics: list[str], splits: Iterable[str]) -> list[str]:
    scores = [" / ".join(_points(arm["seen"][metric][key]) for metric in metrics) for key in SCORES]
    gains = [
        " / ".join(_gain(arm[split][metric], arm["goal"]) for metric in metrics) if split in arm else "–"
        for split in splits
    ]
    goal = "–" if arm["goal"] is None else f"+{arm['goal']:.1f}"
    step = "–" if arm["step_ratio"] is None else f"{arm['step_ratio']:.2f}x"
    return [arm["path"], arm["method"], *scores, *gains, goal, str(len(arm["seeds"])), step]


def _points(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{100 * value:{sign}.1f}".replace("-", "−")


def _gain(part: Mapping[str, Any], goal: float | None) -> str:
    text = _points(part["gain"], "+")
    if part["interval"] is not None:
        text += f" ± {100 * part['interval']:.1f}"
    return f"**{text}**" if goal is not None and 100 * part["gain"] >= goal else text


def draw_comparison(summary: Summary, path: str | os.PathLike) -> Path | None:
    """Draw every arm's gain by metric: each seed a dot, the mean with its interval, zero as a line.

    Returns:
        ``path``; None where no arm has a result yet.
    """
    splits = summary.get("splits", SPLITS)
    arms = [arm for arm in summary["arms"].values() if any(split in arm for split in splits)]
    if not arms:
        return None
    metrics = summary["metrics"]
    width = LEFT + len(metrics) * (PANEL + GAP)
    figure = new_figure(width, TOP + ROW * len(arms) + BOTTOM)
    for number, metric in enumerate(metrics):
        axes = add_pixel_axes(figure, LEFT + number * (PANEL + GAP), TOP, PANEL, ROW * len(arms))
        _draw_panel(axes, arms, metric, splits, labels=number == 0)
    title = f"{summary['name']}: gain of distillation over the same student without a teacher"
    figure.text(20 / width, 1 - 34 / (TOP + ROW * len(arms) + BOTTOM), title, fontsize=15, color=INK, fontweight="bold")
    return save_figure(figure, path)


def _draw_panel(
    axes: Axes, arms: list[Mapping[str, Any]], metric: str, splits: Mapping[str, str], labels: bool
) -> None:
    axes.axvline(0.0, color=INK, linewidth=1.2)
    for row, arm in enumerate(arms):
        for split, offset in (("seen", -0.16), ("unseen", 0.16)):
            if split in arm:
                _draw_gain(axes, arm[split][metric], row + offset, COLOURS[split])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_yticks(range(len(arms)), [f"{arm['path']}\n{arm['method']}" for arm in arms] if labels else [])
    axes.set_xlabel(f"gain in {metric} (points)", fontsize=12, color=INK)
    axes.tick_params(labelsize=11, colors=INK, length=0)
    axes.grid(True, axis="x", color="#e3e7ec", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    if labels:
        for split, colour in COLOURS.items():
            if any(split in arm for arm in arms):
                axes.plot([], [], "o", color=colour, label=splits[split])
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, fontsize=11, labelcolor=INK)


def _draw_gain(axes: Axes, part: Mapping[str, Any], height: float, colour: str) -> None:
    seeds = [100 * gain for gain in part["gains"].values()]
    axes.plot(seeds, [height] * len(seeds), "o", color=colour, markersize=4, alpha=0.45)
    half = None if part["interval"] is None else 100 * part["interval"]
    axes.errorbar(100 * part["gain"], height, xerr=half, fmt="D", color=colour, markersize=7, capsize=4, linewidth=2)


def write_comparison(summary: Summary, folder: str | os.PathLike) -> Path:
    """Write ``NAME.md``, ``NAME.json`` and ``NAME.png`` into ``folder``; each appears whole or not at all.

    Returns:
        The path of the table.
    """
    folder, name = Path(folder), summary["name"]
    folder.mkdir(parents=True, exist_ok=True)
    text = comparison_table(summary)
    if draw_comparison(summary, folder / f"{name}.png") is not None:
        text += f"\n![gains by arm]({name}.png)\n"
    contents = {".json": json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n", ".md": text}
    for ending, content in contents.items():
        with whole_file(folder / f"{name}{ending}") as file:
            file.write(content.encode())
    return folder / f"{name}.md"

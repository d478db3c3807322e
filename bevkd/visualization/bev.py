"""Bird's-eye-view features as pictures: teacher and students side by side, and where the students differ."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import Normal, Stroke

from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid
from bevkd.visualization.outlines import bev_outlines
from bevkd.visualization.style import (
    DPI,
    FAINT,
    GT_COLOUR,
    INK,
    PREDICTION_COLOUR,
    add_legend,
    add_pixel_axes,
    as_array,
    as_boxes,
    line_handle,
    new_figure,
    save_figure,
)

NOTHING = "#c9ced6"
FEATURE_MAP, DISTANCE_MAP, GAIN_MAP = "viridis", "magma", "BrBG"
PANEL, LEFT, GAP, RIGHT = 500, 96, 40, 120
TITLE, BELOW, LEGEND = 78, 66, 60
# Past this ratio of their ranges two maps share no readable scale, and each gets its own.
MAX_RANGE_RATIO = 8.0


def bev_feature_image(feature: np.ndarray, grid: BEVGrid) -> np.ndarray:
    """How far each cell's feature vector lies from the usual one of this map.

    The median over cells is taken as the usual vector, so a bias that every cell carries does not hide the objects.

    Args:
        feature: [C, Y, X] tensor or array over ``grid``.

    Returns:
        [Y, X] float32, 0 where a cell equals the usual vector; row 0 lies at y_min.

    Raises:
        ConfigError: a shape that is not the grid's. DataError: a value that is not finite.
    """
    array = as_array(feature, np.float32)
    if array.ndim != 3 or array.shape[1:] != grid.shape:
        raise ConfigError(f"BEV feature has shape {array.shape}, expected [C, {grid.shape[0]}, {grid.shape[1]}]")
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise DataError(f"BEV feature has {count} values that are not finite, expected none")
    usual = np.median(array.reshape(len(array), -1), axis=1)
    return np.linalg.norm(array - usual[:, None, None], axis=0)


def robust_range(image: np.ndarray, low: float = 1.0, high: float = 99.5) -> tuple[float, float]:
    """Percentiles of an image as (low, high), never equal: one hot cell must not darken the rest."""
    bottom, top = (float(v) for v in np.percentile(image, (low, high)))
    if top <= bottom:
        bottom, top = float(image.min()), float(image.max())
    return bottom, top if top > bottom else bottom + 1.0


def robust_reach(image: np.ndarray) -> float:
    """Percentile 99.5 of the magnitude, for a scale that starts or is centred at zero; never 0."""
    magnitude = np.abs(image) if image.size else np.ones(1)
    return float(np.percentile(magnitude, 99.5)) or float(magnitude.max()) or 1.0


def cosine_distance(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """1 - cosine of the feature vectors of each cell: 0 same direction, 1 unrelated, 2 opposite.

    Two empty (zero) cells agree (0); an empty cell against a filled one is unrelated (1).

    Args:
        student, teacher: [C, Y, X].

    Returns:
        [Y, X] float32.
    """
    student, teacher = as_array(student, np.float32), as_array(teacher, np.float32)
    if student.shape != teacher.shape:
        raise ConfigError(f"student feature {student.shape} against teacher {teacher.shape}, expected the same shape")
    norms = np.linalg.norm(student, axis=0), np.linalg.norm(teacher, axis=0)
    product = norms[0] * norms[1]
    cosine = (student * teacher).sum(0) / np.where(product > 0, product, 1)
    both_empty = (norms[0] == 0) & (norms[1] == 0)
    return np.where(both_empty, 0.0, 1.0 - cosine).astype(np.float32)


def cells_in_boxes(boxes: np.ndarray, grid: BEVGrid) -> np.ndarray:
    """Which cells have their centre inside a box: bool [Y, X]."""
    rows, columns = grid.shape
    x = grid.x_range[0] + (np.arange(columns) + 0.5) * grid.cell
    y = grid.y_range[0] + (np.arange(rows) + 0.5) * grid.cell
    inside = np.zeros(grid.shape, bool)
    for box in as_boxes(boxes):
        cos, sin = np.cos(box[6]), np.sin(box[6])
        dx, dy = x[None, :] - box[0], y[:, None] - box[1]
        inside |= (np.abs(dx * cos + dy * sin) <= box[3] / 2) & (np.abs(dy * cos - dx * sin) <= box[4] / 2)
    return inside


def draw_boxes_bev(axes: Axes, boxes: np.ndarray, colour: str, width: float = 1.3, dashed: bool = False) -> None:
    """Outlines with heading ticks, on a dark rim so that they show on any background."""
    boxes = as_boxes(boxes)
    if not len(boxes):
        return
    outlines, ticks = bev_outlines(boxes)
    lines = LineCollection(
        [*outlines, *ticks], colors=colour, linewidths=width, linestyles=(0, (3, 1.2)) if dashed else "solid"
    )
    lines.set_path_effects([Stroke(linewidth=width + 1.2, foreground="black", alpha=0.6), Normal()])
    axes.add_collection(lines, autolim=False)


def show_bev(
    axes: Axes, image: np.ndarray, grid: BEVGrid, span: tuple[float, float], colours: str, names: Sequence[str]
) -> AxesImage:
    """One map in metres: cell (0, 0) has its outer corner at (x_min, y_min), at the lower left."""
    shown = axes.imshow(
        image, cmap=colours, vmin=span[0], vmax=span[1], origin="lower", interpolation="nearest",
        extent=(*grid.x_range, *grid.y_range), aspect="equal",
    )  # fmt: skip
    axes.set_facecolor(NOTHING)
    axes.set_xlabel(names[0], fontsize=13, color=INK, labelpad=2)
    axes.set_ylabel(names[1], fontsize=13, color=INK, labelpad=0)
    axes.tick_params(labelsize=12, colors=INK, length=4)
    axes.plot(0, 0, marker="+", color="white", markersize=9, markeredgewidth=1.6)
    axes.set_xlim(grid.x_range)
    axes.set_ylim(grid.y_range)
    return shown


def draw_bev_comparison(
    maps: Mapping[str, np.ndarray],
    grid: BEVGrid,
    gt_boxes: np.ndarray,
    predictions: Mapping[str, np.ndarray] | None,
    path: str | os.PathLike,
    *,
    teacher: str | None = None,
    axis_names: Sequence[str] = ("x right (m)", "y forward (m)"),
) -> Path:
    """Draw the maps side by side with boxes; below each student, how far its features are from the teacher's.

    With two students the free place below the teacher shows which of them is closer to it, cell by cell.

    Args:
        maps: title -> [C, Y, X] feature over ``grid``; one of them may be the teacher.
        gt_boxes: [M, >=7] metres, LiDAR frame.
        predictions: title -> [P, >=7]; titles may be missing.
        path: the PNG to write.
        teacher: title of the map the others are compared with; default the first.

    Raises:
        ConfigError: no map, an unknown teacher, a feature that does not lie on the grid.
    """
    maps = {title: as_array(feature, np.float32) for title, feature in maps.items()}
    if not maps:
        raise ConfigError("no BEV map to draw, expected at least one title with its feature")
    teacher = next(iter(maps)) if teacher is None else teacher
    if teacher not in maps:
        raise ConfigError(f"teacher {teacher!r} is none of the maps {list(maps)}")
    gt_boxes, predictions = as_boxes(gt_boxes, "ground-truth boxes"), predictions or {}
    students = [title for title in maps if title != teacher and maps[title].shape == maps[teacher].shape]
    figure, panels = _layout(len(maps), 2 if students else 1, grid)

    images = {title: bev_feature_image(feature, grid) for title, feature in maps.items()}
    images, span, shared = _on_one_scale(images)
    for column, (title, image) in enumerate(images.items()):
        shown = show_bev(panels[0][column], image, grid, span, FEATURE_MAP, axis_names)
        draw_boxes_bev(panels[0][column], gt_boxes, GT_COLOUR)
        found = as_boxes(predictions.get(title), f"predictions of {title}")
        draw_boxes_bev(panels[0][column], found, PREDICTION_COLOUR)
        note = f"{len(found)} predicted, {len(gt_boxes)} true boxes" if title in predictions else "BEV features"
        _title(panels[0][column], title, note)
    scale = "feature strength" if shared else "feature strength, each map on its own scale"
    _colour_bar(figure, panels[0][-1], shown, scale)

    if students:
        _difference_row(figure, panels[1], maps, teacher, students, grid, gt_boxes, axis_names)
    handles = [line_handle("ground truth, tick = heading", GT_COLOUR)]
    if students and not maps[teacher].any(0).all():
        handles.append(line_handle("teacher has no feature here", NOTHING, width=6))
    if any(len(as_boxes(found)) for found in predictions.values()):
        handles.append(line_handle("predicted", PREDICTION_COLOUR))
    add_legend(figure, handles, dark=False, centre_y_px=LEGEND / 2)
    return save_figure(figure, path)


def _difference_row(
    figure: Figure,
    panels: Sequence[Axes],
    maps: Mapping[str, np.ndarray],
    teacher: str,
    students: list[str],
    grid: BEVGrid,
    gt_boxes: np.ndarray,
    axis_names: Sequence[str],
) -> None:
    # Where the teacher has nothing at all there is no direction to agree with: such cells stay grey and uncounted.
    empty = ~maps[teacher].any(0)
    distances = {title: np.ma.array(cosine_distance(maps[title], maps[teacher]), mask=empty) for title in students}
    inside = cells_in_boxes(gt_boxes, grid)
    span = (0.0, max(robust_reach(image.compressed()) for image in distances.values()))
    for panel, title in zip(panels, maps, strict=True):
        if title in distances:
            shown = show_bev(panel, distances[title], grid, span, DISTANCE_MAP, axis_names)
            draw_boxes_bev(panel, gt_boxes, GT_COLOUR, width=1.0)
            _title(panel, title, f"distance to teacher: {_where(distances[title], inside)}")
        elif title == teacher and len(students) == 2:
            gain = distances[students[0]] - distances[students[1]]
            top = robust_reach(gain.compressed())
            show_bev(panel, gain, grid, (-top, top), GAIN_MAP, axis_names)
            draw_boxes_bev(panel, gt_boxes, INK, width=1.0)
            _title(panel, "Who is closer to the teacher?", f"green: {students[1]}   brown: {students[0]}")
        else:
            panel.set_axis_off()
            if title != teacher:
                found = f"{len(maps[title])} channels against {len(maps[teacher])}"
                panel.text(0, 0.96, f"no distance: {found}", transform=panel.transAxes, fontsize=13, color=FAINT)
    last = [panel for panel, title in zip(panels, maps, strict=True) if title in distances][-1]
    _colour_bar(figure, last, shown, "1 - cosine to teacher")


def _where(distance: np.ma.MaskedArray, inside: np.ndarray) -> str:
    """Mean distance in boxes and elsewhere, over the cells that count."""
    parts = {"in boxes": distance[inside].compressed(), "elsewhere": distance[~inside].compressed()}
    return ", ".join(f"{values.mean():.2f} {where}" for where, values in parts.items() if values.size)


def _on_one_scale(images: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[float, float], bool]:
    """One range for all maps where their strengths are comparable; else each map is scaled to 0 ... 1 by itself.

    Returns:
        the images to show, the range to show them in, and whether the range is shared.
    """
    own = {title: robust_range(image) for title, image in images.items()}
    tops = [top - bottom for bottom, top in own.values()]
    if max(tops) > MAX_RANGE_RATIO * min(tops):
        scaled = {title: (image - own[title][0]) / (own[title][1] - own[title][0]) for title, image in images.items()}
        return scaled, (0.0, 1.0), False
    both = (min(bottom for bottom, _ in own.values()), max(top for _, top in own.values()))
    return dict(images), both, True


def _layout(columns: int, rows: int, grid: BEVGrid) -> tuple[Figure, list[list[Axes]]]:
    height = round(PANEL * grid.shape[0] / grid.shape[1])
    step_x, step_y = PANEL + LEFT // 2 + GAP, TITLE + height + BELOW
    figure = new_figure(LEFT + columns * step_x - LEFT // 2 - GAP + RIGHT, rows * step_y + LEGEND)
    panels = [
        [add_pixel_axes(figure, LEFT + c * step_x, TITLE + r * step_y, PANEL, height) for c in range(columns)]
        for r in range(rows)
    ]
    return figure, panels


def _title(axes: Axes, title: str, note: str) -> None:
    axes.text(0, 1.075, title, transform=axes.transAxes, fontsize=17, fontweight="bold", color=INK)
    axes.text(0, 1.02, note, transform=axes.transAxes, fontsize=13, color=FAINT)


def _colour_bar(figure: Figure, panel: Axes, shown: AxesImage, label: str) -> None:
    left, bottom, width, height = panel.get_position().bounds
    figure_width = figure.get_size_inches()[0] * DPI
    axes = figure.add_axes((left + width + 16 / figure_width, bottom, 18 / figure_width, height))
    bar = figure.colorbar(shown, cax=axes)
    bar.set_label(label, fontsize=13, color=INK)
    bar.ax.tick_params(labelsize=12, colors=INK)
    bar.outline.set_visible(False)

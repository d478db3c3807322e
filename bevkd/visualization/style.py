"""Colours, figures and saving that all pictures share. Nothing here touches pyplot or needs a display."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bevkd.errors import DataError
from bevkd.structures.files import whole_file

DPI = 100
INK = "#1b2430"
FAINT = "#5c6773"
NIGHT = "#10141a"
GT_COLOUR = "#ffffff"
PREDICTION_COLOUR = "#ff6a3d"

CLASS_COLOURS: Mapping[str, str] = {
    "car": "#ffb000",
    "truck": "#ff6a3d",
    "trailer": "#ff9fc0",
    "bus": "#f0328c",
    "construction_vehicle": "#b48cff",
    "bicycle": "#7be04e",
    "motorcycle": "#5b9bff",
    "pedestrian": "#2fe0e0",
    "traffic_cone": "#fff35c",
    "barrier": "#d5dbe3",
}
OTHER_CLASS_COLOUR = "#ffffff"


def class_colour(name: str) -> str:
    """Colour of a nuScenes detection class; white for a name outside the ten."""
    name = name.lower()  # Waymo's classes are Car, Pedestrian and Cyclist
    return CLASS_COLOURS.get("bicycle" if name == "cyclist" else name, OTHER_CLASS_COLOUR)


def as_array(values: object, dtype: type = np.float64) -> np.ndarray:
    """A torch tensor (any device), an mmdet3d box object or an array as a numpy array."""
    values = getattr(values, "tensor", values)
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=dtype)


def as_boxes(boxes: object, what: str = "boxes") -> np.ndarray:
    """Boxes as [M, >=7] float64: x, y, z of the bottom centre, dx, dy, dz, yaw.

    Raises:
        DataError: another shape, or a value that is not finite.
    """
    array = as_array(boxes if boxes is not None else np.zeros((0, 7)))
    if array.size == 0:
        return np.zeros((0, 7))
    if array.ndim != 2 or array.shape[1] < 7:
        raise DataError(f"{what} have shape {array.shape}, expected [M, 7 or more]")
    bad = np.flatnonzero(~np.isfinite(array[:, :7]).all(1))
    if bad.size:
        raise DataError(f"{what}: row {bad[0]} is {array[bad[0], :7].tolist()}, expected finite numbers")
    return array


def new_figure(width: int, height: int, background: str = "white") -> Figure:
    """A figure of exactly ``width`` x ``height`` pixels on an Agg canvas."""
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=background)
    FigureCanvasAgg(figure)
    return figure


def add_pixel_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes placed in pixels counted from the figure's upper left corner."""
    total_width, total_height = figure.get_size_inches() * DPI
    bottom = total_height - top - height
    return figure.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))


def line_handle(label: str, colour: str, dashed: bool = False, width: float = 2.4) -> Line2D:
    """A legend entry that looks like a box outline."""
    return Line2D([], [], color=colour, linewidth=width, linestyle=(0, (3, 1.4)) if dashed else "-", label=label)


def add_legend(figure: Figure, handles: Sequence[Line2D], dark: bool, centre_y_px: float, columns: int = 12) -> None:
    """One row of legend entries, centred ``centre_y_px`` pixels above the lower edge."""
    if not handles:
        return
    height = figure.get_size_inches()[1] * DPI
    figure.legend(
        handles=handles,
        loc="center",
        bbox_to_anchor=(0.5, centre_y_px / height),
        ncols=min(len(handles), columns),
        fontsize=13,
        facecolor="#2a323d" if dark else "#3b4654",
        edgecolor="none",
        labelcolor="white",
        handlelength=1.8,
        columnspacing=1.6,
    )


def save_figure(figure: Figure, path: str | os.PathLike) -> Path:
    """Write the figure as PNG, or JPEG where the name says so; it appears whole or not at all.

    The same drawing gives the same bytes.
    """
    path = Path(path)
    with whole_file(path) as file:
        if path.suffix.lower() in (".jpg", ".jpeg"):
            figure.canvas.print_jpg(file, pil_kwargs={"quality": 90})
        else:
            figure.canvas.print_png(file, metadata={"Software": None})
    return path

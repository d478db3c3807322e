"""The camera views with boxes projected into them as wireframes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.patheffects import Normal, Stroke

from bevkd.datasets.constants import CAMERAS
from bevkd.errors import DataError
from bevkd.visualization.outlines import EDGES, FRONT_FACE, box_corners_3d, clip_polygon, clip_segments, project
from bevkd.visualization.style import (
    CLASS_COLOURS,
    NIGHT,
    add_legend,
    add_pixel_axes,
    as_array,
    as_boxes,
    class_colour,
    line_handle,
    new_figure,
    save_figure,
)

MOSAIC = (
    "CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT",
    "CAM_SIDE_LEFT", "CAM_SIDE_RIGHT",
)  # fmt: skip
TILE_WIDTH, GAP, LEGEND_HEIGHT = 704, 6, 56


def draw_cameras(
    images: Sequence[np.ndarray],
    lidar2img: np.ndarray,
    boxes: np.ndarray,
    predictions: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    path: str | os.PathLike = "cameras.png",
    *,
    prediction_names: Sequence[str] | None = None,
    cameras: Sequence[str] = CAMERAS,
) -> Path:
    """Draw a mosaic: front-left, front, front-right over back-left, back, back-right or the two sides, then others.

    Ground truth is solid, predictions are dashed, both coloured by class; the filled face is the front.

    Args:
        images: one [H, W, 3] uint8 RGB image per camera.
        lidar2img: [N, 4, 4], (x, y, z, 1) in metres to (u d, v d, d, 1).
        boxes: [M, >=7] ground truth, bottom-centre z, LiDAR frame.
        predictions: [P, >=7] or None.
        names: class name of each ground-truth box.
        path: the PNG or JPEG to write.
        prediction_names: class name of each prediction.
        cameras: camera of each image; default is the nuScenes order of the infos.

    Raises:
        DataError: numbers or sizes that do not fit together.
    """
    images = [np.asarray(image) for image in images]
    lidar2img = as_array(lidar2img)
    cameras = tuple(cameras)
    _check(images, lidar2img, cameras)
    sets = [
        (as_boxes(boxes, "ground-truth boxes"), names, False),
        (as_boxes(predictions, "predicted boxes"), prediction_names, True),
    ]
    sets = [(array, _names_of(array, given), dashed) for array, given, dashed in sets]

    shown = [name for name in MOSAIC if name in cameras] + [name for name in cameras if name not in MOSAIC]
    columns = min(3, len(shown))
    tile_heights = [round(TILE_WIDTH * image.shape[0] / image.shape[1]) for image in images]
    tallest = max(tile_heights)
    rows = -(-len(shown) // columns)
    figure = new_figure(columns * TILE_WIDTH + (columns + 1) * GAP, rows * (tallest + GAP) + GAP + LEGEND_HEIGHT, NIGHT)
    for place, name in enumerate(shown):
        row, column = divmod(place, columns)
        index = cameras.index(name)
        left, top = GAP + column * (TILE_WIDTH + GAP), GAP + row * (tallest + GAP)
        axes = add_pixel_axes(figure, left, top, TILE_WIDTH, tile_heights[index])
        axes.imshow(images[index], aspect="auto")
        axes.set_axis_off()
        for array, labels, dashed in sets:
            _draw_boxes(axes, array, labels, lidar2img[index], images[index].shape[1::-1], dashed)
        title = name.removeprefix("CAM_").replace("_", " ").lower()
        axes.text(
            0.012, 0.965, title, transform=axes.transAxes, va="top", fontsize=15, color="white",
            bbox={"facecolor": NIGHT, "alpha": 0.65, "edgecolor": "none", "pad": 4},
        )  # fmt: skip
    add_legend(figure, _legend(sets), dark=True, centre_y_px=LEGEND_HEIGHT / 2)
    return save_figure(figure, path)


def _check(images: list[np.ndarray], lidar2img: np.ndarray, cameras: tuple[str, ...]) -> None:
    if not images or lidar2img.shape != (len(images), 4, 4) or len(cameras) != len(images):
        raise DataError(
            f"{len(images)} images, {len(cameras)} camera names and lidar2img of shape {lidar2img.shape}, "
            "expected N images, N names and [N, 4, 4]"
        )
    for name, image in zip(cameras, images, strict=True):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise DataError(f"image of {name} is {image.dtype} {image.shape}, expected uint8 [H, W, 3]")


def _names_of(boxes: np.ndarray, names: Sequence[str] | None) -> list[str]:
    names = ["object"] * len(boxes) if names is None else [str(name) for name in names]
    if len(names) != len(boxes):
        raise DataError(f"{len(names)} class names for {len(boxes)} boxes, expected one each")
    return names


def _draw_boxes(
    axes: Axes, boxes: np.ndarray, names: list[str], matrix: np.ndarray, size: tuple[int, int], dashed: bool
) -> None:
    """Far boxes first, so that near ones lie on top; near lines are thicker."""
    if not len(boxes):
        return
    corners = project(box_corners_3d(boxes), matrix)
    depth = corners[..., 2].mean(1)
    for box in np.argsort(-depth):
        pieces, _ = clip_segments(corners[box][np.array(EDGES)], *size)
        if not len(pieces):
            continue
        colour = class_colour(names[box])
        width = float(np.clip(26 / max(depth[box], 1.0), 1.0, 2.6))
        face = clip_polygon(corners[box][list(FRONT_FACE)], *size)
        if len(face) >= 3 and not dashed:
            axes.add_collection(PolyCollection([face], facecolor=colour, alpha=0.18, edgecolor="none"), autolim=False)
        lines = LineCollection(
            list(pieces), colors=colour, linewidths=width, linestyles=(0, (3, 1.4)) if dashed else "solid",
            capstyle="butt" if dashed else "round",
        )  # fmt: skip
        lines.set_path_effects([Stroke(linewidth=width + 1.3, foreground=NIGHT, alpha=0.55), Normal()])
        axes.add_collection(lines, autolim=False)


def _legend(sets: list[tuple[np.ndarray, list[str], bool]]) -> list:
    present = {name for _, names, _ in sets for name in names}
    order = [name for name in CLASS_COLOURS if name in present] + sorted(present - set(CLASS_COLOURS))
    handles = [line_handle(name.replace("_", " "), class_colour(name), width=5) for name in order]
    if all(len(boxes) for boxes, _, _ in sets):
        handles += [line_handle("ground truth", "white"), line_handle("predicted", "white", dashed=True)]
    return handles

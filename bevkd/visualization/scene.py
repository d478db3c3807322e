"""A 3D scene: point cloud and boxes seen from above and behind, coloured by truth, prediction or KD difference."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.image import imread

from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid
from bevkd.visualization import open3d_support
from bevkd.visualization.bev import cells_in_boxes, robust_reach
from bevkd.visualization.outlines import EDGES, bev_outlines, box_corners_3d, clip_segments
from bevkd.visualization.style import (
    GT_COLOUR,
    NIGHT,
    PREDICTION_COLOUR,
    add_legend,
    add_pixel_axes,
    as_array,
    as_boxes,
    line_handle,
    new_figure,
    save_figure,
)

WIDTH, HEIGHT, TOP_DOWN, FOOT = 1280, 760, 560, 56
FOV = 45.0
REACH = 60.0
RINGS = (10, 20, 30, 40, 50)
RING_COLOUR = "#34404d"
EGO_COLOUR = "#8fa1b3"
# Brown: the first student is closer to the teacher; teal: the second. Grey in the middle shows on the dark ground.
GAIN_COLOURS = LinearSegmentedColormap.from_list("gain", ["#ff9f43", "#5a6573", "#22d3b6"])


@dataclass(frozen=True)
class SceneResult:
    """Where the picture is, what drew it ('open3d' or 'matplotlib'), and a sentence when Open3D could not."""

    path: Path
    renderer: str
    notice: str | None


def draw_scene(
    points: np.ndarray,
    gt_boxes: np.ndarray,
    predictions: np.ndarray | None,
    path: str | os.PathLike,
    *,
    difference: np.ndarray | None = None,
    grid: BEVGrid | None = None,
    students: Sequence[str] = ("plain", "distilled"),
    forward: Sequence[float] = (0.0, 1.0),
    open3d: bool = True,
) -> SceneResult:
    """Draw the scene with Open3D where it works here, else in perspective and top-down with matplotlib.

    Args:
        points: [N, >=3] x, y, z in metres, LiDAR frame.
        gt_boxes, predictions: [M, >=7], bottom-centre z.
        path: the PNG to write.
        difference: [Y, X] over ``grid``, teacher distance of the first student minus that of the second; then points
            and ground-truth boxes take its colour instead of height and white.
        students: names of the two, for the legend.
        forward: unit vector (x, y) of the driving direction (nuScenes +y, Waymo +x).
        open3d: False draws with matplotlib without trying.

    Raises:
        DataError, ConfigError: points, boxes or a difference map that cannot be used.
    """
    points = as_array(points)
    if points.ndim != 2 or points.shape[1] < 3:
        raise DataError(f"points have shape {points.shape}, expected [N, 3 or more]")
    if difference is not None and (grid is None or np.shape(difference) != grid.shape):
        raise ConfigError(f"difference map has shape {np.shape(difference)}, expected the grid's {grid and grid.shape}")
    points = points[np.isfinite(points[:, :3]).all(1), :3]
    points = points[np.hypot(points[:, 0], points[:, 1]) < REACH]
    scene = _build(points, as_boxes(gt_boxes), as_boxes(predictions), difference, grid, np.asarray(forward, float))

    path, notice, image = Path(path), None, None
    if open3d:
        with tempfile.TemporaryDirectory() as folder:
            notice = open3d_support.render(scene, Path(folder, "scene.png"))
            image = None if notice else imread(Path(folder, "scene.png"))
    _compose(path, scene, image, difference is not None, students, predictions is not None and len(predictions) > 0)
    return SceneResult(path, "matplotlib" if image is None else "open3d", notice)


def _build(
    points: np.ndarray,
    gt: np.ndarray,
    predicted: np.ndarray,
    difference: np.ndarray | None,
    grid: BEVGrid | None,
    forward: np.ndarray,
) -> dict[str, np.ndarray]:
    """Everything both renderers draw, as plain arrays."""
    gt_colours = np.tile(to_rgb(GT_COLOUR), (len(gt), 1))
    if difference is None:
        span = Normalize(-2.4, 4.0, clip=True)
        point_colours = matplotlib.colormaps["viridis"](0.15 + 0.8 * span(points[:, 2]))[:, :3]
    else:
        top = robust_reach(difference)
        span = Normalize(-top, top, clip=True)
        point_colours = GAIN_COLOURS(span(_at(points, difference, grid)))[:, :3]
        for row, box in enumerate(gt):
            inside = cells_in_boxes(box[None], grid)
            value = difference[inside].mean() if inside.any() else _at(box[None, :2], difference, grid)[0]
            # Boxes carry a sign rather than a shade, because a thin line shows no shade.
            gt_colours[row] = GAIN_COLOURS(span(np.sign(value) * top))[:3]
    groups = [
        (_rings(), np.array([to_rgb(RING_COLOUR)]), 1.0),
        (_box_segments(np.array([[0, 0, -1.8, 4.0, 1.8, 1.5, np.arctan2(forward[1], forward[0])]])),
         np.array([to_rgb(EGO_COLOUR)]), 2.0),
        (_box_segments(predicted), np.array([to_rgb(PREDICTION_COLOUR)]), 2.0),
        (_box_segments(gt), np.repeat(gt_colours, len(EDGES) + 1, 0), 2.5),
    ]  # fmt: skip
    eye = np.array([*(-26 * forward), 21.0])
    return {
        "points": points,
        "point_colours": point_colours,
        "segments": np.concatenate([segments for segments, _, _ in groups]),
        "segment_colours": np.concatenate([np.broadcast_to(c, (len(s), 3)) for s, c, _ in groups]),
        "line_widths": np.concatenate([np.full(len(s), width) for s, _, width in groups]),
        "eye": eye,
        "target": np.array([*(14 * forward), -2.0]),
        "fov": np.array(FOV),
        "size": np.array([WIDTH, HEIGHT]),
        "background": np.array(to_rgb(NIGHT)),
        "point_size": np.array(2.0),
    }


def _at(xy: np.ndarray, image: np.ndarray, grid: BEVGrid) -> np.ndarray:
    """Nearest cell's value at metric positions, 0 outside the grid."""
    column = np.floor((xy[:, 0] - grid.x_range[0]) / grid.cell).astype(int)
    row = np.floor((xy[:, 1] - grid.y_range[0]) / grid.cell).astype(int)
    inside = (row >= 0) & (row < grid.shape[0]) & (column >= 0) & (column < grid.shape[1])
    values = np.zeros(len(xy))
    values[inside] = image[row[inside], column[inside]]
    return values


def _rings(z: float = -1.8) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 121)
    circle = np.stack((np.cos(angle), np.sin(angle)), -1)
    lines = [np.column_stack((radius * circle, np.full(len(circle), z))) for radius in RINGS]
    return np.concatenate([np.stack((line[:-1], line[1:]), 1) for line in lines])


def _box_segments(boxes: np.ndarray) -> np.ndarray:
    """[M * 13, 2, 3]: the twelve edges of each box and its heading tick on the ground."""
    if not len(boxes):
        return np.zeros((0, 2, 3))
    edges = box_corners_3d(boxes)[:, np.array(EDGES)]
    ticks = bev_outlines(boxes)[1]
    ticks = np.concatenate((ticks, np.broadcast_to(boxes[:, None, 2:3], (len(boxes), 2, 1))), -1)
    return np.concatenate((edges, ticks[:, None]), 1).reshape(-1, 2, 3)


def _camera(scene: dict[str, np.ndarray]) -> np.ndarray:
    """[4, 4] matrix to (u d, v d, d) of the perspective view, the same view that Open3D is given."""
    ahead = scene["target"] - scene["eye"]
    ahead = ahead / np.linalg.norm(ahead)
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    rotation = np.stack((right, np.cross(ahead, right), ahead))
    focal = HEIGHT / 2 / np.tan(np.radians(FOV / 2))
    intrinsics = np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = intrinsics @ rotation
    matrix[:3, 3] = -matrix[:3, :3] @ scene["eye"]
    return matrix


def _compose(
    path: Path,
    scene: dict[str, np.ndarray],
    image: np.ndarray | None,
    by_difference: bool,
    students: Sequence[str],
    has_predictions: bool,
) -> None:
    width = WIDTH if image is not None else WIDTH + TOP_DOWN
    figure = new_figure(width, HEIGHT + FOOT, NIGHT)
    axes = add_pixel_axes(figure, 0, 0, WIDTH, HEIGHT)
    if image is not None:
        axes.imshow(image, aspect="auto")
    else:
        _draw_perspective(axes, scene)
        _draw_top_down(add_pixel_axes(figure, WIDTH, 0, TOP_DOWN, HEIGHT), scene)
    axes.set_axis_off()
    if by_difference:
        handles = [
            line_handle(f"{students[1]} closer to the teacher", "#22d3b6", width=5),
            line_handle(f"{students[0]} closer to the teacher", "#ff9f43", width=5),
        ]
    else:
        handles = [line_handle("ground truth", GT_COLOUR)]
    handles += [line_handle("predicted", PREDICTION_COLOUR)] if has_predictions else []
    handles += [line_handle("ego vehicle, rings every 10 m", EGO_COLOUR)]
    add_legend(figure, handles, dark=True, centre_y_px=FOOT / 2)
    save_figure(figure, path)


def _draw_perspective(axes, scene: dict[str, np.ndarray]) -> None:
    matrix = _camera(scene)
    projected = scene["points"] @ matrix[:3, :3].T + matrix[:3, 3]
    order = np.argsort(-projected[:, 2])
    order = order[projected[order, 2] > 0.5]
    depth = projected[order, 2]
    axes.scatter(
        projected[order, 0] / depth, projected[order, 1] / depth, s=np.clip(60 / depth, 0.4, 4.0),
        c=scene["point_colours"][order], linewidths=0,
    )  # fmt: skip
    segments = scene["segments"] @ matrix[:3, :3].T + matrix[:3, 3]
    pieces, index = clip_segments(segments, WIDTH, HEIGHT, near=0.5)
    axes.add_collection(
        LineCollection(
            list(pieces), colors=scene["segment_colours"][index], linewidths=0.7 * scene["line_widths"][index]
        )
    )
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(HEIGHT, 0)


def _draw_top_down(axes, scene: dict[str, np.ndarray]) -> None:
    order = np.argsort(scene["points"][:, 2])
    axes.scatter(*scene["points"][order, :2].T, s=1.0, c=scene["point_colours"][order], linewidths=0)
    lines = LineCollection(
        list(scene["segments"][..., :2]), colors=scene["segment_colours"], linewidths=0.5 * scene["line_widths"]
    )
    axes.add_collection(lines)
    half = 52.0
    axes.set_xlim(-half * TOP_DOWN / HEIGHT, half * TOP_DOWN / HEIGHT)
    axes.set_ylim(-half, half)
    axes.set_axis_off()

"""All pictures of one sample for several models, as the report and ``tools/visualize_bev.py`` show them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bevkd.errors import ConfigError, DataError
from bevkd.visualization.bev import cosine_distance, draw_bev_comparison
from bevkd.visualization.cameras import draw_cameras
from bevkd.visualization.inspect import Inspection
from bevkd.visualization.scene import draw_scene


@dataclass
class Gallery:
    """Pictures by caption, in the order to show them, and sentences on what could not be drawn as asked."""

    pictures: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def draw_gallery(
    inspections: Mapping[str, Inspection],
    out: str | os.PathLike,
    *,
    tap: str = "high",
    open3d: bool = True,
) -> Gallery:
    """Draw BEV features side by side, the cameras with each model's boxes, and 3D scenes.

    Args:
        inspections: title -> inspection, all of one sample; the first is the teacher that the others are compared with.
        out: folder for the files; camera views are JPEG, the rest PNG.
        tap: which feature to show, ``high`` or ``low``.
        open3d: draw the scenes with Open3D where it works, else with matplotlib.

    Raises:
        ConfigError: models on different grids, or without the tap. DataError: different samples.
    """
    first = _one_sample(inspections)
    maps = {title: _feature(title, seen, tap) for title, seen in inspections.items()}
    out, gallery = Path(out), Gallery()
    gallery.pictures[f"BEV features ({tap})"] = draw_bev_comparison(
        maps, first.grid, first.gt_boxes, {title: seen.predictions for title, seen in inspections.items()},
        out / f"bev_{tap}.png", axis_names=first.axis_names,
    )  # fmt: skip
    for title, seen in inspections.items():
        if not seen.images:
            gallery.notes.append("The data set names no camera images, so there is no camera picture.")
            break
        gallery.pictures[f"Cameras: {title}"] = draw_cameras(
            seen.images, seen.lidar2img, seen.gt_boxes, seen.predictions, seen.gt_names,
            out / f"cameras_{_slug(title)}.jpg", prediction_names=seen.prediction_names, cameras=seen.cameras,
        )  # fmt: skip

    last_title, last = list(inspections.items())[-1]
    scene = draw_scene(last.points, last.gt_boxes, last.predictions, out / "scene.png", open3d=open3d)
    gallery.pictures[f"Scene: {last_title}"] = scene.path
    students = [title for title in list(maps)[1:] if maps[title].shape == next(iter(maps.values())).shape]
    if len(students) == 2:
        teacher = next(iter(maps.values()))
        gain = cosine_distance(maps[students[0]], teacher) - cosine_distance(maps[students[1]], teacher)
        learned = draw_scene(
            last.points, last.gt_boxes, None, out / "scene_kd.png",
            difference=gain, grid=last.grid, students=students, open3d=open3d,
        )  # fmt: skip
        gallery.pictures["Where distillation moved the features"] = learned.path
    if scene.notice:
        gallery.notes.append(scene.notice)
    return gallery


def _one_sample(inspections: Mapping[str, Inspection]) -> Inspection:
    if not inspections:
        raise ConfigError("no inspected sample to draw, expected at least one model")
    title, first = next(iter(inspections.items()))
    for other_title, other in inspections.items():
        if other.token != first.token:
            raise DataError(f"{other_title} saw sample {other.token} and {title} saw {first.token}, expected the same")
        other.grid.require_same(first.grid, mine=other_title, theirs=title)
    return first


def _feature(title: str, seen: Inspection, tap: str):
    if tap not in seen.taps:
        raise ConfigError(f"{title} has no tap {tap!r}, expected one of {sorted(seen.taps)}")
    return seen.taps[tap]


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_") or "model"

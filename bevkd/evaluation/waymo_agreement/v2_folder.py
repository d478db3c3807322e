"""A Waymo v2 folder through both readers: the points of its range images, and its labels as one more scene."""

from pathlib import Path

import numpy as np

from bevkd.datasets.waymo.segment import Segment, find_segments
from bevkd.errors import DataError

from .columns import Scene, detect, first_camera
from .compare import Result
from .environment import run_official

MILLIMETRE = 1e-3


def compare_points(python: Path, folder: Path, work: Path) -> list[Result]:
    """The distance between our points and the official ones, by segment and LiDAR; ``folder`` is one split.

    The official package also checks every file's schema and every row on the way.

    Raises:
        ConfigError: what the official package cannot read. DataError: a range image of which points differ in number.
    """
    archive = work / "points.npz"
    run_official(python, "official_v2.py", folder.resolve(), archive)
    official = np.load(archive)
    results: dict[tuple[str, int], Result] = {}
    for name in find_segments(folder):
        for frame in Segment(folder, name).frames(components=["lidar"]):
            for laser, images in frame.range_images.items():
                result = results.setdefault(
                    (name, laser), Result(f"{name}-{laser}", "points", f"laser {laser}, metres", 0, 0.0, MILLIMETRE)
                )
                for echo in (n for n, image in enumerate(images, 1) if image is not None):
                    ours = frame.points_of(laser, echo)[0][:, :3].astype(np.float64)
                    theirs = official[f"points/{name}/{frame.timestamp}/{laser}/{echo}"]
                    if ours.shape != theirs.shape:
                        raise DataError(
                            f"{folder}: segment {name}, frame {frame.timestamp}, laser {laser}, return {echo}: "
                            f"{len(ours)} points, the official reader finds {len(theirs)}"
                        )
                    apart = np.linalg.norm(ours - theirs, axis=1)
                    result.count += len(ours)
                    result.difference = max(result.difference, float(apart.max(initial=0.0)))
    return list(results.values())


def labelled_scene(folder: Path, seed: int = 0) -> Scene:
    """The folder's 3D labels with made-up detections of them."""
    columns: dict[str, list[np.ndarray]] = {}
    keys: list[tuple[str, int]] = []
    for name in find_segments(folder):
        for frame in Segment(folder, name).frames(components=["lidar_box"]):
            boxes = frame.boxes
            seen = boxes.synced_cameras > 0
            synced = np.where(seen[:, None], boxes.synced_boxes, boxes.boxes).astype(np.float32)
            rows = {
                "frame": np.full(len(boxes.ids), len(keys)),
                "box": boxes.boxes.astype(np.float32),
                "type": boxes.types.astype(np.uint8),
                "difficulty": boxes.difficulty.astype(np.int8),
                "points": boxes.num_points.astype(np.int32),
                "top_points": boxes.num_top_points.astype(np.int32),
                "synced_box": synced,
                # The official op cannot be told which camera it is and takes this one.
                "camera": np.where(seen, first_camera(synced), 0),
            }
            for key, value in rows.items():
                columns.setdefault(key, []).append(value[boxes.types > 0])
            keys.append((name, frame.timestamp))
    truth = {key: np.concatenate(parts) for key, parts in columns.items()}
    found = detect(np.random.default_rng(seed), truth, depth=0.03)
    return Scene(f"{folder.name}-labels", found, truth, keys)

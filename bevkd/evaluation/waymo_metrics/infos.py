"""Ground truth from Waymo infos and predictions from detectors, as objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bevkd.datasets import safe_pickle
from bevkd.errors import DataError, nearest

from .object_files import read_objects
from .objects import FrameKey, Objects

_REGENERATE = "make the infos again with tools/create_data.py"
TYPE_OF = {"Car": 1, "Vehicle": 1, "Pedestrian": 2, "Sign": 3, "Cyclist": 4}
_EARLIEST, _LATEST = 946_684_800_000_000, 4_102_444_800_000_000  # 2000 and 2100, in microseconds


def read_truth(path: str | Path) -> Objects:
    """The ground truth of LiDAR detections in an info file (``.pkl``), or the objects of an ``Objects`` file.

    Raises:
        DataError: see :func:`objects_from_infos` and :func:`.object_files.read_objects`.
    """
    path = Path(path)
    return objects_from_infos(safe_pickle.load(path), str(path)) if path.suffix == ".pkl" else read_objects(path)


def objects_from_infos(infos: Mapping[str, Any], source: str = "infos", camera_only: bool = False) -> Objects:
    """Ground truth of every frame of an info file (schema 1.1), one without boxes included.

    Args:
        infos: ``metainfo`` (``categories``: label by class name, or ``classes``) and ``data_list``: ``context_name``,
            ``timestamp`` (microseconds) and ``instances`` with ``bbox_3d`` (x, y, z of the bottom centre, dx, dy, dz,
            yaw in the vehicle frame), ``bbox_label_3d``, ``num_lidar_pts`` and ``difficulty`` (0, 1, 2).
        camera_only: Take ``cam_sync_instances`` instead, the boxes at the time of the camera's shot, with their
            ``num_top_lidar_pts`` and ``camera_id`` (from 0).

    Raises:
        DataError: a frame that is there twice, a timestamp that is not in microseconds, an unknown class, or what
            :meth:`Objects.from_arrays` refuses.
    """
    keys = frame_keys(infos, source)
    type_of = _types_by_label(infos["metainfo"], source)
    instances, points = ("cam_sync_instances", "num_top_lidar_pts") if camera_only else ("instances", "num_lidar_pts")
    needed = ("bbox_3d", "difficulty", points, *(("camera_id",) if camera_only else ()))
    rows, frames = [], []
    labelled = any("instances" in info for info in infos["data_list"])  # those of a testing split have none
    for frame, info in enumerate(infos["data_list"]):
        if camera_only and labelled and instances not in info:
            raise DataError(f"{source}: {keys[frame]}: {instances} is missing; {_REGENERATE}")
        for number, instance in enumerate(info.get(instances) or ()):
            if instance["bbox_label_3d"] < 0:
                continue
            where = f"{source}: {keys[frame]}: {instances}[{number}]"
            missing = [key for key in needed if key not in instance]
            if missing:
                raise DataError(f"{where}: {missing[0]} is missing; {_REGENERATE}")
            label = instance["bbox_label_3d"]
            if label not in type_of:
                raise DataError(f"{where}: bbox_label_3d is {label}, expected one of {sorted(type_of)}")
            camera = instance["camera_id"] + 1 if camera_only else 0
            rows.append([*instance["bbox_3d"], type_of[label], instance["difficulty"], instance[points], camera])
            frames.append(frame)
    if camera_only and not rows and any(info.get("instances") for info in infos["data_list"]):
        raise DataError(
            f"{source}: {instances} is empty in all frames; convert the data set with its component"
            " lidar_camera_synced_box"
        )
    table = np.array(rows, dtype=np.float64).reshape(-1, 11)
    table[:, 2] += table[:, 5] / 2
    whole = table[:, 7:].astype(np.int64)
    objects = Objects.from_arrays(
        boxes=np.ascontiguousarray(table[:, :7]), types=whole[:, 0], frames=frames, difficulties=whole[:, 1],
        points=whole[:, 2], keys=keys, source=source,
    )  # fmt: skip
    objects.cameras = whole[:, 3].astype(np.uint8) if camera_only else None
    return objects


def objects_from_results(
    results: Mapping[int, Mapping[str, Any]], infos: Mapping[str, Any], classes: Sequence[str], source: str = "results"
) -> Objects:
    """Predictions of a detector.

    Args:
        results: By position in ``data_list``: ``bboxes_3d`` (``LiDARInstance3DBoxes`` or ``[M, 7 or more]``: bottom
            centre, dx, dy, dz, yaw), ``scores_3d`` ``[M]`` and ``labels_3d`` ``[M]``.
        classes: The detector's class names by label.

    Raises:
        DataError: see :meth:`Objects.from_arrays`; a sample that is not in the infos, or an unknown class.
    """
    keys = frame_keys(infos, source)
    types = np.array([_type_of(name, source) for name in classes], dtype=np.int64)
    boxes, scores, labels, frames = [np.empty((0, 7))], [np.empty(0)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for sample, result in results.items():
        if not 0 <= sample < len(keys):
            raise DataError(f"{source}: sample {sample} is not among the {len(keys)} of the info file")
        found = _array(getattr(result["bboxes_3d"], "tensor", result["bboxes_3d"]))[:, :7]
        found[:, 2] += found[:, 5] / 2
        boxes.append(found)
        scores.append(_array(result["scores_3d"]))
        labels.append(_array(result["labels_3d"]).astype(np.int64))
        frames.append(np.full(len(found), sample))
    return Objects.from_arrays(
        boxes=np.concatenate(boxes), types=types[np.concatenate(labels)], frames=np.concatenate(frames),
        scores=np.concatenate(scores), keys=keys, source=source,
    )  # fmt: skip


def frame_keys(infos: Mapping[str, Any], source: str) -> list[FrameKey]:
    """The frames of an info file, in its order.

    Raises:
        DataError: no ``context_name``, a timestamp in another unit, or a frame that is there twice.
    """
    keys: dict[FrameKey, int] = {}
    for number, info in enumerate(infos["data_list"]):
        where = f"{source}: data_list[{number}]"
        if "context_name" not in info:
            raise DataError(f"{where}: context_name is missing; expected infos of the Waymo Open Dataset")
        time = info["timestamp"]
        if not isinstance(time, int) or not _EARLIEST <= time < _LATEST:
            raise DataError(f"{where}: timestamp is {time}, expected whole microseconds since 1970")
        key = FrameKey(info["context_name"], 0, time)
        if key in keys:
            raise DataError(f"{where}: {key} is there twice, first at data_list[{keys[key]}]; expected it once")
        keys[key] = number
    return list(keys)


def _types_by_label(metainfo: Mapping[str, Any], source: str) -> dict[int, int]:
    labels = metainfo.get("categories") or {name: label for label, name in enumerate(metainfo.get("classes", ()))}
    return {label: _type_of(name, source) for name, label in labels.items() if label >= 0}


def _type_of(name: str, source: str) -> int:
    if name not in TYPE_OF:
        raise DataError(f"{source}: class {name} is no Waymo type{nearest(name, TYPE_OF)}")
    return TYPE_OF[name]


def _array(value: Any) -> np.ndarray:
    """A float64 copy."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.array(value, dtype=np.float64)

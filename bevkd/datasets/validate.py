"""Checks of an info file before anything trains on it."""

from pathlib import Path
from typing import Any

import numpy as np

from bevkd.errors import DataError

from .constants import CAMERAS, CLASSES, REGENERATE
from .conventions import check_box_convention

_SAMPLE_KEYS = ("sample_idx", "token", "timestamp", "ego2global", "images", "lidar_points")
_IMAGE_KEYS = ("img_path", "cam2img", "lidar2cam")
_INSTANCE_KEYS = ("bbox_3d", "bbox_label_3d", "bbox_3d_isvalid", "num_lidar_pts", "velocity")


def validate_infos(infos: Any, path: str | Path = "infos", cameras: tuple[str, ...] = CAMERAS) -> None:
    """Refuse an info file that is not nuScenes in mmdet3d's v1.1 schema, sound in every number that training reads.

    Checked: the keys; finite, invertible calibrations and poses; sweeps no newer than their key frame; boxes with
    finite centres, positive sizes and known labels; and, from the data, the box convention
    (:func:`bevkd.datasets.conventions.check_box_convention`).

    Args:
        infos: What the info file holds: ``{'metainfo': ..., 'data_list': [...]}``.
        path: Named in the error.
        cameras: Cameras that every sample must have.

    Raises:
        DataError: naming the file, the sample's token and the field.
    """
    boxes, labels, velocities = check_infos(infos, path, cameras, CLASSES, REGENERATE)
    check_box_convention(boxes, labels, velocities, path)


def check_infos(
    infos: Any, path: str | Path, cameras: tuple[str, ...], classes: tuple[str, ...], regenerate: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The checks of :func:`validate_infos` that hold for every data set: all of them but the box convention.

    Args:
        classes: Names by label.
        regenerate: How to make the file again, for the error.

    Returns:
        All boxes ``[M, 7]``, labels ``[M]`` and velocities ``[M, 2]``.

    Raises:
        DataError: see :func:`validate_infos`.
    """
    _check_header(infos, path, classes, regenerate)
    tokens: set[str] = set()
    for index, info in enumerate(infos["data_list"]):
        _require(info, _SAMPLE_KEYS, f"{path}: data_list[{index}]")
        token = info["token"]
        if token in tokens:
            raise DataError(f"{path}: sample {token} occurs twice")
        tokens.add(token)
        where = f"{path}: sample {token}"
        _check_geometry(info, where, cameras)
        for number, instance in enumerate(info.get("instances") or ()):
            _require(instance, _INSTANCE_KEYS, f"{where}: instances[{number}]")
    boxes, labels, velocities, owners = _gather_instances(infos["data_list"], path)
    _check_boxes(boxes, labels, infos["data_list"], owners, path, classes)
    return boxes, labels, velocities


def _check_header(infos: Any, path: str | Path, classes: tuple[str, ...], regenerate: str) -> None:
    if isinstance(infos, dict) and "infos" in infos and "data_list" not in infos:
        raise DataError(
            f"{path}: an info file of mmdet3d before 1.0 (keys 'infos' and 'metadata'), whose boxes are (w, l, h) with "
            f"yaw = -yaw - pi/2; expected schema 1.1: {regenerate}"
        )
    if not isinstance(infos, dict) or "data_list" not in infos or "metainfo" not in infos:
        found = sorted(map(str, infos)) if isinstance(infos, dict) else type(infos).__name__
        raise DataError(f"{path}: found {found}, expected a dict with 'metainfo' and 'data_list' (mmdet3d schema 1.1)")
    meta = infos["metainfo"]
    version = str(meta.get("info_version"))
    if version != "1.1":
        raise DataError(f"{path}: metainfo.info_version is {version}, expected 1.1: {regenerate}")
    if not infos["data_list"]:
        raise DataError(f"{path}: data_list is empty, expected at least one sample")
    categories = meta.get("categories", {})
    wrong = [name for i, name in enumerate(classes) if categories.get(name, i) != i]
    if wrong:
        raise DataError(
            f"{path}: metainfo.categories gives {wrong[0]} the label {categories[wrong[0]]}, expected "
            f"{classes.index(wrong[0])} (class order {', '.join(classes)})"
        )


def _require(record: Any, keys: tuple[str, ...], where: str) -> None:
    missing = [key for key in keys if not isinstance(record, dict) or key not in record]
    if missing:
        raise DataError(f"{where}: '{missing[0]}' is missing (mmdet3d schema 1.1)")


def _check_geometry(info: dict, where: str, cameras: tuple[str, ...]) -> None:
    _require(info["lidar_points"], ("lidar_path", "lidar2ego"), f"{where}: lidar_points")
    check_pose(info["ego2global"], f"{where}: ego2global")
    check_pose(info["lidar_points"]["lidar2ego"], f"{where}: lidar_points.lidar2ego")
    for camera in cameras:
        if camera not in info["images"]:
            raise DataError(f"{where}: camera {camera} is missing; there is: {', '.join(info['images'])}")
        record = info["images"][camera]
        _require(record, _IMAGE_KEYS, f"{where}: images.{camera}")
        check_intrinsics(record["cam2img"], f"{where}: images.{camera}.cam2img")
        check_pose(record["lidar2cam"], f"{where}: images.{camera}.lidar2cam")
    previous = info["timestamp"]
    for number, sweep in enumerate(info.get("lidar_sweeps") or ()):
        name = f"{where}: lidar_sweeps[{number}]"
        _require(sweep, ("lidar_points", "timestamp"), name)
        _require(sweep["lidar_points"], ("lidar_path", "lidar2sensor"), f"{name}.lidar_points")
        check_pose(sweep["lidar_points"]["lidar2sensor"], f"{name}.lidar_points.lidar2sensor")
        if not sweep["timestamp"] <= previous:
            raise DataError(f"{name}: timestamp {sweep['timestamp']} is after {previous}; expected newest first")
        previous = sweep["timestamp"]


def check_pose(value: Any, where: str) -> np.ndarray:
    """``[4, 4]`` float64 rigid transform, or a DataError: not finite, not 4x4, or its rotation is none."""
    matrix = _as_matrix(value, (4, 4), where)
    rotation = matrix[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or rotation[0] @ np.cross(rotation[1], rotation[2]) < 0:
        raise DataError(f"{where}: its 3x3 part is singular or no rotation (determinant {np.linalg.det(rotation):.4g})")
    return matrix


def check_intrinsics(value: Any, where: str) -> np.ndarray:
    """``[3, 3]`` float64 camera matrix, or a DataError: not finite or singular."""
    matrix = _as_matrix(np.asarray(value, dtype=object)[:3, :3] if np.ndim(value) == 2 else value, (3, 3), where)
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or abs(np.linalg.det(matrix)) < 1e-6:
        raise DataError(f"{where}: singular camera matrix (focal lengths {matrix[0, 0]:.4g} and {matrix[1, 1]:.4g})")
    return matrix


def _as_matrix(value: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: not a {shape[0]}x{shape[1]} matrix of numbers") from None
    if matrix.shape != shape:
        raise DataError(f"{where}: shape {matrix.shape}, expected {shape}")
    if not np.isfinite(matrix).all():
        raise DataError(f"{where}: holds a value that is not finite")
    return matrix


def _gather_instances(data_list: list[dict], path: str | Path) -> tuple[np.ndarray, ...]:
    """All boxes ``[M, 7]``, labels ``[M]``, velocities ``[M, 2]`` and (sample, instance) indices ``[M, 2]``."""
    boxes, labels, velocities, owners = [], [], [], []
    for index, info in enumerate(data_list):
        for number, instance in enumerate(info.get("instances") or ()):
            if len(instance["bbox_3d"]) != 7 or len(instance["velocity"]) != 2:
                raise DataError(
                    f"{path}: sample {info['token']}: instances[{number}]: bbox_3d has {len(instance['bbox_3d'])} and "
                    f"velocity {len(instance['velocity'])} numbers, expected 7 and 2"
                )
            boxes.append(instance["bbox_3d"])
            labels.append(instance["bbox_label_3d"])
            velocities.append(instance["velocity"])
            owners.append((index, number))
    return (
        np.array(boxes, dtype=np.float64).reshape(-1, 7),
        np.array(labels, dtype=np.int64),
        np.array(velocities, dtype=np.float64).reshape(-1, 2),
        np.array(owners, dtype=np.int64).reshape(-1, 2),
    )


def _check_boxes(
    boxes: np.ndarray,
    labels: np.ndarray,
    data_list: list[dict],
    owners: np.ndarray,
    path: Any,
    classes: tuple[str, ...],
) -> None:
    problems = (
        (~np.isfinite(boxes).all(axis=1), "bbox_3d {box} is not finite"),
        ((boxes[:, 3:6] <= 0).any(axis=1), "bbox_3d {box} has a size that is not positive"),
        (
            (labels < -1) | (labels >= len(classes)),
            f"bbox_label_3d is {{label}}, expected -1 (ignored) to {len(classes) - 1}",
        ),
        (np.abs(boxes[:, 6]) > 4 * np.pi, "bbox_3d {box} has a yaw that looks like degrees, expected radians"),
    )
    for bad, text in problems:
        if bad.any():
            first = int(np.argmax(bad))
            sample, number = owners[first]
            what = text.format(box=boxes[first].round(3).tolist(), label=labels[first])
            raise DataError(f"{path}: sample {data_list[sample]['token']}: instances[{number}]: {what}")

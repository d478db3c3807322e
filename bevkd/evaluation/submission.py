"""The nuScenes result file: written from LiDAR-frame predictions, and checked before the devkit reads it."""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bevkd.datasets.constants import CLASSES
from bevkd.errors import DataError, nearest

INPUTS = ("use_camera", "use_lidar", "use_radar", "use_map", "use_external")  # what ``meta`` says of the detector
MAX_BOXES = 500  # per sample, nuScenes detection rule
_MOVING = 0.2  # m/s, mmdet3d's threshold between moving and standing
_ATTRIBUTES = {  # class: (moving, standing), mmdet3d's choice where a detector predicts no attribute
    "car": ("vehicle.moving", "vehicle.parked"),
    "truck": ("vehicle.moving", "vehicle.parked"),
    "trailer": ("vehicle.moving", "vehicle.parked"),
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "construction_vehicle": ("vehicle.moving", "vehicle.parked"),
    "bicycle": ("cycle.with_rider", "cycle.without_rider"),
    "motorcycle": ("cycle.with_rider", "cycle.without_rider"),
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    "traffic_cone": ("", ""),
    "barrier": ("", ""),
}
_KNOWN_ATTRIBUTES = ("pedestrian.sitting_lying_down", *{name: None for pair in _ATTRIBUTES.values() for name in pair})
_FIELDS = (
    "sample_token", "translation", "size", "rotation", "velocity", "detection_name", "detection_score",
    "attribute_name",
)  # fmt: skip
_LENGTHS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}


def format_results(
    predictions: Mapping[str, Mapping[str, Any]],
    infos: Iterable[Mapping[str, Any]],
    classes: tuple[str, ...] = CLASSES,
    meta: Mapping[str, bool] | None = None,
) -> dict[str, Any]:
    """A nuScenes submission from boxes in each sample's LiDAR frame.

    Args:
        predictions: By sample token: ``bboxes_3d`` (``LiDARInstance3DBoxes`` or a tensor or array ``[M, 9]``: bottom
            centre, dx, dy, dz, yaw, vx, vy), ``scores_3d`` ``[M]`` and ``labels_3d`` ``[M]``.
        infos: The samples' infos (schema 1.1), for ``lidar2ego`` and ``ego2global``.
        classes: Class names by label.
        meta: Which inputs the detector used, e.g. ``{'use_lidar': True}``; what is not named is False.

    Returns:
        ``{'meta': ..., 'results': {token: [box, ...]}}`` in the global frame, samples in the infos' order, at most
        the 500 best-scored boxes a sample. Attributes follow from class and speed as in mmdet3d.

    Raises:
        DataError: a sample that is in no info, or a prediction that is not finite.
    """
    results = {}
    for info in infos:  # in the order of the infos: the devkit breaks ties in score by position
        token = info["token"]
        if token not in predictions:
            continue
        prediction = predictions[token]
        results[token] = _format_sample(
            token,
            np.array(info["ego2global"]) @ np.array(info["lidar_points"]["lidar2ego"]),
            _as_array(getattr(prediction["bboxes_3d"], "tensor", prediction["bboxes_3d"])),
            _as_array(prediction["scores_3d"]),
            _as_array(prediction["labels_3d"]).astype(np.int64),
            classes,
        )
    unknown = [token for token in predictions if token not in results]
    if unknown:
        raise DataError(f"prediction for sample {unknown[0]}, which is not in the info file")
    return {"meta": {**dict.fromkeys(INPUTS, False), **(meta or {})}, "results": results}


def _as_array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=np.float64)


def _format_sample(
    token: str, pose: np.ndarray, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Boxes ``[M, 7 or 9]`` of one sample as submission records; ``pose`` is LiDAR to global ``[4, 4]``."""
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise DataError(f"prediction for sample {token} holds a value that is not finite; expected finite boxes")
    order = np.argsort(-scores, kind="stable")[:MAX_BOXES]
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    centres = boxes[:, :3].copy()
    centres[:, 2] += boxes[:, 5] / 2
    centres = centres @ pose[:3, :3].T + pose[:3, 3]
    half = boxes[:, 6] / 2
    yaw_quaternions = np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], axis=1)
    rotations = quaternion_product(matrix_to_quaternion(pose[:3, :3])[None], yaw_quaternions)
    velocities = np.zeros((len(boxes), 3))
    velocities[:, :2] = boxes[:, 7:9] if boxes.shape[1] >= 9 else 0.0
    velocities = (velocities @ pose[:3, :3].T)[:, :2]
    moving = np.linalg.norm(velocities, axis=1) > _MOVING
    names = [classes[label] for label in labels]
    columns = zip(centres.tolist(), boxes[:, [4, 3, 5]].tolist(), rotations.tolist(), velocities.tolist())
    return [
        {
            "sample_token": token,
            "translation": centre,
            "size": size,
            "rotation": rotation,
            "velocity": velocity,
            "detection_name": name,
            "detection_score": float(score),
            "attribute_name": _ATTRIBUTES[name][0 if moves else 1],
        }
        for (centre, size, rotation, velocity), name, score, moves in zip(columns, names, scores, moving)
    ]


def matrix_to_quaternion(rotation: np.ndarray) -> np.ndarray:
    """``[3, 3]`` rotation to a unit quaternion (w, x, y, z).

    The quaternion is the eigenvector of the largest eigenvalue of a symmetric 4x4 matrix (Bar-Itzhack 2000), which
    has no special cases and evens out rounding of the rotation.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    quaternion = np.linalg.eigh(symmetric)[1][:, -1]
    return quaternion if quaternion[0] >= 0 else -quaternion


def quaternion_product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hamilton product of ``[..., 4]`` quaternions (w, x, y, z): the rotation ``second`` followed by ``first``."""
    w, x, y, z = np.moveaxis(first, -1, 0)
    p, q, r, s = np.moveaxis(second, -1, 0)
    return np.stack(
        [w * p - x * q - y * r - z * s, w * q + x * p + y * s - z * r,
         w * r - x * s + y * p + z * q, w * s + x * r - y * q + z * p], axis=-1,
    )  # fmt: skip


def read_results(path: str | Path) -> dict[str, Any]:
    """A result file's content, or a DataError: missing, truncated or not JSON, or without 'meta' and 'results'."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a nuScenes result file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: truncated or not JSON ({error})") from None
    for key in ("meta", "results"):
        if not isinstance(content, dict) or not isinstance(content.get(key), dict):
            raise DataError(f"{path}: no object '{key}'; expected {{'meta': ..., 'results': {{token: [box, ...]}}}}")
    return content


def check_results(
    content: Mapping[str, Any],
    tokens: Iterable[str],
    path: str | Path,
    split: str = "to evaluate",
    others: Collection[str] = (),
) -> None:
    """Refuse a result file that the devkit would refuse with an assertion, or would score wrongly.

    Args:
        content: From :func:`read_results`.
        tokens: The sample tokens of the split that is evaluated.
        split: Its name, for the error.
        others: Tokens that the file may have beside them.

    Raises:
        DataError: naming the sample and the field: a sample of the split without an entry (an empty list is one), a
            sample that is not in the split, over 500 boxes, an unknown class or attribute, a missing field, or a
            number that is not finite.
    """
    results, tokens = content["results"], list(tokens)
    missing = [token for token in tokens if token not in results]
    extra = sorted(set(results) - set(tokens) - set(others))
    lacks = f"{len(missing)} of {len(tokens)} samples of split {split} have no entry, the first is {missing[:1]}"
    has = f"{len(extra)} of its {len(results)} samples are not in split {split}, the first is {extra[:1]}"
    if missing or extra:
        problem = " and ".join(text for text, found in ((lacks, missing), (has, extra)) if found)
        raise DataError(f"{path}: {problem}".replace("['", "").replace("']", ""))
    for token, boxes in results.items():
        if not isinstance(boxes, list):
            raise DataError(f"{path}: sample {token}: a {type(boxes).__name__}, expected a list of boxes")
        if len(boxes) > MAX_BOXES:
            raise DataError(f"{path}: sample {token} has {len(boxes)} boxes; nuScenes admits at most {MAX_BOXES}")
        for number, box in enumerate(boxes):
            problem = _box_problem(box, token)
            if problem:
                raise DataError(f"{path}: sample {token}: box {number}: {problem}")


def _box_problem(box: Any, token: str) -> str | None:
    absent = [field for field in _FIELDS if not isinstance(box, dict) or field not in box]
    if absent:
        return f"'{absent[0]}' is missing"
    if box["sample_token"] != token:
        return f"sample_token is {box['sample_token']}"
    name = box["detection_name"]
    if name not in _ATTRIBUTES:
        return f"detection_name '{name}' is none of the ten classes{nearest(str(name), CLASSES)}"
    for field, length in _LENGTHS.items():
        value = box[field]
        if not isinstance(value, list) or len(value) != length or not all(map(_finite, value)):
            return f"{field} is {value}, expected {length} finite numbers"
    if min(box["size"]) <= 0:
        return f"size is {box['size']}, expected positive numbers"
    if not any(box["rotation"]):
        return "rotation is zero, expected a quaternion (w, x, y, z)"
    if not isinstance(box["detection_score"], float) or not math.isfinite(box["detection_score"]):
        return f"detection_score is {box['detection_score']}, expected a finite float"
    attribute = box["attribute_name"]
    if attribute not in _KNOWN_ATTRIBUTES:
        return f"attribute_name '{attribute}' is unknown{nearest(str(attribute), _KNOWN_ATTRIBUTES)}"
    return None


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)

"""What a pipeline loads against what a model looks at, by the pipeline's steps alone: no sample is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from bevkd.engine.preflight.datasets import all_known, kinds, leaves, steps
from bevkd.errors import ConfigError

_POINTS = ("LoadSweeps", "LoadWaymoPoints", "LoadPointsFromFile", "LoadPointsFromDict")
_IMAGES = ("LoadCameras", "LoadMultiViewImageFromFiles", "LoadImageFromFile", "LoadImageFromNDArray")
_FIVE = ("LoadSweeps", "LoadWaymoPoints")  # x, y, z, intensity, and time lag or elongation
_TRUTH = ("gt_bboxes_3d", "gt_labels_3d")


def require_inputs(key: str, dataset: Any, model: Any, training: bool, who: str = "model") -> None:
    """Refuse a pipeline that loads less than a model needs, in every data set below ``dataset``.

    Args:
        key: the loader, for the error sentence.
        dataset: the built data set.
        model: the detector.
        training: depth supervision needs points, which predicting does not.
        who: what to call the model.

    Raises:
        ConfigError: naming what is missing and who needs it.
    """
    for leaf in leaves(dataset):
        transforms = steps(leaf)
        if not transforms or not all_known(transforms):
            continue
        for sensor, loaders in (("points", _POINTS), ("img", _IMAGES)):
            needed_by = _needs(model, sensor, training)
            if needed_by is None:
                continue
            if not _first(transforms, loaders):
                raise ConfigError(
                    f"{key}: the pipeline has no step that loads {'points' if sensor == 'points' else 'images'} "
                    f"({', '.join(loaders[:2])} ...), expected one for {who}.{needed_by}"
                )
            _require_packed(key, transforms, (sensor,), f"{who}.{needed_by}")
        _require_columns(key, transforms, model, who)
        _require_previous(key, leaf, transforms, model, who)
        if camera := _first(transforms, ("LoadCameras",)):
            require_image_size(f"{key}: LoadCameras.size", camera.size, getattr(model, "camera_encoder", None))


def require_annotations(key: str, dataset: Any) -> None:
    """Refuse a training loader that hands no boxes to the loss.

    Raises:
        ConfigError: a data set in test mode, or a pipeline that drops or does not load the boxes.
    """
    for leaf in leaves(dataset):
        if getattr(leaf, "test_mode", False):
            raise ConfigError(
                f"{key}: the data set has test_mode=True, in which it hands no boxes to the loss; expected False"
            )
        transforms = steps(leaf)
        if not _is_3d(leaf) or not transforms or not all_known(transforms):
            continue
        whole = "WholeSamples" in kinds(leaf)  # bevkd's own data sets hand boxes to the pipeline
        if not whole and not _first(transforms, ("LoadAnnotations3D", "LoadAnnotations")):
            raise ConfigError(
                f"{key}: the pipeline has no LoadAnnotations3D, expected it: nothing else loads the boxes"
            )
        _require_packed(key, transforms, _TRUTH, "the loss")


def _is_3d(leaf: Any) -> bool:
    return "Det3DDataset" in kinds(leaf)


def _require_packed(key: str, transforms: Sequence[Any], wanted: Sequence[str], who: str) -> None:
    pack = _first(transforms, ("Pack3DDetInputs",))
    missing = [] if pack is None else [name for name in wanted if name not in pack.keys]
    if missing:
        raise ConfigError(
            f"{key}: {type(pack).__name__}.keys are {list(pack.keys)}, expected {' and '.join(missing)} too, for {who}"
        )


def _first(transforms: Sequence[Any], names: Sequence[str]) -> Any:
    return next((step for step in transforms if kinds(step) & set(names)), None)


def _needs(model: Any, sensor: str, training: bool) -> str | None:
    """The part of a model that looks at a sensor, or None."""
    if sensor == "img":
        parts = ("camera_encoder", "img_backbone")
        return next((part for part in parts if getattr(model, part, None) is not None), None)
    for part in ("lidar_encoder", "pts_voxel_encoder", "voxel_encoder"):
        if getattr(model, part, None) is not None:
            return part
    supervised = isinstance(model, nn.Module) and any(getattr(m, "depth_weight", 0) for m in model.modules())
    return "camera_encoder, whose depth_weight supervises depth with points" if training and supervised else None


def _require_columns(key: str, transforms: Sequence[Any], model: Any, who: str) -> None:
    found = point_columns(transforms)
    encoder = getattr(model, "lidar_encoder", None)
    wanted, exact = (len(encoder.centre), True) if hasattr(encoder, "centre") else (None, False)
    for part in ("pts_voxel_encoder", "voxel_encoder"):
        if isinstance(number := getattr(getattr(model, part, None), "num_features", None), int):
            wanted = number  # HardSimpleVFE takes the first ones
    if found is None or wanted is None or (found == wanted if exact else found >= wanted):
        return
    raise ConfigError(
        f"{key}: the pipeline's points have {found} columns, expected {wanted} for {who}'s LiDAR encoder "
        "(x, y, z, intensity, time lag)"
    )


def point_columns(transforms: Sequence[Any]) -> int | None:
    """How many columns the points of a pipeline have, or None."""
    columns = None
    for step in transforms:
        names = kinds(step)
        if names & set(_FIVE):
            columns = 5
        elif names & {"LoadPointsFromFile", "LoadPointsFromMultiSweeps"}:
            columns = len(step.use_dim)
    return columns


def _require_previous(key: str, leaf: Any, transforms: Sequence[Any], model: Any, who: str) -> None:
    camera = _first(transforms, ("LoadCameras",))
    encoder = getattr(model, "camera_encoder", None)
    if camera is None or encoder is None:
        return
    temporal = type(encoder).__name__ == "TemporalEncoder" or bool(getattr(encoder, "temporal", False))
    given = {"LoadCameras.previous": camera.previous, "dataset.previous": bool(getattr(leaf, "previous", False))}
    missing = [name for name, value in given.items() if not value]
    if missing and (temporal or camera.previous):
        needed = f"{who}.camera_encoder looks at the key frame before" if temporal else "LoadCameras.previous is True"
        raise ConfigError(f"{key}: {' and '.join(missing)} is False and {needed}, expected True in both places")


@torch.no_grad()
def require_image_size(where: str, size: tuple[int, int], encoder: Any) -> None:
    """Refuse an image size that an image backbone and its neck cannot take, by a run of shapes alone.

    Sides of whole 32s pass every usual backbone and are not looked at: the run takes a third of a second.

    Raises:
        ConfigError: naming the size and what went wrong.
    """
    encoder = getattr(encoder, "encoder", encoder)  # of a temporal one
    if all(side % 32 == 0 for side in size) or not hasattr(encoder, "backbone") or not hasattr(encoder, "neck"):
        return
    image = torch.empty(2, 3, *size, device="meta")
    try:
        maps = image
        for part in (encoder.backbone, encoder.neck):
            state = {n: t.to("meta") for n, t in (*part.named_parameters(), *part.named_buffers())}
            maps = torch.func.functional_call(part, state, (maps,))
    except NotImplementedError:
        return  # an op without shapes
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in ("size", "shape", "broadcast")):
            return  # of shapes alone this part cannot run
        raise ConfigError(
            f"{where} is {tuple(size)}, which the image backbone and neck of camera_encoder cannot join "
            f"({str(error).splitlines()[0]}), expected sides that all their strides divide"
        ) from error

"""One sample through one trained model: its features, what it found, and everything a picture needs beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor, nn

from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid
from bevkd.structures.checkpoint import load_state_dict, load_weights
from bevkd.structures.taps import record_taps


@dataclass(frozen=True)
class Inspection:
    """What one model made of one sample, and the sample itself; everything on the CPU.

    Attributes:
        taps: ``low`` and ``high`` [C, Y, X], ``head`` a list over tasks of dicts of raw maps [C, Y, X].
        predictions: [P, >=7] boxes at or above the score asked for, best first, bottom-centre z, LiDAR frame.
        scores: [P]. prediction_names: class of each.
        gt_boxes: [M, >=7]. gt_names: class of each.
        points: [N, <=5] the key frame's x, y, z, intensity, and ring (nuScenes) or elongation (Waymo).
        images: one [H, W, 3] uint8 RGB image per camera as stored; empty when the data set names none.
        lidar2img: [N, 4, 4] to pixels of ``images``. cameras: their names.
        grid: the grid of ``high``.
        token: the sample's token.
        axis_names: what x and y mean in the data set's frame.
    """

    taps: dict[str, Any]
    predictions: np.ndarray
    scores: np.ndarray
    prediction_names: list[str]
    gt_boxes: np.ndarray
    gt_names: list[str]
    points: np.ndarray
    images: list[np.ndarray]
    lidar2img: np.ndarray
    cameras: list[str]
    grid: BEVGrid
    token: str
    axis_names: Sequence[str] = ("x right (m)", "y forward (m)")


def inspect_sample(
    config: str | Path | Config,
    checkpoint: str | Path,
    index: int = 0,
    *,
    token: str | None = None,
    data_root: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    min_score: float = 0.3,
    taps: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> Inspection:
    """Build a model from its config, load its weights and run one sample of the test data set through it.

    Args:
        config: config file, package config (``mmdet3d::...``), or a loaded one. A distiller's stands for its student.
        checkpoint: weights of the model, or of the distiller that trained it.
        index: position in the test data set; ``token`` picks by sample token instead.
        data_root: nuScenes folder to use in place of the config's.
        options: as ``--cfg-options``.
        min_score: predictions below are left out.
        taps: name -> module path; default the model's own, see :func:`bevkd.distill.models.known_taps`.
        device: where the model runs.

    Raises:
        BevkdError: a config, checkpoint, sample or tap that cannot be used.
    """
    from bevkd.engine import register_all
    from bevkd.engine.preflight import require_dataset_classes

    register_all()
    if not MMLogger.check_instance_created("bevkd.inspect"):  # it becomes the current one: no tables of class counts
        MMLogger.get_instance("bevkd.inspect", log_level="WARNING")
    cfg = _config(config, data_root, options)
    dataset = _test_dataset(cfg)
    index = _position(dataset, index, token)
    model = load_detector(cfg, checkpoint).to(device).eval()
    require_dataset_classes("test_dataloader", dataset, model)
    _require_bev(model, cfg)
    features, found = _run(model, dataset[index], taps or _taps_of(model), min_score)
    info = dataset.get_data_info(index)
    classes = list(dataset.metainfo["classes"])
    boxes, names = _ground_truth(info, classes)
    root = Path(cfg.get("data_root") or dataset.data_root)
    images, matrices, cameras = _cameras(info, root, getattr(dataset, "modality", None) or {})
    return Inspection(
        taps=features,
        predictions=found.bboxes_3d.tensor.numpy(),
        scores=found.scores_3d.numpy(),
        prediction_names=[classes[label] for label in found.labels_3d.tolist()],
        gt_boxes=boxes,
        gt_names=names,
        points=_points(info, root),
        images=images,
        lidar2img=matrices,
        cameras=cameras,
        grid=_grid(model, cfg, features),
        token=_token(info),
        axis_names=dataset.metainfo.get("axis_names") or _axis_names(dataset),
    )


def _run(model: nn.Module, sample: Any, taps: Mapping[str, str], min_score: float) -> tuple[dict[str, Any], Any]:
    """The taps and the predictions of one sample, best first, those below ``min_score`` left out."""
    with torch.no_grad(), record_taps(model, taps) as features:
        result = model.test_step(_collate(sample))[0]
    features = {name: _single(feature) for name, feature in features.items()}
    _require_maps(model, features)
    found = result.pred_instances_3d.to("cpu")
    order = torch.argsort(found.scores_3d, descending=True)
    return features, found[order[found.scores_3d[order] >= min_score]]


def load_detector(cfg: Config, checkpoint: str | Path) -> nn.Module:
    """The detector of a config with its weights; for a distiller's config the student alone, without any teacher.

    Raises:
        ConfigError: no model. CheckpointError: weights that do not fit.
    """
    from mmdet3d.registry import MODELS

    from bevkd.distill.models import build_model
    from bevkd.engine.errors import config_errors

    model_cfg = cfg.get("model")
    if not isinstance(model_cfg, Mapping) or "type" not in model_cfg:
        raise ConfigError(f"config {cfg.filename} has no model, expected model=dict(type=...)")
    with config_errors(str(cfg.filename)):
        if str(model_cfg["type"]).endswith("Distiller"):
            model = build_model(model_cfg["student"], f"the student of {cfg.filename}")
        else:
            model = MODELS.build(model_cfg)
    inside = any(key.startswith("student.") for key in load_state_dict(checkpoint))
    load_weights(model, checkpoint, "student." if inside else None)
    return model


def _config(config: str | Path | Config, data_root: str | Path | None, options: Mapping[str, Any] | None) -> Config:
    from bevkd.engine import load_config
    from bevkd.engine.data_root import use_data_root

    cfg = config.copy() if isinstance(config, Config) else load_config(config, options)
    if data_root is not None:
        use_data_root(cfg, data_root)
    return cfg


def _test_dataset(cfg: Config) -> Any:
    from mmdet3d.registry import DATASETS
    from mmengine.registry import init_default_scope

    from bevkd.engine.errors import config_errors

    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    if not cfg.get("test_dataloader"):
        raise ConfigError(f"config {cfg.filename} has no test_dataloader, expected one to take the sample from")
    with config_errors(str(cfg.filename)):
        return DATASETS.build(cfg.test_dataloader.dataset)


def _position(dataset: Any, index: int, token: str | None) -> int:
    if token is None:
        if not 0 <= index < len(dataset):
            raise DataError(f"sample index is {index}, expected 0 to {len(dataset) - 1} in {dataset.ann_file}")
        return index
    for position in range(len(dataset)):
        if _token(dataset.get_data_info(position)) == token:
            return position
    raise DataError(f"sample token {token!r} is none of the {len(dataset)} in {dataset.ann_file}")


def _collate(sample: Mapping) -> dict:
    from mmengine.dataset import pseudo_collate

    return pseudo_collate([sample])


def _token(info: Mapping) -> str:
    """What a sample is called; KITTI's have a number alone."""
    return str(info.get("token", info.get("sample_idx")))


def _axis_names(dataset: Any) -> Sequence[str]:
    return Inspection.axis_names if "NuScenes" in type(dataset).__name__ else ("x (m)", "y (m)")


def _taps_of(model: nn.Module) -> Mapping[str, str]:
    from bevkd.distill.models import known_taps

    found = known_taps(model)
    if not found:
        raise ConfigError(
            f"the taps of {type(model).__name__} are not known, expected --taps low=PATH high=PATH head=PATH with two "
            f"BEV maps and a head among its modules: {', '.join(name for name, _ in model.named_children())}"
        )
    return found


def _require_bev(model: nn.Module, cfg: Config) -> None:
    limits = cfg.get("point_cloud_range")
    if getattr(model, "grid", None) is None and (not limits or len(limits) != 6):
        raise ConfigError(
            f"config {cfg.filename} has no point_cloud_range of 6 numbers and its {type(model).__name__} no grid, "
            "expected a detector with a map in bird's-eye view"
        )


def _require_maps(model: nn.Module, features: Mapping[str, Any]) -> None:
    for name in {"low", "high"} & features.keys():
        if not (isinstance(features[name], Tensor) and features[name].ndim == 3):
            found = getattr(features[name], "shape", type(features[name]).__name__)
            found = tuple(found) if isinstance(found, torch.Size) else found
            raise ConfigError(
                f"the tap {name!r} of {type(model).__name__} gives {found}, expected one BEV map [C, Y, X]: name "
                f"another module, --taps {name}=PATH"
            )


def _single(feature: Any) -> Any:
    """A batch of one without its batch dimension, on the CPU."""
    if isinstance(feature, Tensor):
        return feature[0].detach().float().cpu()
    if isinstance(feature, Mapping):
        return {key: _single(value) for key, value in feature.items()}
    return [_single(value) for value in feature] if isinstance(feature, list | tuple) else feature


def _grid(model: nn.Module, cfg: Config, features: Mapping[str, Any]) -> BEVGrid:
    """The model's own grid, or that of the ``high`` map over the config's ``point_cloud_range``."""
    if getattr(model, "grid", None) is not None:
        return model.grid
    limits = cfg.point_cloud_range
    return BEVGrid((limits[0], limits[3]), (limits[1], limits[4]), (limits[3] - limits[0]) / features["high"].shape[-1])


def _ground_truth(info: Mapping, classes: list[str]) -> tuple[np.ndarray, list[str]]:
    truth = info.get("eval_ann_info") or info.get("ann_info")
    if truth is None:
        return np.zeros((0, 9)), []
    labels = np.asarray(truth["gt_labels_3d"])
    known = labels >= 0  # KITTI's DontCare has -1
    return truth["gt_bboxes_3d"].tensor.numpy()[known], [classes[label] for label in labels[known]]


def _located(path: str, root: Path, channel: str) -> Path:
    """A sensor file; mmdet3d leaves bare file names for the sensors that a data set's ``modality`` turns off."""
    return Path(path) if Path(path).is_file() else root / "samples" / channel / Path(path).name


def _points(info: Mapping, root: Path) -> np.ndarray:
    from bevkd.datasets.point_files import read_record

    record = info["lidar_points"]
    return read_record({**record, "lidar_path": _located(record["lidar_path"], root, "LIDAR_TOP")})[:, :5]


def _cameras(info: Mapping, root: Path, modality: Mapping) -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """Whole images with their matrices; the pipeline's own are cropped and resized for the network."""
    from bevkd.datasets.transforms.cameras import read_image

    images, matrices, names = [], [], []
    for name, record in (info.get("images") or {}).items():
        if not isinstance(record, Mapping) or not {"img_path", "lidar2cam"} <= record.keys():
            continue  # KITTI has calibrations of cameras without images
        file = _located(record["img_path"], root, name)
        if not file.is_file() and modality.get("use_camera") is False:
            continue  # a LiDAR detector's data set need not have them
        cam2img = np.eye(4)
        cam2img[:3, :3] = np.asarray(record["cam2img"], dtype=np.float64)[:3, :3]
        images.append(read_image(file)[0])
        matrices.append(cam2img @ np.asarray(record["lidar2cam"], dtype=np.float64))
        names.append(name)
    return images, np.stack(matrices) if matrices else np.zeros((0, 4, 4)), names

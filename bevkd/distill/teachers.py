"""Where a teacher's features come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bevkd.distill.cache.settings import model_settings
from bevkd.distill.models import build_model, grid_of, head_classes, known_taps, read_model_config, student_of
from bevkd.errors import ConfigError
from bevkd.registry import MODELS
from bevkd.structures import BEVGrid
from bevkd.structures.checkpoint import load_weights
from bevkd.structures.config_types import type_name
from bevkd.structures.sums import sha256
from bevkd.structures.taps import record_taps, resolve_taps


@MODELS.register_module()
class LiveTeacher:
    """A frozen model that runs beside the student on the same augmented sample, up to its raw head maps.

    It is no ``nn.Module``, so a distiller that holds it does not show it to the optimizer, to the data-parallel
    wrapper or to a checkpoint. It runs in eval mode, without gradients, on the student's device, and copies of its
    holder share it.

    Args:
        config: the teacher's config file, model config, or a ready module. A distiller's config stands for its student.
        checkpoint: its weights; may be left out only for a ready module.
        taps: name -> module path; None takes those of :func:`bevkd.distill.models.known_taps`: for CenterPoint of
            mmdet3d ``dict(low='pts_backbone:input', high='pts_neck', head='pts_bbox_head')``.
        grid: ``dict(x_range, y_range, cell)`` for a model without a ``grid`` of its own.
        point_columns: columns of the points to hand to the teacher; None hands on all. mmdet3d's PointPillars for
            nuScenes takes (0, 1, 2, 4): x, y, z and time, no intensity.
        sparse_layout: how the checkpoint lays out sparse convolutions, ``"mmcv"`` or ``"spconv"``; None sees it from
            their shapes.

    Raises:
        ConfigError: a config without a checkpoint; on :meth:`load` also an unknown tap or a grid that contradicts.
        CheckpointError: on :meth:`load`, a checkpoint that is unreadable or does not fit.
    """

    def __init__(
        self,
        config: Any,
        checkpoint: str | Path | None = None,
        taps: Mapping[str, str] | None = None,
        grid: Mapping[str, Any] | BEVGrid | None = None,
        point_columns: Sequence[int] | None = None,
        sparse_layout: str | None = None,
    ) -> None:
        if checkpoint is None and not isinstance(config, nn.Module):
            raise ConfigError("the teacher has a config but no checkpoint, expected checkpoint='path' with its weights")
        self.config, self.checkpoint = config, checkpoint
        self._taps, self._grid = taps, grid
        self._columns, self._layout = point_columns, sparse_layout
        self.model: nn.Module | None = None
        self.taps: dict[str, str] = {}
        self.grid: BEVGrid | None = None
        self._sha256: str | None = None
        self._settings: dict[str, Any] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> LiveTeacher:
        return self

    def load(self) -> None:
        """Build the model and load its weights, once. The random state is left as it was, so that a student trained
        with a teacher starts and shuffles exactly as one without."""
        if self.model is not None:
            return
        self._model_settings()  # as they are now: building takes keys out, and the file may be edited
        with torch.random.fork_rng(devices=[]):
            model, prefix = self._build()
        if self.checkpoint is not None:
            load_weights(model, self.checkpoint, prefix, self._layout)
        self.taps = resolve_taps(model, self._taps or known_taps(model))
        self.grid = grid_of(model, self._grid, "teacher")
        self.model = model.eval().requires_grad_(False)

    def _model_settings(self) -> dict[str, Any] | None:
        if self._settings is None and not isinstance(self.config, nn.Module):
            config = read_model_config(self.config, "the teacher's config")
            self._settings = model_settings(config, "the teacher's config")
        return self._settings

    def _build(self) -> tuple[nn.Module, str | None]:
        config = read_model_config(self.config, "the teacher's config")
        student = student_of(config, "the teacher's config")
        return build_model(student or config, "the teacher's config"), "student." if student else None

    def info(self) -> dict[str, Any]:
        """Where the teacher came from: ``config``, ``checkpoint`` and its ``sha256``, and the model's ``settings`` that
        its features depend on (None for a ready module); for the student's checkpoint."""
        if self.checkpoint is not None and self._sha256 is None:
            self._sha256 = sha256(self.checkpoint)
        if isinstance(self.config, str | Path):
            config = str(self.config)
        else:
            config = type_name(type(self.config) if isinstance(self.config, nn.Module) else self.config["type"])
        checkpoint = None if self.checkpoint is None else str(self.checkpoint)
        return {"config": config, "checkpoint": checkpoint, "sha256": self._sha256, "settings": self._model_settings()}

    def classes(self) -> list[list[str]] | None:
        """The classes by task of its head, once it is loaded; None where it does not tell."""
        return head_classes(self._loaded(), self.taps)

    @torch.no_grad()
    def __call__(self, inputs: Any, data_samples: Sequence[Any] | None, device: torch.device) -> dict[str, Any]:
        """The teacher's taps for one preprocessed batch.

        Raises:
            ConfigError: the teacher was put in train mode or made trainable, or a tap did not fire.
        """
        self.load()
        model = self._loaded()
        _require_frozen(model)
        if any(p.device != device for p in model.parameters()):
            model.to(device)
        with record_taps(model, self.taps) as features:
            _run(model, self._inputs(inputs), data_samples)
        return features

    def _loaded(self) -> nn.Module:
        assert self.model is not None, "call load() first"
        return self.model

    def _inputs(self, inputs: Any) -> Any:
        """What the teacher may look at, and change: see :func:`_views`."""
        inputs = _views(inputs)
        if self._columns is None:
            return inputs
        columns = list(self._columns)
        for cloud in inputs["points"]:
            if cloud.shape[1] <= max(columns):
                raise ConfigError(
                    f"the teacher's point_columns are {columns}, expected columns of points {tuple(cloud.shape)}"
                )
        return {**inputs, "points": [cloud[:, columns] for cloud in inputs["points"]]}


def _require_frozen(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if module.training:
            raise ConfigError(f"the teacher's module {name or 'itself'!r} is in train mode, expected eval mode")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            raise ConfigError(f"the teacher's parameter {name!r} is trainable, expected a frozen teacher")


def _run(model: Any, inputs: Any, data_samples: Sequence[Any] | None) -> None:
    """Run a model up to its raw head maps."""
    preprocessor: Any = getattr(model, "data_preprocessor", None)
    if getattr(preprocessor, "voxel", False):  # its own voxels, whatever the student's preprocessor made
        inputs = {**inputs, "voxels": preprocessor.voxelize(inputs["points"], data_samples)}
    if hasattr(model, "pts_bbox_head"):  # mmdet3d's multi-sensor detectors have no mode='tensor'
        _, features = model.extract_feat(inputs, [sample.metainfo for sample in data_samples or []])
        model.pts_bbox_head(features)
    elif hasattr(model, "bbox_head"):  # mmdet3d's single-stage detectors call bbox_head.forward, which no tap sees
        model.bbox_head(model.extract_feat(inputs))
    else:
        model(inputs, data_samples, mode="tensor")


def _views(inputs: Any) -> Any:
    """The same memory in new tensor objects, because mmdet3d squeezes a batch of one in place under the student."""
    if isinstance(inputs, Tensor):
        return inputs.detach()
    if isinstance(inputs, Mapping):
        return {key: _views(value) for key, value in inputs.items()}
    return [_views(value) for value in inputs] if isinstance(inputs, list | tuple) else inputs

"""What a cache keeps of one sample: whole maps, or their foreground alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bevkd.distill.bev.foreground import gaussian_mask
from bevkd.distill.bev.heads import join_head
from bevkd.errors import ConfigError, DataError
from bevkd.ops import sample_keypoints
from bevkd.structures import BEVGrid, nine_keypoints
from bevkd.structures.targets import Targets

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
BOXES, CELLS = "boxes", "cells"  # parts beside the taps
_EDGE = 1e-3  # cells; a centre as close to the edge of a cell may fall on its other side once it is mirrored


def layout_of(features: Mapping[str, Any]) -> dict[str, Any]:
    """Shape [C, Y, X] of each map and channels by key of each head's tasks.

    Raises:
        ConfigError: a tap that is neither.
    """
    return {name: _layout(name, feature) for name, feature in features.items()}


def _layout(name: str, feature: Any) -> Any:
    if name in (BOXES, CELLS) or "/" in name:
        raise ConfigError(f"tap {name!r} cannot be cached under this name, expected one such as low, high or head")
    if isinstance(feature, Tensor) and feature.ndim == 4:
        return list(feature.shape[1:])
    if isinstance(feature, Tensor):
        raise ConfigError(f"tap {name!r} is {tuple(feature.shape)}, expected a map [B, C, Y, X] or a head")
    return join_head(feature, "teacher")[2]


def dense_record(features: Mapping[str, Any], index: int, boxes: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """One sample of a batch: [C, Y, X] of every map, and of every head with all tasks' channels side by side.

    Args:
        features: taps of the batch.
        index: position in the batch.
        boxes: [M, >=7] of the sample.
        dtype: of the features; boxes stay float32.
    """
    record = {name: _packed(feature, index).to(dtype).cpu() for name, feature in features.items()}
    return {**record, BOXES: boxes.cpu().float()}


def foreground_record(
    features: Mapping[str, Any], index: int, boxes: Tensor, dtype: torch.dtype, grid: BEVGrid
) -> dict[str, Tensor]:
    """One sample of a batch: [M, 9, C] of every map at the boxes' keypoints, and [n, C] of every head in ``cells``.

    ``cells`` [n] int32 are row * X + column of where the Gaussian masks of the boxes are positive.
    """
    boxes = boxes.float()
    where = grid.normalise(nine_keypoints(boxes[:, :7])).reshape(1, -1, 2)
    cells = mask_cells(boxes, grid)
    record = {}
    for name, feature in features.items():
        if isinstance(feature, Tensor):
            samples = sample_keypoints(feature[index : index + 1], None, where.to(feature.device))[0]
            record[name] = samples.view(len(boxes), 9, feature.shape[1])
        else:
            maps = _packed(feature, index)
            if tuple(maps.shape[1:]) != grid.shape:
                raise ConfigError(f"the head {name!r} has maps {tuple(maps.shape[1:])}, expected {grid.shape} (Y, X)")
            record[name] = maps.flatten(1)[:, cells].T
    record = {name: values.to(dtype).cpu() for name, values in record.items()}
    return {**record, BOXES: boxes.cpu(), CELLS: cells.int().cpu()}


def mask_cells(boxes: Tensor, grid: BEVGrid) -> Tensor:
    """[n] flat cells where :func:`bevkd.distill.bev.foreground.gaussian_mask` of the boxes, or of the boxes moved by a
    hair, is positive."""
    if not len(boxes):
        return torch.zeros(0, dtype=torch.long, device=boxes.device)
    hairs = [(0.0, 0.0), *((x * _EDGE * grid.cell, y * _EDGE * grid.cell) for x in (-1, 1) for y in (-1, 1))]
    moved = [torch.cat((boxes[:, :2] + boxes.new_tensor(hair), boxes[:, 2:7]), 1) for hair in hairs]
    return gaussian_mask(Targets(moved, [], grid)).amax(0).flatten().nonzero()[:, 0]


def require_finite(record: Mapping[str, Tensor], token: str, dtype: torch.dtype) -> None:
    """Refuse features that are not numbers, or that became infinite in a narrow dtype.

    Raises:
        DataError: naming the sample and the tap.
    """
    for name, values in record.items():
        if values.is_floating_point() and not values.isfinite().all():
            narrow = " as float16, which ends at 65504: try --dtype bfloat16" if dtype == torch.float16 else ""
            raise DataError(f"sample {token}: the teacher's {name!r} has NaN or infinite numbers{narrow}")


def _packed(feature: Any, index: int) -> Tensor:
    """[C, Y, X] of a map, or of a head with its tasks and keys side by side."""
    if isinstance(feature, Tensor):
        return feature[index].detach()
    return torch.cat([task[key][index].detach() for task in feature for key in sorted(task)])


def unpack_head(packed: Tensor, tasks: Sequence[Mapping[str, int]]) -> list[dict[str, Tensor]]:
    """Back from [B, C, Y, X] to the list over tasks of dicts of raw maps [B, c, Y, X]."""
    parts = iter(packed.split([count for task in tasks for count in task.values()], 1))
    return [{key: next(parts) for key in task} for task in tasks]

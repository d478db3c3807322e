"""A teacher's maps brought onto the student's grid, by metres."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bevkd.distill.bev.regions import level_grid
from bevkd.errors import ConfigError
from bevkd.structures import BEVGrid


def require_cover(student: BEVGrid, teacher: BEVGrid) -> None:
    """Refuse a teacher that does not see all of the student's ground: there would be nothing to imitate.

    Raises:
        ConfigError: naming both ranges.
    """
    for axis, mine, theirs in (("x", student.x_range, teacher.x_range), ("y", student.y_range, teacher.y_range)):
        if mine[0] < theirs[0] or mine[1] > theirs[1]:
            raise ConfigError(
                f"the student's grid spans {axis} {mine} m and the teacher's {theirs} m, expected the teacher to cover "
                "the student for resample=True"
            )


@torch.no_grad()
def resample_taps(features: Mapping[str, Any], source: BEVGrid, target: BEVGrid) -> dict[str, Any]:
    """A teacher's taps on another grid.

    Feature maps are sampled bilinearly at the centres of the target's cells, or, where those are larger than the
    source's, averaged over enough points in each to miss none. A map of a coarser level stays as much coarser than its
    grid. Head maps are not mixed: a target cell takes all maps of a task from the hottest of the source cells in it,
    and ``reg``, an offset in cells, is turned over metres into the target's cells.

    Args:
        features: taps: maps [B, C, Y, X] over ``source`` or a fraction of its resolution, or a head, a list over tasks
            of dicts of RAW maps.
        source: the teacher's grid; must cover ``target``.

    Raises:
        ConfigError: a tap of another kind, or a level whose cells would not fit into the target's range.
    """
    return {name: _resample(value, source, target, f"tap {name!r}") for name, value in features.items()}


def _resample(value: Any, source: BEVGrid, target: BEVGrid, what: str) -> Any:
    if isinstance(value, Tensor) and value.ndim == 4:
        own = level_grid(source, value.shape[2:], f"the teacher's {what}")
        return _feature(value, own, BEVGrid(target.x_range, target.y_range, target.cell * own.cell / source.cell))
    if isinstance(value, Sequence) and all(isinstance(task, Mapping) and "heatmap" in task for task in value):
        return [_task(task, source, target) for task in value]
    raise ConfigError(f"the teacher's {what} is {type(value).__name__}, expected a map [B, C, Y, X] or a head")


def _points(source: BEVGrid, target: BEVGrid, device: torch.device) -> tuple[Tensor, int]:
    """Metres [2, Y k, X k] of k x k points in every target cell, and k: dense enough to meet every source cell."""
    finer = max(1, math.ceil(target.cell / source.cell - 1e-6))
    return BEVGrid(target.x_range, target.y_range, target.cell / finer).centres(device), finer


def _feature(feature: Tensor, source: BEVGrid, target: BEVGrid) -> Tensor:
    points, finer = _points(source, target, feature.device)
    where = source.normalise(points.permute(1, 2, 0)).expand(len(feature), -1, -1, -1)
    wide = feature.to(torch.promote_types(feature.dtype, torch.float32))
    samples = F.grid_sample(wide, where.to(wide), padding_mode="border", align_corners=False)
    return F.avg_pool2d(samples, finer).to(feature.dtype)


def _task(task: Mapping[str, Tensor], source: BEVGrid, target: BEVGrid) -> dict[str, Tensor]:
    heat = task["heatmap"]
    if tuple(heat.shape[2:]) != source.shape:
        raise ConfigError(f"the teacher's heat is {tuple(heat.shape)}, expected [B, classes, Y, X] on {source.shape}")
    points, finer = _points(source, target, heat.device)
    rows, columns = source.shape
    cells = source.to_cells(points.permute(1, 2, 0)).floor().long()  # [Y k, X k, 2], column and row
    cells = torch.minimum(cells.clamp(min=0), cells.new_tensor([columns - 1, rows - 1]))
    flat = _grouped((cells[..., 1] * columns + cells[..., 0])[None], finer)[0]  # [Y, X, k k]
    hottest = heat.amax(1).flatten(1)[:, flat].argmax(-1)  # [B, Y, X]
    chosen = flat.expand(len(heat), -1, -1, -1).gather(-1, hottest[..., None])[..., 0]
    taken = {key: _at(maps, chosen) for key, maps in task.items()}
    if "reg" in taken:
        own = torch.stack((chosen % columns, chosen // columns), 1)
        low = [source.x_range[0] - target.x_range[0], source.y_range[0] - target.y_range[0]]
        shift = taken["reg"].new_tensor(low).view(1, 2, 1, 1) / target.cell
        y, x = torch.meshgrid(*(torch.arange(n, device=heat.device) for n in target.shape), indexing="ij")
        taken["reg"] = (own + taken["reg"]) * (source.cell / target.cell) + shift - torch.stack((x, y))
    return taken


def _grouped(points: Tensor, finer: int) -> Tensor:
    """[N, Y k, X k] to [N, Y, X, k k]."""
    count, rows, columns = points.shape
    split = points.view(count, rows // finer, finer, columns // finer, finer)
    return split.transpose(2, 3).flatten(3)


def _at(maps: Tensor, cells: Tensor) -> Tensor:
    """[B, c, Y, X] at flat cells [B, Y', X']: [B, c, Y', X']."""
    index = cells.flatten(1)[:, None].expand(-1, maps.shape[1], -1)
    return maps.flatten(2).gather(2, index).view(*maps.shape[:2], *cells.shape[1:])

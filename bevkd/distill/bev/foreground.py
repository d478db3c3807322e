"""Where the ground-truth objects are on a BEV map: samples at their points, and Gaussian masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import box_keypoints, rotated_box_mask, sample_keypoints
from bevkd.structures import BEVGrid
from bevkd.structures.sources import KeypointSource
from bevkd.structures.targets import Targets


def check_maps(student: Tensor, teacher: Tensor, grid: BEVGrid, boxes: Sequence[Tensor], what: str) -> None:
    """Refuse a pair of maps that do not lie on one grid or differ in channels.

    Raises:
        ConfigError: naming ``what`` and both shapes.
    """
    shapes = f"{tuple(student.shape)} for the student, {tuple(teacher.shape)} for the teacher"
    if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher) or len(student) != len(boxes):
        raise ConfigError(f"{what} maps are {shapes}, expected [B, C, Y, X] with the batch of {len(boxes)} box lists")
    if student.shape[2:] != teacher.shape[2:] or tuple(student.shape[2:]) != grid.shape:
        raise ConfigError(f"{what} maps are {shapes}, expected both on the grid of {grid.shape} (Y, X) cells")
    if student.shape[1] != teacher.shape[1]:
        raise ConfigError(f"{what} maps are {shapes}, expected equal channels or an adapter on the student")


def sample_boxes(
    student: Tensor, teacher: Tensor | KeypointSource, targets: Targets, legacy_axis_swap: bool = False
) -> tuple[Tensor, Tensor]:
    """Bilinear samples of two maps at the nine points of every box of the batch; zero outside the grid.

    Args:
        student: [B, C, Y, X] over the targets' grid; half precision is sampled in float32.
        teacher: [B, D, Y, X], which never receives a gradient, or a source that hands out its samples.
        targets: M_b boxes in sample b.
        legacy_axis_swap: read the mirror cell, x and y exchanged after normalisation, as UniDistill's code does.

    Returns:
        [sum of M_b, 9, C] and [sum of M_b, 9, D].

    Raises:
        ConfigError: the mirror cell of a source that knows the boxes' own keypoints alone.
    """
    known = teacher if isinstance(teacher, KeypointSource) else None
    if known is not None and legacy_axis_swap:
        raise ConfigError(
            "legacy_axis_swap=True reads the teacher away from its boxes, and a cached foreground holds their own "
            "keypoints only; expected False, or a CachedDenseTeacher or LiveTeacher"
        )
    targets = targets.on(student.device)
    points = targets.once("keypoints", lambda: box_keypoints(targets.padded, targets.valid, targets.grid))
    rows = targets.once("rows of boxes", lambda: _rows(targets.boxes, points.shape[1], points.device))
    if legacy_axis_swap:
        points = points.flip(-1)
    maps = teacher if isinstance(teacher, Tensor) else None
    own, other = sample_keypoints(student, maps, points.flatten(1, 2))
    if known is not None:
        return _of_boxes(own, rows), known.at_keypoints(targets.boxes).detach()
    return _of_boxes(own, rows), _of_boxes(other, rows)


def _of_boxes(samples: Tensor | None, rows: Tensor) -> Tensor:
    """[B, M * 9, C] to [sum of M_b, 9, C]."""
    assert samples is not None
    return samples.view(-1, 9, samples.shape[2]).index_select(0, rows)


def _rows(boxes: Sequence[Tensor], longest: int, device: torch.device) -> Tensor:
    """The rows of the flattened padding [B * M] that hold boxes."""
    starts = [b * longest for b in range(len(boxes))]
    return torch.cat([torch.arange(s, s + len(box), device=device) for s, box in zip(starts, boxes)])


def gaussian_mask(targets: Targets, min_overlap: float = 0.7, min_radius: int = 0) -> Tensor:
    """Weight of every cell: the maximum over boxes of CenterNet Gaussians of sigma (2r + 1) / 6, cut at r cells.

    A radius of 0 marks one cell. A box whose centre lies outside the grid draws nothing.

    Args:
        min_overlap: see :func:`bevkd.structures.gaussian_radius`.
        min_radius: the least radius in cells.

    Returns:
        [B, Y, X] float32 in [0, 1].
    """

    def drawn() -> Tensor:
        gaussian = rotated_box_mask(targets.padded, targets.valid, targets.grid, min_overlap, min_radius).gaussian
        assert gaussian is not None  # an overlap was given
        return gaussian

    return targets.once(("gaussian mask", min_overlap, min_radius), drawn)


def no_loss(student: Tensor) -> Tensor:
    """Zero with a zero gradient, which a sum over ``student * 0`` is not where the student holds an infinity."""
    return student.float().flatten()[:0].sum()

"""Where the ground-truth objects are on a BEV map: checked boxes, samples at their points, Gaussian masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid, gaussian_radius, nine_keypoints
from bevkd.structures.sources import KeypointSource

_MAX_YAW = 10.0  # radians; box coders leave a few turns, degrees leave far more


def check_boxes(boxes: Sequence[Tensor], grid: BEVGrid) -> None:
    """Refuse boxes that would turn a loss into NaN or into a silent zero. One host synchronisation.

    Args:
        boxes: per sample [M_b, >=7] x, y, z, dx, dy, dz, yaw (metres, radians).

    Raises:
        DataError: wrong shape, NaN or infinite numbers, sizes that are not positive, yaw in degrees, or most
            centres further than a cell outside the grid.
    """
    for index, box in enumerate(boxes):
        if box.ndim != 2 or box.shape[1] < 7:
            raise DataError(f"boxes of sample {index} have shape {tuple(box.shape)}, expected [M, 7 or more]")
    everything = torch.cat([box[:, :7].float() for box in boxes]) if boxes else torch.empty(0, 7)
    if not len(everything):
        return
    finite = torch.stack([box.isfinite().all() for box in boxes]).all()
    sized = (everything[:, 3:6] > 0).all()
    radians = (everything[:, 6].abs() <= _MAX_YAW).all()
    rows, columns = grid.shape
    cells = grid.to_cells(everything[:, :2])
    inside = ((cells >= -1) & (cells <= cells.new_tensor([columns, rows]) + 1)).all(1).sum()
    finite, sized, radians, inside = torch.stack([finite, sized, radians, inside]).tolist()
    if not (finite and sized and radians):
        _raise_for_box(boxes)
    if inside * 2 < len(everything):
        raise DataError(
            f"{len(everything) - inside} of {len(everything)} box centres lie outside the BEV grid x {grid.x_range} "
            f"y {grid.y_range} m, expected boxes of the grid's own frame and range"
        )


def _raise_for_box(boxes: Sequence[Tensor]) -> None:
    for sample, box in enumerate(boxes):
        for row, numbers in enumerate(box.tolist()):
            where = f"box {row} of sample {sample}"
            if not all(abs(n) < float("inf") for n in numbers):
                raise DataError(f"{where} is {numbers}, expected finite numbers")
            if min(numbers[3:6]) <= 0:
                raise DataError(f"{where} has size {numbers[3:6]} m, expected positive numbers")
            if abs(numbers[6]) > _MAX_YAW:
                raise DataError(f"{where} has yaw {numbers[6]:g}, expected radians (this looks like degrees)")


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


def rank_mean(value: Tensor) -> Tensor:
    """A scalar averaged over the ranks of a distributed run, itself otherwise. Every rank must call it."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()


def count_boxes(boxes: Sequence[Tensor], device: torch.device) -> Tensor:
    """The number of boxes in the batch, averaged over ranks: a scalar."""
    return rank_mean(torch.tensor(float(sum(len(box) for box in boxes)), device=device))


def sample_keypoints(
    feature: Tensor | KeypointSource, boxes: Sequence[Tensor], grid: BEVGrid, legacy_axis_swap: bool = False
) -> Tensor:
    """Bilinear samples at the nine points of every box of the batch, in one grid_sample; zero outside the grid.

    Args:
        feature: [B, C, Y, X] over ``grid``, sampled in float32 if of half precision, or what hands out its samples.
        boxes: per sample [M_b, >=7], at least one box in the batch.
        legacy_axis_swap: read the mirror cell, x and y exchanged after normalisation, as UniDistill's code does.

    Returns:
        [sum of M_b, 9, C].

    Raises:
        ConfigError: the mirror cell of a source that knows the boxes' own keypoints alone.
    """
    if isinstance(feature, KeypointSource):
        if legacy_axis_swap:
            raise ConfigError(
                "legacy_axis_swap=True reads the teacher away from its boxes, and a cached foreground holds their own "
                "keypoints only; expected False, or a CachedDenseTeacher or LiveTeacher"
            )
        return feature.at_keypoints(boxes)
    if feature.dtype in (torch.half, torch.bfloat16):
        feature = feature.float()
    counts = [len(box) for box in boxes]
    longest = max(counts)
    where = grid.normalise(nine_keypoints(torch.cat([box[:, :7] for box in boxes]).to(feature)))
    if legacy_axis_swap:
        where = where.flip(-1)
    # The counts are known on the host, so padding and its removal need no look at the device.
    rows = torch.cat([torch.arange(n) + b * longest for b, n in enumerate(counts)]).to(feature.device)
    padded = where.new_zeros(len(boxes) * longest, 9, 2).index_copy(0, rows, where)
    samples = F.grid_sample(feature, padded.view(len(boxes), longest, 9, 2), padding_mode="zeros", align_corners=False)
    return samples.permute(0, 2, 3, 1).reshape(-1, 9, feature.shape[1]).index_select(0, rows)


@torch.no_grad()
def gaussian_mask(boxes: Sequence[Tensor], grid: BEVGrid, min_overlap: float = 0.7, min_radius: int = 0) -> Tensor:
    """Weight of every cell: the maximum over boxes of CenterNet Gaussians of sigma (2r + 1) / 6, cut at r cells.

    A radius of 0 marks one cell. A box whose centre lies outside the grid draws nothing.

    Args:
        boxes: per sample [M_b, >=7] (metres, radians).
        min_overlap: see :func:`gaussian_radius`.
        min_radius: the least radius in cells; the heat that CenterPoint learns from takes 0.1 and 2.

    Returns:
        [B, Y, X] float32 in [0, 1].
    """
    return torch.stack([_one_mask(box[:, :7].float(), grid, min_overlap, min_radius) for box in boxes])


def _one_mask(box: Tensor, grid: BEVGrid, min_overlap: float, min_radius: int) -> Tensor:
    rows, columns = grid.shape
    if not len(box):
        return box.new_zeros(rows, columns)
    radius = gaussian_radius(box[:, 3:5] / grid.cell, min_overlap).clamp(min=min_radius)[:, None]
    centre = grid.to_cells(box[:, :2]).floor()
    lines = []
    for axis, size in ((1, rows), (0, columns)):
        offset = torch.arange(size, device=box.device) - centre[:, axis : axis + 1]
        line = torch.exp(-(offset**2) / (2 * ((2 * radius + 1) / 6) ** 2))
        lines.append(line * (offset.abs() <= radius))
    inside = grid.contains(box[:, :2])[:, None]
    # No einsum, which would run in half precision under autocast.
    return ((lines[0] * inside)[:, :, None] * lines[1][:, None]).amax(0)


def no_loss(student: Tensor) -> Tensor:
    """Zero with a zero gradient, which a sum over ``student * 0`` is not where the student holds an infinity."""
    return student.float().flatten()[:0].sum()

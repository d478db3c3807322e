"""Where the ground-truth objects are on a BEV map: checked boxes, samples at their points, Gaussian masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bevkd.errors import ConfigError, DataError
from bevkd.ops import box_keypoints, rotated_box_mask, sample_keypoints
from bevkd.structures import BEVGrid
from bevkd.structures.sources import KeypointSource

_MAX_YAW = 10.0  # radians; box coders leave a few turns, degrees leave far more


def check_boxes(boxes: Sequence[Tensor], grid: BEVGrid) -> Tensor | float:
    """Refuse boxes that would turn a loss into a silent zero.

    Boxes in CPU memory are looked at, and an unusable one is named. To look at those on a GPU the host would have to
    wait for it, so there the answer is a scalar on the GPU: add it to the loss, and unusable boxes make the loss NaN,
    over which a run stops and names the samples.

    Args:
        boxes: per sample [M_b, >=7] x, y, z, dx, dy, dz, yaw (metres, radians).

    Returns:
        0.0 for boxes in CPU memory, else :func:`box_poison`.

    Raises:
        DataError: wrong shape; in CPU memory also NaN or infinite numbers, sizes that are not positive, yaw in
            degrees, or most centres further than a cell outside the grid.
    """
    for index, box in enumerate(boxes):
        if box.ndim != 2 or box.shape[1] < 7:
            raise DataError(f"boxes of sample {index} have shape {tuple(box.shape)}, expected [M, 7 or more]")
    if not any(len(box) for box in boxes):
        return 0.0
    poison = box_poison(boxes, grid)
    if poison.device.type != "cpu":
        return poison
    if poison.isnan():
        _raise_for_boxes(boxes, grid)
    return 0.0


def box_poison(boxes: Sequence[Tensor], grid: BEVGrid) -> Tensor:
    """A scalar on the boxes' device: 0, or NaN where :func:`check_boxes` would refuse them by their numbers."""
    everything = torch.cat([box[:, :7].float() for box in boxes])
    finite = torch.stack([box.isfinite().all() for box in boxes]).all()
    sane = finite & (everything[:, 3:6] > 0).all() & (everything[:, 6].abs() <= _MAX_YAW).all()
    return torch.where(sane & (_near(everything, grid).sum() * 2 >= len(everything)), 0.0, torch.nan)


def _near(boxes: Tensor, grid: BEVGrid) -> Tensor:
    """Which centres lie on the grid or within a cell of it."""
    rows, columns = grid.shape
    column, row = grid.to_cells(boxes[:, :2].float()).unbind(1)
    return (column >= -1) & (column <= columns + 1) & (row >= -1) & (row <= rows + 1)


def _raise_for_boxes(boxes: Sequence[Tensor], grid: BEVGrid) -> None:
    for sample, box in enumerate(boxes):
        for row, numbers in enumerate(box.tolist()):
            where = f"box {row} of sample {sample}"
            if not all(abs(n) < float("inf") for n in numbers):
                raise DataError(f"{where} is {numbers}, expected finite numbers")
            if min(numbers[3:6]) <= 0:
                raise DataError(f"{where} has size {numbers[3:6]} m, expected positive numbers")
            if abs(numbers[6]) > _MAX_YAW:
                raise DataError(f"{where} has yaw {numbers[6]:g}, expected radians (this looks like degrees)")
    total, outside = sum(len(box) for box in boxes), sum(int((~_near(box, grid)).sum()) for box in boxes)
    raise DataError(
        f"{outside} of {total} box centres lie outside the BEV grid x {grid.x_range} y {grid.y_range} m, expected "
        "boxes of the grid's own frame and range"
    )


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


def count_boxes(boxes: Sequence[Tensor], device: torch.device) -> Tensor:
    """The number of boxes in this rank's part of the batch: a scalar, float32, for which the host does not wait."""
    return torch.full((), float(sum(len(box) for box in boxes)), device=device)


def pad_boxes(boxes: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Lists of boxes as the ops take them. The counts are known on the host, so nothing waits for the device.

    Args:
        boxes: per sample [M_b, >=7], all on ``device`` or all in CPU memory.

    Returns:
        [B, M, 7] float32, zeros behind each sample's own, and [B, M] bool, which rows are boxes.
    """
    padded = pad_sequence([box[:, :7].float() for box in boxes], batch_first=True)
    valid = pad_sequence([torch.ones(len(box), dtype=torch.bool, device=box.device) for box in boxes], batch_first=True)
    return _sent(padded, device), _sent(valid, device)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; on its way to a GPU nobody waits for it."""
    if tensor.device.type == "cpu" and torch.device(device).type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def sample_boxes(
    student: Tensor,
    teacher: Tensor | KeypointSource,
    boxes: Sequence[Tensor],
    grid: BEVGrid,
    legacy_axis_swap: bool = False,
) -> tuple[Tensor, Tensor]:
    """Bilinear samples of two maps at the nine points of every box of the batch; zero outside the grid.

    Args:
        student: [B, C, Y, X] over ``grid``; half precision is sampled in float32.
        teacher: [B, D, Y, X], which never receives a gradient, or what hands out its samples.
        boxes: per sample [M_b, >=7].
        legacy_axis_swap: read the mirror cell, x and y exchanged after normalisation, as UniDistill's code does.

    Returns:
        [sum of M_b, 9, C] and [sum of M_b, 9, D].

    Raises:
        ConfigError: the mirror cell of a source that knows the boxes' own keypoints alone.
    """
    cached = isinstance(teacher, KeypointSource)
    if cached and legacy_axis_swap:
        raise ConfigError(
            "legacy_axis_swap=True reads the teacher away from its boxes, and a cached foreground holds their own "
            "keypoints only; expected False, or a CachedDenseTeacher or LiveTeacher"
        )
    points = box_keypoints(*pad_boxes(boxes, student.device), grid)
    longest = points.shape[1]
    if legacy_axis_swap:
        points = points.flip(-1)
    starts = [b * longest for b in range(len(boxes))]
    rows = torch.cat([torch.arange(s, s + len(box), device=points.device) for s, box in zip(starts, boxes)])
    samples = sample_keypoints(student, None if cached else teacher, points.flatten(1, 2))
    mine, theirs = (None if s is None else s.view(-1, 9, s.shape[2]).index_select(0, rows) for s in samples)
    return mine, teacher.at_keypoints(boxes).detach() if cached else theirs


def gaussian_mask(
    boxes: Sequence[Tensor],
    grid: BEVGrid,
    min_overlap: float = 0.7,
    min_radius: int = 0,
    device: torch.device | None = None,
) -> Tensor:
    """Weight of every cell: the maximum over boxes of CenterNet Gaussians of sigma (2r + 1) / 6, cut at r cells.

    A radius of 0 marks one cell. A box whose centre lies outside the grid draws nothing.

    Args:
        boxes: per sample [M_b, >=7] (metres, radians), on one device.
        min_overlap: see :func:`bevkd.structures.gaussian_radius`.
        min_radius: the least radius in cells.
        device: of the mask; None for that of the boxes.

    Returns:
        [B, Y, X] float32 in [0, 1].
    """
    padded, valid = pad_boxes(boxes, boxes[0].device if device is None else device)
    return rotated_box_mask(padded, valid, grid, min_overlap, min_radius).gaussian


def no_loss(student: Tensor) -> Tensor:
    """Zero with a zero gradient, which a sum over ``student * 0`` is not where the student holds an infinity."""
    return student.float().flatten()[:0].sum()

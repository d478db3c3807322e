"""What a distillation method may know about the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bevkd.errors import DataError
from bevkd.structures.bev_grid import BEVGrid

_MAX_YAW = 10.0  # radians; box coders leave a few turns, degrees leave far more
_T = TypeVar("_T")


@dataclass
class Targets:
    """Ground truth of a batch over one BEV grid, checked once and derived from once.

    >>> targets = Targets([torch.tensor([[1.0, 2, 0, 4, 2, 1.5, 0]])], [], BEVGrid((-8, 8), (-8, 8), 0.5))
    >>> targets.count.item(), targets.padded.shape, targets.check()
    (1.0, torch.Size([1, 1, 7]), 0.0)

    Attributes:
        boxes: per sample [M_b, >=7] x, y, z, dx, dy, dz, yaw[, vx, vy] in metres and radians, LiDAR frame.
        labels: per sample [M_b] int64.
        grid: the grid that teacher and student share.
        device: of everything derived; None for that of the boxes. Boxes in CPU memory serve any device.
    """

    boxes: list[Tensor]
    labels: list[Tensor]
    grid: BEVGrid
    device: torch.device | None = None
    _derived: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def from_data_samples(
        cls, data_samples: Sequence[Any], grid: BEVGrid, device: torch.device | None = None
    ) -> Targets:
        """Read ``gt_instances_3d`` of mmdet3d data samples.

        Raises:
            DataError: a sample without ``gt_instances_3d.bboxes_3d`` and ``labels_3d``, or a different number of each.
        """
        boxes, labels = [], []
        for index, sample in enumerate(data_samples):
            truth = getattr(sample, "gt_instances_3d", None)
            if truth is None or not hasattr(truth, "bboxes_3d") or not hasattr(truth, "labels_3d"):
                raise DataError(f"sample {index} of the batch has no gt_instances_3d with bboxes_3d and labels_3d")
            box = truth.bboxes_3d
            boxes.append(getattr(box, "tensor", box).to(device))
            labels.append(truth.labels_3d.to(device))
            if len(boxes[-1]) != len(labels[-1]):
                found = f"{len(boxes[-1])} boxes and {len(labels[-1])} labels"
                raise DataError(f"sample {index} of the batch has {found}, expected as many of each")
        return cls(boxes, labels, grid, device)

    def on(self, device: torch.device) -> Targets:
        """These targets with everything derived on ``device``."""
        return self if self._place == torch.device(device) else replace(self, device=torch.device(device))

    def once(self, name: Hashable, make: Callable[[], _T]) -> _T:
        """What ``make()`` returned when ``name`` was first asked for: several methods share one computation."""
        if name not in self._derived:
            self._derived[name] = make()
        found: _T = self._derived[name]
        return found

    @property
    def empty(self) -> bool:
        """Whether no sample of the batch has a box."""
        return not any(len(box) for box in self.boxes)

    @cached_property
    def count(self) -> Tensor:
        """The number of boxes in this rank's part of the batch, a float32 scalar that the host does not wait for."""
        return torch.full((), float(sum(len(box) for box in self.boxes)), device=self._place)

    @cached_property
    def padded(self) -> Tensor:
        """[B, M, 7] float32, zeros behind each sample's own boxes. The counts are known on the host."""
        return self._sent(pad_sequence([box[:, :7].float() for box in self.boxes], batch_first=True))

    @cached_property
    def valid(self) -> Tensor:
        """[B, M] bool: which rows of :attr:`padded` are boxes."""
        rows = [torch.ones(len(box), dtype=torch.bool, device=box.device) for box in self.boxes]
        return self._sent(pad_sequence(rows, batch_first=True))

    @cached_property
    def invalid(self) -> Tensor | float:
        """A scalar to add to a loss: 0, or NaN where :meth:`check` would refuse the boxes by their numbers."""
        if self.empty:
            return 0.0
        everything = torch.cat([box[:, :7].float() for box in self.boxes])
        finite = torch.stack([box.isfinite().all() for box in self.boxes]).all()
        sane = finite & (everything[:, 3:6] > 0).all() & (everything[:, 6].abs() <= _MAX_YAW).all()
        return torch.where(sane & (_near(everything, self.grid).sum() * 2 >= len(everything)), 0.0, torch.nan)

    def check(self) -> Tensor | float:
        """Refuse boxes that would turn a loss into a silent zero.

        On CPU, an invalid box raises an error that names it. On a GPU a check would force a host sync, so this returns
        :attr:`invalid` instead: added to the loss it makes the loss NaN, and the run stops and names the samples.

        Returns:
            0.0 for boxes in CPU memory, else a scalar on their device.

        Raises:
            DataError: wrong shape; in CPU memory also NaN or infinite numbers, sizes that are not positive, yaw in
                degrees, or most centres further than a cell outside the grid.
        """
        for index, box in enumerate(self.boxes):
            if box.ndim != 2 or box.shape[1] < 7:
                raise DataError(f"boxes of sample {index} have shape {tuple(box.shape)}, expected [M, 7 or more]")
        if isinstance(self.invalid, float) or self.invalid.device.type != "cpu":
            return self.invalid
        if self.invalid.isnan():
            _raise_for_boxes(self.boxes, self.grid)
        return 0.0

    @property
    def _place(self) -> torch.device:
        if self.device is not None:
            return torch.device(self.device)
        return self.boxes[0].device if self.boxes else torch.device("cpu")

    def _sent(self, tensor: Tensor) -> Tensor:
        """The tensor on the device; on its way to a GPU nobody waits for it."""
        if tensor.device.type == "cpu" and self._place.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._place, non_blocking=True)


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

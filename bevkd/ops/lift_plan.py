"""Which frustum point falls into which bird's-eye-view cell: the plan that lift-splat pooling runs over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from bevkd.errors import ConfigError, nearest
from bevkd.ops import library

if TYPE_CHECKING:
    from bevkd.structures import BEVGrid

_ROUNDINGS = ("floor", "trunc")


class PointLists(NamedTuple):
    """The points inside, sorted by cell; a cell keeps them in frustum order. What CPU kernels walk.

    Attributes:
        point: [P] int32, flat indices into ``LiftPlan.cell``.
        pixel: [P] int32, flat index (b, n, h, w) of the image feature that each of them belongs to.
        offsets: [B Y X + 1] int32, cell c holds ``point[offsets[c]:offsets[c + 1]]``.
    """

    point: Tensor
    pixel: Tensor
    offsets: Tensor

    @property
    def pool_op(self) -> str:
        """The operator that walks these lists."""
        return "bev_pool"

    @classmethod
    def build(cls, cell: Tensor, shape: tuple[int, int]) -> PointLists:
        """From the ``cell`` and ``shape`` of a plan."""
        return cls(*torch.ops.bevkd.lift_points(cell, len(cell) * shape[0] * shape[1]))


class ColumnLists(NamedTuple):
    """The points by image column: what GPU kernels walk.

    The pixels of one column at one depth fall into nearly the same cell, because the map has no height. A column and a
    cell that it touches make a row: R of them replace an order of magnitude more points.

    Attributes:
        local: [B, N, D, H, W] int16, the place of a point's cell among the cells of its column, or -1 outside.
        column_offsets: [B N W + 1] int32, column (b, n, w) has the rows ``column_offsets[i]:column_offsets[i + 1]``.
        column_cell: [R] int32, the cell of each row, ascending within a column.
        row_slot: [R] int32, the place of a row among the rows sorted by cell, or -1 when its cell has no other row.
        cell_offsets: [B Y X + 1] int32, the rows of cell c have the places ``cell_offsets[c]:cell_offsets[c + 1]``.
        max_cells: rows of the column that has most.
    """

    local: Tensor
    column_offsets: Tensor
    column_cell: Tensor
    row_slot: Tensor
    cell_offsets: Tensor
    max_cells: int

    @property
    def pool_op(self) -> str:
        """The operator that walks these lists."""
        return "bev_pool_columns"

    @staticmethod
    def fits(cell: Tensor) -> bool:
        """Whether the kernels take such columns: points numbered in 16 bits, and a few cells of all image rows at once
        in shared memory. Every camera in use does; 32 depth bins for each of 1000 image rows would not."""
        _, _, depths, height, _ = cell.shape
        return depths * height < 2**15 and height <= 128

    @classmethod
    def build(cls, cell: Tensor, shape: tuple[int, int]) -> ColumnLists:
        """From the ``cell`` and ``shape`` of a plan on a GPU."""
        return cls(*torch.ops.bevkd.lift_columns(cell, len(cell) * shape[0] * shape[1]))


def _lists(cell: Tensor, shape: tuple[int, int]) -> PointLists | ColumnLists:
    """The lists that suit a device. On a CPU columns gain nothing; on a GPU a kernel over points must gather a feature
    row per point where one over columns adds a tenth as many rows, so points are for what columns cannot take."""
    by_column = cell.device.type == "cuda" and ColumnLists.fits(cell)
    return (ColumnLists if by_column else PointLists).build(cell, shape)


@dataclass(frozen=True, eq=False)
class LiftPlan:
    """Built once per camera geometry, used by every pooling over it.

    Attributes:
        cell: [B, N, D, H, W] int32, ``(b Y + y) X + x``, or -1 for a point outside.
        num_invalid: [] int64, points dropped because a coordinate was NaN or infinite.
        shape: (Y, X) of the BEV map.
        lists: ``cell`` turned round, in the form that the kernels of its device walk.
    """

    cell: Tensor
    num_invalid: Tensor
    shape: tuple[int, int]
    lists: PointLists | ColumnLists

    @staticmethod
    def build(frustum: Tensor, grid: BEVGrid, z_range: tuple[float, float], rounding: str = "floor") -> LiftPlan:
        """Sort frustum points into the cells of a grid.

        Cells are ``floor((x - x_min) / cell)`` in the frustum's own precision, upper bounds exclusive; z is one bin.
        ``rounding="trunc"`` rounds toward zero instead, as LSS, BEVDet, BEVFusion and UniDistill do: one more cell of
        points on the low side lands in cell 0, and z from [-10, 10) grows to [-30, 10). Use it only for checkpoints
        trained that way. Cells are the same bits on every device.

        Args:
            frustum: [B, N, D, H, W, 3] float32 or float64, (x, y, z) metres of pixel (h, w) of camera n at depth bin d.
            grid: the BEV map to pool into, in the frame of ``frustum``.
            z_range: (min, max) metres.
            rounding: "floor" or "trunc".

        Raises:
            ConfigError: an argument that is not as described.
        """
        described = "[B, N, D, H, W, 3]"
        library.require_tensor("frustum", frustum, described, 6, (torch.float32, torch.float64))
        if frustum.shape[-1] != 3:
            raise ConfigError(f"frustum has shape {tuple(frustum.shape)}, expected {described}")
        if rounding not in _ROUNDINGS:
            raise ConfigError(f"rounding is {rounding!r}{nearest(str(rounding), _ROUNDINGS)}")
        z = [float(value) for value in z_range]
        if len(z) != 2 or not z[0] < z[1]:
            raise ConfigError(f"z_range is {tuple(z_range)}, expected (min, max) with min < max")
        low = [grid.x_range[0], grid.y_range[0], z[0]]
        high = [grid.x_range[1], grid.y_range[1], z[1]]
        with torch.no_grad():
            cell, invalid = torch.ops.bevkd.lift_plan(frustum, low, high, grid.cell, grid.shape, rounding == "trunc")
            return LiftPlan(cell, invalid, grid.shape, _lists(cell, grid.shape))

    def to(self, device: torch.device | str) -> LiftPlan:
        """The same plan on another device, with the lists that suit it."""
        cell = self.cell.to(device)
        if cell.device.type in (self.cell.device.type, "meta"):
            moved: Any = (x.to(device) if isinstance(x, Tensor) else x for x in self.lists)
            lists = type(self.lists)(*moved)
        else:
            lists = _lists(cell, self.shape)
        return LiftPlan(cell, self.num_invalid.to(device), self.shape, lists)


def _fake_plan(frustum: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return frustum.new_empty(frustum.shape[:5], dtype=torch.int32), frustum.new_empty((), dtype=torch.int64)


def _fake_points(cell: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    inside = torch.library.get_ctx().new_dynamic_size()
    return cell.new_empty(inside), cell.new_empty(inside), cell.new_empty(cells + 1)


def _fake_columns(cell: Tensor, cells: int) -> tuple[Any, ...]:
    samples, cameras, _, _, width = cell.shape
    new_size = torch.library.get_ctx().new_dynamic_size
    rows = new_size()
    lists = (cell.new_empty(count) for count in (samples * cameras * width + 1, rows, rows, cells + 1))
    return cell.new_empty(cell.shape, dtype=torch.int16), *lists, new_size()


library.load()
torch.library.register_fake("bevkd::lift_columns", _fake_columns)
torch.library.register_fake("bevkd::lift_plan", _fake_plan)
torch.library.register_fake("bevkd::lift_points", _fake_points)

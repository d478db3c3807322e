"""The one convention that turns metres into bird's-eye-view cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bevkd.errors import ConfigError


@dataclass(frozen=True)
class BEVGrid:
    """A regular grid of square cells on the ground plane of the LiDAR frame.

    Feature maps over it are ``[B, C, Y, X]``: row = y, column = x. Cell (0, 0) has its outer corner at
    ``(x_range[0], y_range[0])``, and the centre of cell (i, j) lies at ``x_min + (j + 0.5) cell``,
    ``y_min + (i + 0.5) cell``. Frames are the data set's own LiDAR frame (nuScenes: x right, y forward).

    Worked numbers: ``BEVGrid((-54, 54), (-54, 54), 0.6)`` has shape (180, 180); x = 2 m lies at column
    93.33 counted from the outer edge and at 2 / 54 = 0.037037 in normalised coordinates.

    Args:
        x_range: (min, max) in metres.
        y_range: (min, max) in metres.
        cell: side of a cell in metres.

    Raises:
        ConfigError: an empty range, a cell that is not positive, or a range that is no multiple of the cell.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    cell: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "x_range", tuple(float(v) for v in self.x_range))
        object.__setattr__(self, "y_range", tuple(float(v) for v in self.y_range))
        object.__setattr__(self, "cell", float(self.cell))
        if not self.cell > 0:
            raise ConfigError(f"BEVGrid cell is {self.cell}, expected a positive number of metres")
        for name, span in (("x_range", self.x_range), ("y_range", self.y_range)):
            if len(span) != 2 or not span[1] > span[0]:
                raise ConfigError(f"BEVGrid {name} is {span}, expected (min, max) with min < max")
            cells = (span[1] - span[0]) / self.cell
            if abs(cells - round(cells)) > 1e-4:
                raise ConfigError(
                    f"BEVGrid {name} {span} is {cells:.4f} cells of {self.cell} m, expected a whole number"
                )

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X): rows and columns."""
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        return round((y1 - y0) / self.cell), round((x1 - x0) / self.cell)

    def centres(self, device: torch.device | str | None = None) -> Tensor:
        """Metres of the cell centres: [2, Y, X] float32, x first."""
        (x0, _), (y0, _) = self.x_range, self.y_range
        rows, columns = self.shape
        y = y0 + (torch.arange(rows, device=device) + 0.5) * self.cell
        x = x0 + (torch.arange(columns, device=device) + 0.5) * self.cell
        return torch.stack((x.expand(rows, columns), y[:, None].expand(rows, columns)))

    def to_cells(self, xy: Tensor) -> Tensor:
        """Metres [..., 2] (x, y) to continuous (column, row) counted from the outer corner [..., 2]."""
        # Numbers, not a tensor of them: that would be copied to a GPU while the host waits.
        x, y = xy[..., 0] - self.x_range[0], xy[..., 1] - self.y_range[0]
        return torch.stack((x, y), -1) / self.cell

    def normalise(self, xy: Tensor) -> Tensor:
        """Metres [..., 2] (x, y) to [-1, 1] at the outer edges, as ``grid_sample(align_corners=False)`` wants them."""
        parts = zip(xy.unbind(-1), (self.x_range, self.y_range), strict=True)
        return torch.stack([2 * (values - low) / (high - low) - 1 for values, (low, high) in parts], -1)

    def contains(self, xy: Tensor) -> Tensor:
        """Which points [..., 2] (x, y) lie inside, upper bound exclusive: bool [...]."""
        cells = self.to_cells(xy)
        rows, columns = self.shape
        return (cells >= 0).all(-1) & (cells[..., 0] < columns) & (cells[..., 1] < rows)

    def require_same(self, other: BEVGrid, mine: str = "student", theirs: str = "teacher") -> None:
        """Raise ConfigError naming every field in which the two grids differ."""
        wrong = [
            f"{name} {getattr(self, name)} against {getattr(other, name)}"
            for name in ("x_range", "y_range", "cell")
            if getattr(self, name) != getattr(other, name)
        ]
        if wrong:
            raise ConfigError(
                f"the BEV grids of {mine} and {theirs} differ: {'; '.join(wrong)}; expected the same grid"
            )

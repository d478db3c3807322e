"""Which cells of a BEV map lie in which box, and how much each of them weighs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bevkd.errors import ConfigError, DataError
from bevkd.ops import library

if TYPE_CHECKING:
    from bevkd.structures import BEVGrid


class BoxMask(NamedTuple):
    """Boxes drawn on a BEV map.

    Attributes:
        index: [B, Y, X] int32, the box that holds the centre of the cell, -1 for none. Of several, the FIRST.
        counts: [B, M] int32, cells whose centre the box holds, whether or not an earlier box holds them too; 0 for a
            row that is not valid, -1 for a valid box with a NaN, an infinity or a size that is not positive.
        gaussian: [B, Y, X] float32 in [0, 1], the maximum over boxes of their Gaussians; None unless asked for.
    """

    index: Tensor  # type: ignore[assignment]  # in place of tuple.index
    counts: Tensor
    gaussian: Tensor | None

    @property
    def foreground(self) -> Tensor:
        """[B, Y, X] bool, the cells that lie in a box."""
        return self.index >= 0

    def spread(self, values: Tensor) -> Tensor:
        """Values of boxes [B, M] laid onto their cells: [B, Y, X], 0 where there is no box.

        DistillBEV's scaling is ``mask.spread(cell / (boxes[..., 3] * boxes[..., 4]).sqrt())`` with the cell in metres.
        """
        if values.shape != self.counts.shape:
            raise ConfigError(f"values have shape {tuple(values.shape)}, expected [B, M] = {tuple(self.counts.shape)}")
        background_first = F.pad(values, (1, 0))
        return background_first.gather(1, self.index.flatten(1).long() + 1).view(self.index.shape)

    def area_weight(self) -> Tensor:
        """[B, Y, X] float32: 1 / (cells in the box), so that a box weighs 1 whatever its size, less what an earlier
        box covers of it."""
        return self.spread(1 / self.counts.clamp(min=1).float())


def rotated_box_mask(
    boxes: Tensor, valid: Tensor, grid: BEVGrid, min_overlap: float | None = None, min_radius: int = 0
) -> BoxMask:
    """Test the CENTRE of every cell against every box. Static shapes, no host synchronisation, no gradient.

    A cell belongs to a box when its centre lies strictly inside the four sides, as in
    :func:`bevkd.ops.points_in_boxes`; z is ignored. On 1 m cells a box at a cell's outer corner with sizes (4, 2) and
    yaw 0 holds 4 x 2 cells; one smaller than a cell may hold none. The Gaussian of a box is 1 in the cell of its
    centre, falls with sigma (2r + 1) / 6 cells and is cut at r cells, where r is CornerNet's radius for ``min_overlap``
    (see :func:`bevkd.structures.gaussian_radius`); a box centred off the map draws none. UniDistill takes min_overlap
    0.7 and min_radius 0, CenterPoint's heat targets 0.1 and 2.

    Arithmetic is float32 whatever the boxes are; autocast changes nothing. CPU and CUDA give the same bits.

    Args:
        boxes: [B, M, >=7] x, y, z, dx, dy, dz, yaw (metres, radians), float32 or float64; padded to one M.
        valid: [B, M] bool, False for padding rows, whose numbers are not looked at.
        grid: the map, in the frame of the boxes.
        min_overlap: draw Gaussians whose radius keeps this IoU, between 0 and 1; None draws none.
        min_radius: the least radius in cells.

    Raises:
        ConfigError: a shape, dtype, device or number that is not as described.
        DataError: boxes in CPU memory with a valid row that is not finite or has a size <= 0. On a GPU asking would
            make the host wait, so there ``counts`` is -1 for such a row and it holds no cell.
    """
    require_padded_boxes(boxes, valid)
    if min_overlap is not None and not (0 < min_overlap < 1 and min_radius >= 0):
        raise ConfigError(
            f"min_overlap is {min_overlap} and min_radius {min_radius}, expected between 0 and 1, and not negative"
        )
    draw = min_overlap is not None
    low = [grid.x_range[0], grid.y_range[0]]
    with torch.no_grad():
        index, counts, gaussian = torch.ops.bevkd.rotated_box_mask(
            boxes, valid, low, grid.cell, list(grid.shape), draw, min_overlap or 0.0, min_radius
        )
    if boxes.device.type == "cpu" and not torch.compiler.is_compiling():
        _require_usable(boxes, counts)
    return BoxMask(index, counts, gaussian if draw else None)


def require_padded_boxes(boxes: Tensor, valid: Tensor) -> None:
    """Raise ConfigError unless the tensors are [B, M, >=7] float and [B, M] bool on one device with kernels."""
    library.require_tensor("boxes", boxes, "[B, M, 7 or more]", 3, (torch.float32, torch.float64))
    if boxes.shape[2] < 7:
        raise ConfigError(f"boxes have shape {tuple(boxes.shape)}, expected [B, M, 7 or more]")
    library.require_tensor("valid", valid, "[B, M]", 2, (torch.bool,))
    if valid.shape != boxes.shape[:2] or valid.device != boxes.device:
        raise ConfigError(
            f"valid is {tuple(valid.shape)} on {valid.device}, expected {tuple(boxes.shape[:2])} on {boxes.device}"
        )


def _require_usable(boxes: Tensor, counts: Tensor) -> None:
    for sample, box in (counts < 0).nonzero().tolist():
        numbers = boxes[sample, box, :7].tolist()
        raise DataError(f"box {box} of sample {sample} is {numbers}, expected finite numbers and positive sizes")


def _register() -> None:
    library.load()

    def fake(boxes: Tensor, valid: Tensor, low: Any, cell: float, shape: list[int], gaussian: bool, *_: Any) -> Any:
        index = boxes.new_empty(boxes.shape[0], *shape, dtype=torch.int32)
        counts = boxes.new_empty(boxes.shape[:2], dtype=torch.int32)
        return index, counts, boxes.new_empty(index.shape if gaussian else 0, dtype=torch.float32)

    torch.library.register_fake("bevkd::rotated_box_mask", fake)


_register()

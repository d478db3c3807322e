"""From metres to cells in plain torch; csrc/common/cells.h is its compiled twin."""

import torch
from torch import Tensor


def axis_cell(value: Tensor, low: float, high: float, size: float, rounding: str = "floor") -> Tensor:
    """The cell along one axis, int64, -1 outside [low, high) or for NaN.

    Subtract, divide and round in the dtype of ``value``.
    """
    start, end, step = (value.new_tensor(number) for number in (low, high, size))
    count = torch.round((end - start) / step)
    ratio = (value - start) / step
    cell = ratio.trunc() if rounding == "trunc" else ratio.floor()
    inside = (value < end) & (cell >= 0) & (cell < count)
    return torch.where(inside, cell, -1).long()

"""Where two centre heads see objects: heat peaks, the windows around them, and both maps cropped there.

All shapes are static (a fixed number of regions and a mask), so nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bevkd.distill.bev.heads import join_head
from bevkd.errors import ConfigError
from bevkd.structures import BEVGrid, gaussian_radius

_SIZES = (0.1, 50.0)  # metres; an untrained head's exp(dim) may be anything
_MIN_OVERLAP = 0.1  # of the windows' radius, as in CenterPoint's training


@dataclass(frozen=True)
class Proposals:
    """Proposals of a batch, padded to R a sample.

    Attributes:
        cells: [B, R] flat cell (row * X + column) of the peak.
        windows: [B, R, 4] x0, y0, x1, y1 in cells from the map's outer corner, within the map.
        valid: [B, R] bool; the others are padding.
    """

    cells: Tensor
    windows: Tensor
    valid: Tensor


@torch.no_grad()
def propose(head: Sequence[Mapping[str, Tensor]], grid: BEVGrid, count: int, threshold: float, who: str) -> Proposals:
    """The ``count`` hottest peaks of a head's class-agnostic heat that exceed ``threshold``.

    A peak is the largest of its 3 x 3 cells. Its window has the Gaussian radius (at least one cell) of the size that
    the head predicts there for its likeliest class, and ends at the map's border.

    Args:
        head: list over tasks of dicts of RAW maps [B, c, Y, X] with ``heatmap`` and ``dim`` (3, logarithm of metres).
        grid: of the maps.
        count: regions a sample, at most the number of cells.
        who: ``"student"`` or ``"teacher"``, for the error sentence.

    Raises:
        ConfigError: a head without ``dim`` of three channels, or maps off the grid.
    """
    logits = join_head(head, who)[0]
    if tuple(logits.shape[2:]) != grid.shape:
        raise ConfigError(f"the {who}'s heat is {tuple(logits.shape)}, expected [B, classes, Y, X] on {grid.shape}")
    best, label = logits.sigmoid().max(1)
    peaks = best * (F.max_pool2d(best, 3, 1, 1) == best)
    heat, cells = peaks.flatten(1).topk(min(count, peaks[0].numel()))
    sizes = _sizes_at(head, cells, label, who).clamp(*_SIZES) / grid.cell
    radius = gaussian_radius(sizes.flatten(0, 1), _MIN_OVERLAP).clamp(min=1).view_as(cells)
    return Proposals(cells, _windows(cells, radius, grid.shape), heat > threshold)


def _sizes_at(head: Sequence[Mapping[str, Tensor]], cells: Tensor, label: Tensor, who: str) -> Tensor:
    """Metres (dx, dy) that the likeliest class's task predicts: [B, R, 2]."""
    if any("dim" not in task or task["dim"].shape[1] != 3 for task in head):
        raise ConfigError(f"the {who}'s head has no 'dim' map of 3 channels in every task, expected a centre head")
    task_of = torch.tensor([k for k, task in enumerate(head) for _ in range(task["heatmap"].shape[1])])
    dims = torch.stack([task["dim"][:, :2].float().flatten(2) for task in head], 1)  # [B, T, 2, Y X]
    task = task_of.to(label.device)[label.flatten(1).gather(1, cells)]
    batch = torch.arange(len(cells), device=cells.device)[:, None]
    return dims[batch, task, :, cells].exp().nan_to_num(nan=_SIZES[0])


def _windows(cells: Tensor, radius: Tensor, shape: tuple[int, int]) -> Tensor:
    rows, columns = shape
    row, column = cells // columns, cells % columns
    low = torch.stack((column - radius, row - radius), -1).clamp(min=0)
    high = torch.minimum(torch.stack((column, row), -1) + radius[..., None] + 1, low.new_tensor([columns, rows]))
    return torch.cat((low, high), -1)


def join_proposals(first: Proposals, second: Proposals) -> Proposals:
    """The proposals of both, those of one cell kept once: with the window of ``first``."""
    repeated = ((second.cells[:, :, None] == first.cells[:, None]) & first.valid[:, None]).any(2)
    return Proposals(
        torch.cat([first.cells, second.cells], 1),
        torch.cat([first.windows, second.windows], 1),
        torch.cat([first.valid, second.valid & ~repeated], 1),
    )


def crop(feature: Tensor, windows: Tensor, bins: int) -> Tensor:
    """RoI-Align with one bilinear sample in the middle of each of ``bins`` x ``bins`` parts of a window.

    Args:
        feature: [B, C, Y, X]; half precision is sampled in float32.
        windows: [B, R, 4] in cells, see :class:`Proposals`.

    Returns:
        [B, R, C, bins, bins].
    """
    feature = feature.to(torch.promote_types(feature.dtype, torch.float32))
    batch, channels, rows, columns = feature.shape
    low, high = windows.to(feature).split(2, -1)
    middle = (torch.arange(bins, device=feature.device, dtype=feature.dtype) + 0.5) / bins
    points = low[:, :, None] + middle[:, None] * (high - low)[:, :, None]  # [B, R, bins, 2]
    points = 2 * points / points.new_tensor([columns, rows]) - 1
    x = points[:, :, None, :, 0].expand(-1, -1, bins, -1)
    y = points[:, :, :, None, 1].expand(-1, -1, -1, bins)
    where = torch.stack((x, y), -1).view(batch, -1, bins, 2)
    samples = F.grid_sample(feature, where, padding_mode="border", align_corners=False)
    return samples.view(batch, channels, -1, bins, bins).transpose(1, 2)

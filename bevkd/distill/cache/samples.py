"""Cached features in the place of a teacher's taps, for one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bevkd.distill.cache.records import unpack_head
from bevkd.errors import ConfigError


class CachedKeypoints:
    """Samples of a map [B, C, Y, X] at the nine keypoints of the batch's boxes.

    Args:
        samples: per sample [M_b, 9, C] float32.
        boxes: per sample [M_b, >=7], as the methods get them.
        shape: (C, Y, X) of the map.
    """

    ndim = 4

    def __init__(self, samples: Sequence[Tensor], boxes: Sequence[Tensor], shape: Sequence[int]) -> None:
        self.samples, self.boxes = samples, boxes
        self.shape = (len(samples), *shape)

    def __len__(self) -> int:
        return len(self.samples)

    def at_keypoints(self, boxes: Sequence[Tensor]) -> Tensor:
        """[sum of M_b, 9, C]; see :class:`bevkd.structures.sources.KeypointSource`."""
        same = len(boxes) == len(self.boxes) and all(
            mine is given or torch.equal(mine, given) for mine, given in zip(self.boxes, boxes)
        )
        if not same:
            raise ConfigError("a cached foreground was asked for boxes other than those of its batch")
        return torch.cat(list(self.samples))


class CachedHead:
    """Raw head maps in the cells around the batch's boxes.

    Args:
        values: per sample [n_b, C] float32, all tasks' channels side by side.
        cells: per sample [n_b] flat cells, row * X + column.
        tasks: channels by key of every task.
        shape: (Y, X) of the maps.
        refusal: why this batch's head cannot be used, raised when a method asks for it.
    """

    def __init__(
        self,
        values: Sequence[Tensor],
        cells: Sequence[Tensor],
        tasks: list[Mapping[str, int]],
        shape: tuple[int, int],
        refusal: str | None = None,
    ) -> None:
        self.values, self.cells, self.tasks, self.shape, self.refusal = values, cells, tasks, shape, refusal

    def inside(self, mask: Tensor) -> list[dict[str, Tensor]]:
        """The head where ``mask`` is positive, zero elsewhere; see :class:`bevkd.structures.sources.HeadSource`."""
        if self.refusal:
            raise ConfigError(self.refusal)
        expected = (len(self.values), *self.shape)
        if tuple(mask.shape) != expected:
            raise ConfigError(f"the mask of a cached head is {tuple(mask.shape)}, expected {expected} (B, Y, X)")
        known = torch.zeros_like(mask, dtype=torch.bool).flatten(1)
        maps = mask.new_zeros(len(mask), sum(sum(task.values()) for task in self.tasks), known.shape[1])
        for index, (values, cells) in enumerate(zip(self.values, self.cells)):
            known[index, cells] = True
            maps[index][:, cells] = values.T
        if bool(((mask.flatten(1) > 0) & ~known).any()):
            raise ConfigError("a cached head was asked for cells away from the boxes it was made with")
        return unpack_head(maps.unflatten(2, self.shape), self.tasks)

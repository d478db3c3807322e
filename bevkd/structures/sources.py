"""What a distillation method may get in place of a teacher's whole maps: their foreground alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class KeypointSource(Protocol):
    """A map [B, C, Y, X] that is known at the nine keypoints of the batch's boxes only.

    Attributes:
        shape: (B, C, Y, X) of the map. ndim: 4. Its length is B.
    """

    shape: tuple[int, int, int, int]
    ndim: int

    def __len__(self) -> int: ...

    def at_keypoints(self, boxes: Sequence[Tensor]) -> Tensor:
        """[sum of M_b, 9, C], in the order of :func:`bevkd.structures.nine_keypoints` of ``boxes``.

        Raises:
            ConfigError: boxes other than the batch's.
        """
        ...


@runtime_checkable
class HeadSource(Protocol):
    """A head whose raw maps are known in the cells around the batch's boxes only."""

    def inside(self, mask: Tensor) -> Sequence[Mapping[str, Tensor]]:
        """The head, a list over tasks of dicts of raw maps [B, c, Y, X], right where ``mask`` [B, Y, X] is positive.

        Raises:
            ConfigError: a masked cell that is not known.
        """
        ...

"""Memory that repeated calls of :func:`bevkd.ops.voxelize` and :func:`bevkd.ops.voxelize_mean` write into."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# csrc/voxelize/voxel_checks.h has the same formula.
_SCRATCH_BYTES_PER_POINT = 64
_SCRATCH_BYTES = 1 << 16


class StaticVoxels(NamedTuple):
    """Voxels in tensors of a fixed size M = ``max_voxels``; only the first ``num_voxels`` rows hold one.

    Every tensor is a view of the workspace: the next call with that workspace overwrites it. Clone what must last.

    Attributes:
        features: [M, K, F] float32, or [M, F] for means; 0 in the rows that hold no voxel.
        coords: [M, 3] int32, (z, y, x) cell; -1 in the rows that hold no voxel.
        num_points: [M] int32, points kept in each voxel; 0 in the rows that hold no voxel.
        num_voxels: [] int64, rows in use.
        num_dropped: [] int64, occupied voxels beyond ``max_voxels``, dropped with all their points.
        num_invalid: [] int64, points dropped because one of their columns was NaN or infinite.
    """

    features: Tensor
    coords: Tensor
    num_points: Tensor
    num_voxels: Tensor
    num_dropped: Tensor
    num_invalid: Tensor

    def trimmed(self) -> tuple[Tensor, Tensor, Tensor]:
        """(features, coords, num_points) cut to the rows in use, still views. Waits for the device."""
        count = int(self.num_voxels)
        return self.features[:count], self.coords[:count], self.num_points[:count]


class VoxelWorkspace:
    """Output and scratch memory, allocated at the first call and kept: later calls neither allocate nor page-fault.

    With ``workspace=`` a voxelizer returns :class:`StaticVoxels`: shapes depend on the arguments alone and the host
    never waits for the device, so that a call can be captured in a CUDA graph. Give every call site a workspace of its
    own; a call with another cap, width or device than the one before allocates anew. Not for two threads at once.
    """

    def __init__(self) -> None:
        self._outputs: tuple[Tensor, ...] = ()
        self._scratch: Tensor | None = None

    def tensors(self, points: Tensor, row: tuple[int, ...], max_voxels: int) -> tuple[Tensor, ...]:
        """(features [M, *row], coords, num_points, counts, scratch) for one call on ``points``."""
        shape = (max_voxels, *row)
        if not self._outputs or self._outputs[0].shape != shape or self._outputs[0].device != points.device:
            self._outputs = (
                points.new_zeros(shape),
                points.new_full((max_voxels, 3), -1, dtype=torch.int32),
                points.new_zeros(max_voxels, dtype=torch.int32),
                points.new_zeros(3, dtype=torch.int64),
            )
        needed = points.shape[0] * _SCRATCH_BYTES_PER_POINT + _SCRATCH_BYTES
        scratch = self._scratch
        if scratch is None or scratch.numel() < needed or scratch.device != points.device:
            # An eighth of slack, because no two sweeps have the same number of points.
            self._scratch = scratch = points.new_empty(needed + needed // 8, dtype=torch.uint8)
        return (*self._outputs, scratch)

"""Twin of :mod:`bevkd.ops.segment_scatter`: one slice of the features per voxel."""

from collections.abc import Callable

import torch
from torch import Tensor

from bevkd.ops.voxelize import Segments

CHUNK = 64


def tree_sum(chunks: list[Tensor]) -> Tensor:
    """Neighbours are added, then neighbours of those, until one is left."""
    while len(chunks) > 1:
        chunks = [sum(chunks[i + 1 : i + 2], chunks[i]) for i in range(0, len(chunks), 2)]
    return chunks[0]


def rows_sum(rows: Tensor) -> Tensor:
    """[n >= 1, C] to [C] in the order that the compiled op promises."""
    return tree_sum([sum(chunk[1:], chunk[0]) for chunk in rows.split(CHUNK)])


def _reduced(features: Tensor, segments: Segments, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    wide = features if features.dtype == torch.float64 else features.float()
    groups = [wide[segments.point[a:b].long()] for a, b in zip(segments.offsets[:-1], segments.offsets[1:])]
    empty = wide.new_zeros(features.shape[1])
    rows = [reduce(group) if len(group) else empty for group in groups]
    return torch.stack(rows).to(features.dtype) if rows else features[:0]


def segment_sum(features: Tensor, segments: Segments) -> Tensor:
    """[V, C]."""
    return _reduced(features, segments, rows_sum)


def segment_mean(features: Tensor, segments: Segments) -> Tensor:
    """[V, C]."""
    return _reduced(features, segments, lambda rows: rows_sum(rows) / len(rows))


def first_largest(rows: Tensor) -> Tensor:
    """[n >= 1, C] to [C] int64, the first of the largest rows; a NaN counts as largest."""
    largest = torch.where(rows.isnan().any(0), rows.isnan(), rows == rows.amax(0))
    return largest.int().argmax(0)


def segment_max(features: Tensor, segments: Segments) -> Tensor:
    """[V, C]."""
    return _reduced(features, segments, lambda rows: rows.gather(0, first_largest(rows)[None])[0])

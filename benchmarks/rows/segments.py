"""Reductions over 30 thousand pillars, 64 channels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.clouds import cloud
from benchmarks.harness import OURS, Candidate, Row
from benchmarks.peers import segments as peers
from benchmarks.rows.voxelize import PILLARS
from bevkd import ops

CHANNELS = 64
_TORCH_NAMES = {"max": "amax", "mean": "mean", "sum": "sum"}


def rows(device: torch.device) -> Iterator[Row]:
    """Forward of max, mean and sum, backward of max."""
    points = torch.from_numpy(cloud()).to(device)
    segments = ops.voxelize_segments(points, PILLARS["size"], PILLARS["bounds"])
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(points), CHANNELS, generator=generator).to(device)
    for name in ("max", "mean", "sum"):
        yield _forward(name, features, segments)
    yield _max_backward(features, segments)


def _forward(name: str, features: Tensor, segments) -> Row:
    voxels = len(segments.coords)
    index = segments.voxel_of_point
    truth = peers.scatter_reduce(features.double(), index, voxels, _TORCH_NAMES[name])

    def close(found: Tensor) -> None:
        error = (found.double() - truth).abs().max().item()
        assert error < 1e-3, f"differs from float64 by {error:.1e}"

    op = getattr(ops, f"segment_{name}")
    torch_run = partial(peers.scatter_reduce, features, index, voxels, _TORCH_NAMES[name])
    candidates = [
        Candidate(OURS, partial(op, features, segments), close),
        Candidate("torch scatter_reduce", torch_run, close),
    ]
    if name == "sum":
        candidates.append(Candidate("torch index_add", partial(peers.index_add, features, index, voxels), close))
    return Row(f"segment_{name}", _case(features, voxels), _floor(features, voxels), candidates)


def _max_backward(features: Tensor, segments) -> Row:
    voxels = len(segments.coords)
    upstream = torch.randn(voxels, CHANNELS, generator=torch.Generator().manual_seed(1)).to(features.device)
    leaf = features.clone().requires_grad_()
    ours = ops.segment_max(leaf, segments)
    theirs = peers.scatter_reduce(leaf, segments.voxel_of_point, voxels, "amax")
    truth = torch.autograd.grad(theirs, leaf, upstream, retain_graph=True)[0]

    def same(found: tuple[Tensor]) -> None:
        assert torch.allclose(found[0], truth), "gradients differ"

    candidates = [
        Candidate(name, partial(torch.autograd.grad, out, leaf, upstream, retain_graph=True), same)
        for name, out in ((OURS, ours), ("torch scatter_reduce", theirs))
    ]
    return Row("segment_max backward", _case(features, voxels), _floor(features, voxels), candidates)


def _case(features: Tensor, voxels: int) -> str:
    return f"{len(features)} x {features.shape[1]} into {voxels}"


def _floor(features: Tensor, voxels: int) -> int:
    return 4 * features.shape[1] * (len(features) + voxels)

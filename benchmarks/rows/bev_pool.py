"""Lift-splat pooling of six cameras, forward and backward, over a plan that is cached, and the plan itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.frustum import frustum
from benchmarks.harness import OURS, Candidate, Row
from benchmarks.peers import conch
from benchmarks.peers import lift_splat as peers
from benchmarks.peers.v2_style import Ranks, V2Pool
from bevkd import ops
from bevkd.structures import BEVGrid

GRID = BEVGrid((-51.2, 51.2), (-51.2, 51.2), 0.8)
CHANNELS = 80
Z_RANGE = (-10.0, 10.0)


def rows(device: torch.device) -> Iterator[Row]:
    """118 x 16 x 44 bins into 128 x 128 cells, plain and with image and BEV rotation; batch 8 on a GPU."""
    larger = [(8, False)] if device.type == "cuda" else []  # on a CPU the peers would take minutes
    for samples, augmented in ((1, False), (1, True), *larger):
        where = frustum(samples, augmented=augmented).to(device)
        yield from _pooling(where, f"B={samples}, 6x118x16x44, C={CHANNELS}{', rotated' if augmented else ''}")
    yield _plan(frustum(1).to(device), "6x118x16x44")


def _pooling(where: Tensor, case: str) -> Iterator[Row]:
    plan = ops.LiftPlan.build(where, GRID, Z_RANGE)
    samples, cameras, depths, height, width, _ = where.shape
    generator = torch.Generator().manual_seed(0)
    depth = torch.randn(samples, cameras, depths, height, width, generator=generator).softmax(2).to(where.device)
    feat = torch.randn(samples, cameras, height, width, CHANNELS, generator=generator).to(where.device)
    cells = samples * GRID.shape[0] * GRID.shape[1]
    arguments = (plan.cell, GRID.shape)
    truth = peers.index_add(depth.double(), feat.double(), *arguments)
    # the running sum loses digits over 400 thousand terms; a hundredth of the largest value tells right from wrong
    candidates = [
        Candidate(OURS, partial(_ours, depth, feat, plan), partial(_close, (truth,), 1e-5)),
        Candidate("LSS in torch", partial(_list, peers.sort_and_prefix_sum, depth, feat, *arguments),
                  partial(_close, (truth,), 1e-2)),
        Candidate("torch index_add", partial(_list, peers.index_add, depth, feat, *arguments),
                  partial(_close, (truth,), 1e-5)),
    ]  # fmt: skip
    on_gpu = where.device.type == "cuda"
    ranks = Ranks.of(plan.cell, "cell") if on_gpu else None
    if on_gpu:
        v2 = partial(_list, V2Pool.apply, depth, feat, plan.cell, ranks, GRID.shape)
        candidates.append(Candidate("v2-style", v2, partial(_close, (truth,), 1e-5)))
    if on_gpu and conch.is_installed():
        v1 = partial(_list, conch.pool(), depth, feat, ranks, GRID.shape)
        candidates.append(Candidate("conch", v1, partial(_close, (truth,), 1e-5)))
    read = 4 * (depth.numel() + feat.numel())
    yield Row("bev_pool", case, read + 4 * cells * CHANNELS, candidates)

    leaves = [tensor.clone().requires_grad_() for tensor in (depth, feat)]
    wide = [tensor.double().requires_grad_() for tensor in (depth, feat)]
    upstream = torch.randn(samples, *GRID.shape, CHANNELS, generator=generator).to(where.device)
    truth = torch.autograd.grad(peers.index_add(*wide, *arguments), wide, upstream.double())
    outputs = {
        OURS: _ours(*leaves, plan)[0],
        "LSS in torch": peers.sort_and_prefix_sum(*leaves, *arguments),
        "torch index_add": peers.index_add(*leaves, *arguments),
    }
    if on_gpu:
        outputs["v2-style"] = V2Pool.apply(*leaves, plan.cell, ranks, GRID.shape)
    candidates = [
        Candidate(name, partial(torch.autograd.grad, out, leaves, upstream, retain_graph=True),
                  partial(_close, truth, 1e-2 if name.startswith("LSS") else 1e-5))
        for name, out in outputs.items()
    ]  # fmt: skip
    yield Row("bev_pool backward", case, 2 * read + 4 * cells * CHANNELS, candidates)


def _ours(depth: Tensor, feat: Tensor, plan: ops.LiftPlan) -> list[Tensor]:
    return [ops.bev_pool(depth, feat, plan).permute(0, 2, 3, 1)]


def _list(function, *arguments) -> list[Tensor]:
    return [function(*arguments)]


def _close(truth: tuple[Tensor, ...], tolerance: float, found: list[Tensor]) -> None:
    for expected, got in zip(truth, found, strict=True):
        error = ((got.double() - expected).abs().max() / expected.abs().max()).item()
        assert error < tolerance, f"differs from float64 by {error:.1e} of the largest value"


def _plan(where: Tensor, case: str) -> Row:
    build = partial(ops.LiftPlan.build, where, GRID, Z_RANGE)
    truth = build().cell

    def torch_plan() -> tuple[Tensor, Tensor]:
        low = where.new_tensor([GRID.x_range[0], GRID.y_range[0], Z_RANGE[0]])
        cell = ((where - low) / where.new_tensor([GRID.cell, GRID.cell, Z_RANGE[1] - Z_RANGE[0]])).floor()
        limit = where.new_tensor([GRID.shape[1], GRID.shape[0], 1])
        inside = ((cell >= 0) & (cell < limit)).all(-1)
        sample = torch.arange(len(where), device=where.device).view(-1, 1, 1, 1, 1)
        flat = (sample * GRID.shape[0] + cell[..., 1].long()) * GRID.shape[1] + cell[..., 0].long()
        flat = torch.where(inside, flat, -1)
        return flat, flat.flatten()[inside.flatten()].argsort()

    def same(found) -> None:
        cell = found.cell if isinstance(found, ops.LiftPlan) else found[0]
        assert torch.equal(cell.long(), truth.long()), "cells differ"

    candidates = [Candidate(OURS, build, same), Candidate("torch, sorted", torch_plan, same)]
    return Row("LiftPlan.build", case, where.numel() * 4 + truth.numel() * 4, candidates)

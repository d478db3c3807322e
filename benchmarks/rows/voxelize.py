"""Hard voxelization (padded, as means) and the cell of every point, over a ten-sweep cloud of 300,000 points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.clouds import cloud
from benchmarks.harness import OURS, Candidate, Row
from benchmarks.peers import conch
from benchmarks.peers import voxelizers as peers
from bevkd import ops
from bevkd.ops.reference.voxelize import voxelize_dynamic as dynamic_twin
from bevkd.ops.voxel_workspace import StaticVoxels

FINE = {
    "size": (0.075, 0.075, 0.2),
    "bounds": (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0),
    "max_points": 10,
    "max_voxels": 160_000,
}
PILLARS = {
    "size": (0.2, 0.2, 8.0),
    "bounds": (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
    "max_points": 20,
    "max_voxels": 60_000,
}


def rows(device: torch.device) -> Iterator[Row]:
    """Padded 0.075 m in two orders of the points, fused mean, 0.2 m pillars, dynamic."""
    for order in ("shuffled", "scan"):
        points = torch.from_numpy(cloud(order=order)).to(device)
        yield _padded(points, FINE, f"0.075 m, K=10, {order}")
        yield _mean(points, FINE, f"0.075 m, K=10, {order}")
        yield _padded(points, PILLARS, f"0.2 m pillars, K=20, {order}")
    yield _dynamic(points, FINE, "0.075 m")


def _call(op: Callable, points: Tensor, setting: dict, **options):
    return op(points, setting["size"], setting["bounds"], setting["max_points"], setting["max_voxels"], **options)


def _padded(points: Tensor, setting: dict, case: str) -> Row:
    truth = _call(ops.voxelize, points.cpu(), setting)
    workspace = ops.VoxelWorkspace()
    candidates = [
        Candidate(OURS, partial(_call, ops.voxelize, points, setting), partial(_same, truth)),
        Candidate(
            "bevkd, workspace",
            partial(_call, ops.voxelize, points, setting, workspace=workspace),
            partial(_same, truth),
        ),
        *_peers(points, setting, truth),
    ]
    voxels, columns = len(truth.features), points.shape[1]
    out = voxels * (setting["max_points"] * columns * 4 + 16)
    return Row("voxelize", f"{len(points)} points, {case}", points.numel() * 4 + out, candidates)


def _peers(points: Tensor, setting: dict, truth) -> list[Candidate]:
    close = partial(_nearly, truth)
    found = [Candidate("torch stable sort", partial(peers.stable_sort_voxelizer(**setting), points), close)]
    if points.device.type == "cpu":
        found.append(Candidate("numba dense map", partial(peers.dense_map_voxelizer(**setting), points), close))
        found.append(Candidate("spconv", partial(_spconv(points, setting), points), close))
    elif conch.is_installed() and setting is PILLARS:
        columns = points[:, : conch.COLUMNS].contiguous()
        run = conch.voxelizer(setting["size"], setting["bounds"], setting["max_points"])
        fewer = _call(ops.voxelize, columns.cpu(), setting)
        found.append(Candidate(f"conch, {conch.COLUMNS} columns", partial(run, columns), partial(_nearly, fewer)))
    return found


def _spconv(points: Tensor, setting: dict) -> peers.Voxelizer:
    return peers.spconv_voxelizer(
        setting["size"], setting["bounds"], points.shape[1], setting["max_points"], setting["max_voxels"]
    )


def _mean(points: Tensor, setting: dict, case: str) -> Row:
    truth = _call(ops.voxelize_mean, points.cpu(), setting)
    close = partial(_nearly, truth)
    candidates = [Candidate(OURS, partial(_call, ops.voxelize_mean, points, setting), partial(_same, truth))]
    stable = peers.stable_sort_voxelizer(**setting)
    candidates.append(Candidate("torch stable sort + mean", partial(peers.mean_of(stable), points), close))
    if points.device.type == "cpu":
        run = peers.mean_of(_spconv(points, setting))
        candidates.append(Candidate("spconv + mean", partial(run, points), close))
    out = len(truth.features) * (points.shape[1] * 4 + 16)
    return Row("voxelize_mean", f"{len(points)} points, {case}", points.numel() * 4 + out, candidates)


def _dynamic(points: Tensor, setting: dict, case: str) -> Row:
    size, bounds = setting["size"], setting["bounds"]
    truth = dynamic_twin(points.cpu(), size, bounds)

    def same(cells: Tensor) -> None:
        assert torch.equal(cells.cpu(), truth), "cells differ from the twin's"

    twin = partial(dynamic_twin, points, size, bounds)
    candidates = [
        Candidate(OURS, partial(ops.voxelize_dynamic, points, size, bounds), same),
        Candidate("torch", twin, same),
    ]
    return Row("voxelize_dynamic", f"{len(points)} points, {case}", points.numel() * 4 + len(points) * 12, candidates)


def _same(truth, found) -> None:
    found = found.trimmed() if isinstance(found, StaticVoxels) else found
    for name, expected, got in zip(truth._fields, truth, found):
        assert torch.equal(expected, got.cpu()), f"{name} differs"


def _nearly(truth, found) -> None:
    """Peers round borders and full voxels differently: voxels and kept points agree to one in a thousand."""
    features, _, num_points = found
    voxels, points = len(truth.features), int(truth.num_points.sum())
    assert abs(len(features) - voxels) <= voxels / 1000, f"{len(features)} voxels, expected {voxels}"
    assert abs(int(num_points.sum()) - points) <= points / 1000, f"{int(num_points.sum())} points, expected {points}"
    expected, got = truth.features.double().sum(), features.double().sum().cpu()
    assert abs(expected - got) <= 1e-2 * truth.features.double().abs().sum(), "the sum of the features is far off"

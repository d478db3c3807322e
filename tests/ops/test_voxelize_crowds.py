"""Voxelization of large and of crowded clouds, and what a GPU promises beyond its values."""

import pytest
import torch

from bevkd.ops import VoxelWorkspace, voxelize, voxelize_dynamic, voxelize_mean, voxelize_segments
from bevkd.ops.reference import voxelize as twin

PILLARS = (0.2, 0.2, 8.0), (-12.8, -12.8, -5.0, 12.8, 12.8, 3.0)  # 16,384 cells: fewer than four a point
FINE = (0.075, 0.075, 0.2), (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)  # 83 million: a hashed table on a GPU
VAST = (0.125, 0.125, 0.125), (0.0, 0.0, 0.0, 2.0**17, 2.0**17, 2.0**17)  # 2^60: keys of 64 bits


def cloud(count: int, spread: float, columns: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, columns, generator=generator) * spread


def assert_same(found, expected) -> None:
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.cpu(), b)


def assert_like_twin(points: torch.Tensor, grid, max_points: int, max_voxels: int, device) -> None:
    args, here = (*grid, max_points, max_voxels), points.to(device)
    assert_same(voxelize(here, *args), twin.voxelize(points, *args))
    assert_same(voxelize_mean(here, *args), twin.voxelize_mean(points, *args))
    assert_same(voxelize_segments(here, *grid, max_voxels), twin.voxelize_segments(points, *grid, max_voxels))
    assert torch.equal(voxelize_dynamic(here, *grid).cpu(), twin.voxelize_dynamic(points, *grid))


@pytest.mark.parametrize(("grid", "spread"), [(PILLARS, 4.0), (FINE, 15.0), (VAST, 40_000.0)])
@pytest.mark.parametrize("max_voxels", [1500, 10**6])
def test_large_clouds_agree_with_the_twin_to_the_bit(grid, spread, max_voxels, device):
    points = cloud(5000, spread)
    points[::97, 3] = float("nan")
    points[::89] *= 1e4
    assert_like_twin(points, grid, 4, max_voxels, device)


@pytest.mark.parametrize("sizes", [(31, 32, 33, 34), (255, 256, 257, 1000), (4095, 1, 4096), (4097, 40), (9000, 9)])
def test_crowds_in_one_voxel_keep_input_order(sizes, device):
    """Lists of every length that a GPU sorts in another way: by lanes, by a block, in merged pieces."""
    cells = torch.cat([torch.full((size,), float(i)) for i, size in enumerate(sizes)])
    cells = cells[torch.randperm(len(cells), generator=torch.Generator().manual_seed(1))]
    points = torch.rand(len(cells), 4, generator=torch.Generator().manual_seed(2))
    points[:, 0] += cells
    grid = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 8.0, 1.0, 1.0)
    assert_like_twin(points, grid, 5000, 10, device)
    assert_like_twin(points, grid, 3, len(sizes) - 1, device)


def test_more_points_than_one_block_scans_at_once(device):
    points = cloud(600_000, 4.0, 3)  # 586 tiles of 1024 points
    points[:594_000, 2] = 99.0  # most are outside, to spare the twin
    points = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(4))]
    assert_same(voxelize(points.to(device), *FINE, 2, 5000), twin.voxelize(points, *FINE, 2, 5000))


@pytest.mark.parametrize(("alone", "crowds", "size"), [(3900, 1, 100), (50, 300, 34)])
def test_many_voxels_beside_crowds(alone, crowds, size, device):
    """Nearly as many voxels as points, and more crowds than a GPU has blocks for them."""
    cells = torch.cat((torch.arange(alone + crowds), torch.arange(crowds).repeat(size)))
    cells = cells[torch.randperm(len(cells), generator=torch.Generator().manual_seed(3))]
    points = torch.stack((cells % 64 + 0.5, cells // 64 + 0.5, torch.zeros(len(cells)), torch.rand(len(cells))), 1)
    for depth in (1.0, 10_000.0):  # slots that are cells, hashed slots
        grid = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 64.0, 64.0, depth)
        assert_like_twin(points, grid, 40, 10**6, device)


@pytest.mark.parametrize("columns", [3, 4, 5, 7, 16, 19])
@pytest.mark.parametrize("max_points", [1, 3, 10])
def test_rows_of_any_width(columns, max_points, device):
    assert_like_twin(cloud(700, 1.5, columns), PILLARS, max_points, 333, device)


def test_points_in_one_column_of_the_table(device):
    """Cells a power of two apart, the worst for a poor hash."""
    steps = torch.arange(2000, dtype=torch.float32)
    points = torch.stack((steps * 64, steps * 64, steps * 64, steps), 1)
    assert_like_twin(torch.cat((points, points.flip(0))), VAST, 2, 1999, device)


def test_every_run_gives_the_same_bits(device):
    points = cloud(6000, 3.0).to(device)
    runs = [(*voxelize(points, *PILLARS, 5, 900), *voxelize_segments(points, *PILLARS, 900)) for _ in range(4)]
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_a_workspace_survives_calls_of_every_size(device):
    workspace, means = VoxelWorkspace(), VoxelWorkspace()
    for count, spread in ((5000, 3.0), (100, 1.0), (0, 1.0), (6000, 0.1), (300, 9.0)):
        points = cloud(count, spread, 4)
        expected = twin.voxelize(points, *PILLARS, 6, 2000), twin.voxelize_mean(points, *PILLARS, 6, 2000)
        here = points.to(device)
        found = (
            voxelize(here, *PILLARS, 6, 2000, workspace=workspace),
            voxelize_mean(here, *PILLARS, 6, 2000, workspace=means),
        )
        for static, plain in zip(found, expected, strict=True):
            assert_same((*static.trimmed(), static.num_dropped, static.num_invalid), plain)
            voxels = len(plain[1])
            assert static.features[voxels:].eq(0).all()
            assert static.coords[voxels:].eq(-1).all()
            assert static.num_points[voxels:].eq(0).all()


@pytest.mark.gpu
def test_a_workspace_never_waits_for_the_device():
    points = cloud(20_000, 5.0).cuda()
    workspace, means = VoxelWorkspace(), VoxelWorkspace()
    for call in range(2):  # the first one allocates
        torch.cuda.set_sync_debug_mode("error" if call else "default")
        try:
            voxelize(points, *PILLARS, 5, 4000, workspace=workspace)
            voxelize_mean(points, *PILLARS, 5, 4000, workspace=means)
            voxelize_dynamic(points, *PILLARS)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_a_workspace_call_replays_in_a_cuda_graph():
    points, workspace = cloud(20_000, 5.0).cuda(), VoxelWorkspace()
    voxelize(points, *PILLARS, 5, 4000, workspace=workspace)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        static = voxelize(points, *PILLARS, 5, 4000, workspace=workspace)
    for seed in (1, 2):
        other = cloud(20_000, 5.0 - seed, seed=seed)
        points.copy_(other)
        graph.replay()
        assert_same(
            (*static.trimmed(), static.num_dropped, static.num_invalid), twin.voxelize(other, *PILLARS, 5, 4000)
        )


@pytest.mark.gpu
def test_a_call_runs_on_the_current_stream():
    points, stream = cloud(20_000, 5.0).cuda(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late = points * 1.0
        found = voxelize(late, *PILLARS, 5, 4000)
    stream.synchronize()
    assert_same(found, twin.voxelize(points.cpu(), *PILLARS, 5, 4000))

"""Flaws that published voxelizers have or had, one test each: what holds here in their place."""

import time

import pytest
import torch
from voxel_checks import RANGE, SIZE, assert_equal, points

from bevkd.errors import ConfigError
from bevkd.ops import VoxelWorkspace, voxelize, voxelize_dynamic, voxelize_mean, voxelize_segments
from bevkd.ops.reference import voxelize as twin

FINE = (0.075, 0.075, 0.2), (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)


def cloud(count: int, spread: float = 20.0, seed: int = 0) -> torch.Tensor:
    """[count, 5], as flat as a street."""
    scale = torch.tensor([spread, spread, 0.05 * spread, 1.0, 1.0])
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("spread", [20.0, 0.01])
def test_f01_time_grows_with_the_points_not_with_their_square(spread):
    """Eight times the points, apart or all in a few voxels, take about eight times as long, not 64 times."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def seconds(count: int) -> float:
        many, best = cloud(count, spread), float("inf")
        for _ in range(4):
            start = time.thread_time()
            voxelize_mean(many, *FINE)
            best = min(best, time.thread_time() - start)
        return best

    try:
        assert seconds(200_000) < 24 * seconds(25_000)
    finally:
        torch.set_num_threads(before)


def test_f02_a_full_voxel_keeps_its_first_points_in_every_run(device):
    """Which points survive is their order in the input, not the order in which threads arrive."""
    crowd = torch.rand(20_000, 4) * torch.tensor([2.0, 1.0, 1.0, 1.0])
    crowd[:, 3] = torch.arange(20_000)
    for _ in range(5):
        found = voxelize(crowd.to(device), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 2.0, 1.0, 1.0), 8).features.cpu()
        for row in found:
            side = crowd[:, 0] // 1 == row[0, 0] // 1
            assert torch.equal(row, crowd[side][:8])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int32])
def test_f03_another_dtype_is_refused_and_never_read_as_float32(dtype, device):
    wrong = torch.ones(4, 4, device=device).to(dtype)
    for op in (voxelize_mean, voxelize_dynamic, voxelize_segments, lambda *args: voxelize(*args, 2)):
        with pytest.raises(ConfigError, match=rf"points is {str(dtype).removeprefix('torch.')}, expected float32"):
            op(wrong, SIZE, RANGE)
    with pytest.raises(TypeError):
        torch.ops.bevkd.voxelize(wrong, SIZE, RANGE, 2, 5)


def test_f04_the_cap_drops_whole_later_voxels_and_says_how_many(device):
    """Earlier voxels still take later points; the voxels kept are those met first."""
    few = points((0.1, 0.1), (0.6, 0.1), (1.1, 0.1), (1.6, 0.1), (1.2, 0.2), (0.2, 0.2)).to(device)
    found = voxelize(few, SIZE, RANGE, max_points=3, max_voxels=2)
    assert found.coords.tolist() == [[0, 2, 0], [0, 2, 1]]
    assert found.num_points.tolist() == [2, 1]
    assert found.num_dropped == 2
    assert voxelize_mean(few, SIZE, RANGE, 3, 2).num_dropped == 2
    many = cloud(5000).to(device)
    everything, capped = voxelize_segments(many, *FINE), voxelize_segments(many, *FINE, 1000)
    assert capped.num_dropped == len(everything.coords) - 1000
    assert torch.equal(capped.coords, everything.coords[:1000])


def test_f05_means_do_not_leak_from_one_voxel_into_the_next(device):
    """A scratch vector that is not zeroed gives 3.0 and 6.5 here."""
    four = points((0.1, 0.1, 0, 2.0), (0.2, 0.2, 0, 3.0), (1.1, 0.1, 0, 3.0), (1.2, 0.1, 0, 4.0)).to(device)
    assert voxelize_mean(four, SIZE, RANGE).features[:, 3].tolist() == [2.5, 3.5]


def test_f06_the_same_points_are_dropped_on_every_device(device):
    """Over both caps at once, what is kept is what the twin keeps."""
    many = cloud(4000, 1.5)
    args = (0.5, 0.5, 2.0), (-4.0, -4.0, -3.0, 4.0, 4.0, 3.0), 4, 150
    found = voxelize(many.to(device), *args)
    assert_equal(found, twin.voxelize(many, *args))
    assert found.num_dropped > 0
    assert (found.num_points == 4).any()


def test_f07_results_never_share_memory(device):
    """Without a workspace: not with the input, not with each other, not with those of a later call."""
    two = points((0.1, 0.1), (1.1, 0.1)).to(device)
    for op in (voxelize_mean, voxelize_segments, lambda *args: voxelize(*args, 2)):
        first = op(two, SIZE, RANGE)
        kept = [t.clone() for t in first]
        op(two.flip(0) + 0.05, SIZE, RANGE)[0].fill_(7)
        other = two + 1.0
        op(other, SIZE, RANGE)
        other.zero_()
        assert_equal(first, kept)


def test_f08_memory_follows_the_points_not_the_range(device):
    """4000 x 4000 x 200 cells would be 12.8 GB as a table of every cell."""
    some = torch.rand(500, 4) * torch.tensor([400.0, 400.0, 20.0, 1.0])
    args = (0.1, 0.1, 0.1), (0.0, 0.0, 0.0, 400.0, 400.0, 20.0), 3, 400
    assert_equal(voxelize(some.to(device), *args), twin.voxelize(some, *args))


@pytest.mark.parametrize("size", [0.075, 0.1, 0.2, 0.3, 0.6])
def test_f09_cell_borders_are_divided_in_float32_not_multiplied_by_a_reciprocal(size, device):
    """On the borders themselves the two differ, so the values here tell them apart."""
    count = round(108 / size)
    x = -54 + torch.arange(count, dtype=torch.float32) * torch.tensor(size)
    offset = x - torch.tensor(-54.0)
    divided, multiplied = (offset / torch.tensor(size)).floor(), (offset * (1 / torch.tensor(size))).floor()
    assert not torch.equal(divided, multiplied)
    border = torch.stack((x, torch.zeros(count), torch.zeros(count)), 1).to(device)
    found = voxelize_dynamic(border, (size, 1.0, 1.0), (-54.0, 0.0, 0.0, 54.0, 1.0, 1.0))
    assert torch.equal(found[:, 2].float().cpu(), divided)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_f09_autocast_leaves_coordinates_in_float32(dtype, device):
    """Rounded to float16 first, one point in thirty would change its 0.075 m voxel."""
    many = cloud(3000).to(device)
    plain = voxelize(many, *FINE, 5, 2000), voxelize_mean(many, *FINE), voxelize_segments(many, *FINE)
    with torch.autocast(device.type, dtype):
        cast = voxelize(many, *FINE, 5, 2000), voxelize_mean(many, *FINE), voxelize_segments(many, *FINE)
    for a, b in zip(cast, plain, strict=True):
        assert_equal(a, b)
    rounded = voxelize_dynamic(many.half().float(), *FINE)
    assert (rounded != voxelize_dynamic(many, *FINE)).any(1).float().mean() > 0.01


@pytest.mark.parametrize("mean", [False, True])
def test_f10_nothing_is_written_past_the_cap(mean, device):
    """Twenty voxels into room for six: memory behind the room stays as it was, and the count is six."""
    rows, row = 6, (4,) if mean else (3, 4)
    behind = [torch.full((2 * rows, *shape), 7, device=device).to(dtype) for shape, dtype in
              ((row, torch.float32), ((3,), torch.int32), ((), torch.int32))]  # fmt: skip
    counts = torch.zeros(3, dtype=torch.int64, device=device)
    many = cloud(400, 1.0)[:, :4].contiguous().to(device)
    scratch = VoxelWorkspace().tensors(many, row, rows)[-1]
    name = "voxelize_mean_into" if mean else "voxelize_into"
    room = [t[:rows] for t in behind]
    getattr(torch.ops.bevkd, name)(many, SIZE, RANGE, *[3] * mean, *room, counts, scratch)
    assert counts[0] == rows
    assert counts[1] > 0
    assert all((t[rows:] == 7).all() for t in behind)
    assert all((t[:rows] != 7).any() for t in behind)


@pytest.mark.parametrize(
    ("size", "bounds"),
    [
        ((0.125,) * 3, (0.0, 0.0, 0.0, 2.0**17, 2.0**17, 2.0**17)),  # 2^60 cells
        ((1.0,) * 3, (0.0, 0.0, 0.0, 2.0**11, 2.0**11, 2.0**10)),  # 2^32: the last cell is 2^32 - 1
        ((1.0,) * 3, (0.0, 0.0, 0.0, 2.0**11, 2.0**11, 2.0**9)),  # 2^31: past the largest int32
    ],
)
def test_f20_cell_numbers_beyond_32_bits_do_not_wrap(size, bounds, device):
    """Points in the outermost cells of vast grids keep voxels of their own."""
    high = torch.tensor([*bounds[3:], 1.0])
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4) * (high - 0.06)
    some = torch.cat((corners, torch.rand(400, 4) * high, corners))
    args = size, bounds, 3, 300
    assert_equal(voxelize(some.to(device), *args), twin.voxelize(some, *args))
    assert_equal(voxelize_segments(some.to(device), size, bounds), twin.voxelize_segments(some, size, bounds, 10**6))


def test_f22_upper_bound_is_exclusive_and_lower_inclusive(device):
    """On the upper bound there is no cell; just below it there is the last one."""
    edge = points((2.0, 0.0), (0.0, 2.0), (0.0, 0.0, 2.0, 1.0), (0.0, -2.0, -2.0, 1.0), (1.999999, 1.999999))
    expected = [[-1] * 3] * 3 + [[0, 0, 0], [0, 3, 3]]
    assert voxelize_dynamic(edge.to(device), SIZE, RANGE).tolist() == expected


@pytest.mark.parametrize(
    ("size", "high"), [(0.075, 54.0), (0.1, 51.2), (0.2, 51.2), (0.3, 76.8), (0.6, 54.0), (0.16, 69.12)]
)
def test_f22_no_cell_for_the_upper_bound_of_real_grids(size, high, device):
    inside = torch.nextafter(torch.tensor(high), torch.tensor(0.0)).item()
    edge = torch.tensor([[high, 0, 0], [0, high, 0], [-high, -high, 0], [inside, 0, 0]], device=device)
    cells = voxelize_dynamic(edge, (size, size, 8.0), (-high, -high, -5.0, high, high, 3.0))
    assert cells[:3].tolist() == [[-1] * 3, [-1] * 3, [0, 0, 0]]
    assert cells[3, 2] in (-1, round(2 * high / size) - 1)  # (x - low) / size may round up to the whole number


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.65), (-51.2, -50.4), (1.3, 2.1)])
def test_f22_upper_bound_stays_outside_where_the_division_rounds_down(low, high, device):
    """(0.65 - 0) / 0.05 is 12.999999 in float32, so the number of the cell alone would let 0.65 in."""
    edge = torch.tensor([[high, 0.0, 0.0], [low, 0.0, 0.0]])
    assert (edge[0, 0] - low) / torch.tensor(0.05) < round((high - low) / 0.05)
    cells = voxelize_dynamic(edge.to(device), (0.05, 1.0, 1.0), (low, 0.0, 0.0, high, 1.0, 1.0))
    assert cells.tolist() == [[-1] * 3, [0, 0, 0]]


def test_f23_every_device_gives_the_bits_of_the_cpu(device):
    many = cloud(30_000)
    here = many.to(device)
    assert_equal(voxelize(here, *FINE, 3, 20_000), voxelize(many, *FINE, 3, 20_000))
    assert_equal(voxelize_mean(here, *FINE), voxelize_mean(many, *FINE))
    assert_equal(voxelize_segments(here, *FINE), voxelize_segments(many, *FINE))
    assert torch.equal(voxelize_dynamic(here, *FINE).cpu(), voxelize_dynamic(many, *FINE))
    assert torch.equal(voxelize_dynamic(many[:2000], *FINE), twin.voxelize_dynamic(many[:2000], *FINE))


@pytest.mark.parametrize(("size", "high"), [(0.3, 2.0), (0.075, 51.2), (0.1, 0.04)])
def test_f24_a_range_that_is_no_multiple_of_the_voxel_is_refused(size, high):
    """Else the last cell would be cut, or lie outside the map that a network expects."""
    with pytest.raises(ConfigError, match=r"point_range x \[0\.0, .*\) is .* voxels of .* m, expected a whole number"):
        voxelize_dynamic(torch.zeros(1, 3), (size, 1.0, 1.0), (0.0, 0.0, 0.0, high, 1.0, 1.0))


@pytest.mark.parametrize("size", [0.05, 0.075, 0.1, 0.16, 0.2, 0.3, 1 / 3])
def test_f24_coordinates_lie_inside_the_grid(size, device):
    """Over ranges that begin anywhere, with points on every border and between."""
    for low in (-51.2, -0.1, 0.0, 3.3):
        count = 37
        x = torch.linspace(low - 1, low + count * size + 1, 5001)
        x = torch.cat((x, low + torch.arange(count + 1) * size))
        row = torch.stack((x, torch.zeros_like(x), torch.zeros_like(x)), 1).to(device)
        cells = voxelize_dynamic(row, (size, 1.0, 1.0), (low, 0.0, 0.0, low + count * size, 1.0, 1.0))
        assert (int(cells.min()), int(cells[:, 2].max())) == (-1, count - 1)


def test_f26_caps_are_those_of_the_call(device):
    """Nothing is remembered from an earlier call: a training cap does not stay for evaluation."""
    many = cloud(3000).to(device)
    sizes = [len(voxelize(many, *FINE, 5, cap).coords) for cap in (1200, 800, 1200)]
    assert sizes == [1200, 800, 1200]

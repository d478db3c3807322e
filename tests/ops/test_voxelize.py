"""Voxelization: hand-drawn values, agreement with the twin to the bit, edges."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_checks import assert_same_on_any_threads
from voxel_checks import NAN, RANGE, SIZE, assert_equal, points

from bevkd.ops import voxelize, voxelize_dynamic, voxelize_mean, voxelize_segments
from bevkd.ops.reference import voxelize as twin


def test_hand_drawn(device):
    cloud = points((0.1, 0.2), (1.9, -1.5), (0.3, 0.9), (0.4, 0.5)).to(device)
    found = voxelize(cloud, SIZE, RANGE, max_points=2, max_voxels=10)
    assert found.coords.tolist() == [[0, 2, 0], [0, 0, 3]]  # (z, y, x), numbered by first point
    assert found.num_points.tolist() == [2, 1]  # the third point of voxel 0 is over max_points
    expected = torch.zeros(2, 2, 4, device=device)
    expected[0, 0], expected[0, 1], expected[1, 0] = cloud[0], cloud[2], cloud[1]
    assert torch.equal(found.features, expected)
    assert (found.num_dropped, found.num_invalid) == (0, 0)


def test_hand_drawn_mean_uses_only_kept_points(device):
    cloud = points((0.1, 0.2), (1.9, -1.5), (0.3, 0.9), (0.4, 0.5)).to(device)
    found = voxelize_mean(cloud, SIZE, RANGE, max_points=2)
    assert found.features[:, 3].tolist() == [1.0, 1.0]  # rows 0 and 2 of voxel 0, row 1 of voxel 1
    assert voxelize_mean(cloud, SIZE, RANGE).features[0, 3].cpu() == torch.tensor(5 / 3)  # all of 0, 2, 3


def test_hand_drawn_dynamic(device):
    cloud = points((0.1, 0.2), (1.9, -1.5), (2.0, 0.0), (-0.001, 0.0), (0.5, 1.0)).to(device)
    expected = [[0, 2, 0], [0, 0, 3], [-1, -1, -1], [-1, -1, -1], [0, 3, 1]]
    found = voxelize_dynamic(cloud, SIZE, RANGE)
    assert found.tolist() == expected
    assert found.dtype == torch.int32


def test_hand_drawn_segments(device):
    """Cells A, B, A, outside, C, B; C is over the cap."""
    cloud = points((0.1, 0.2), (1.9, -1.5), (0.3, 0.9), (2.5, 0.0), (1.1, 1.1), (1.6, -1.1)).to(device)
    found = voxelize_segments(cloud, SIZE, RANGE, max_voxels=2)
    assert found.coords.tolist() == [[0, 2, 0], [0, 0, 3]]
    assert found.point.tolist() == [0, 2, 1, 5]
    assert found.offsets.tolist() == [0, 2, 4]
    assert found.voxel_of_point.tolist() == [0, 1, 0, -1, -1, 1]
    assert (found.num_dropped, found.num_invalid) == (1, 0)


def test_negative_side_is_floored_not_truncated(device):
    cloud = points((-0.1, 0.0), (-0.4, 0.0), (-0.0, 0.0)).to(device)
    assert voxelize_dynamic(cloud, SIZE, RANGE).tolist() == [[-1] * 3] * 2 + [[0, 2, 0]]


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
@pytest.mark.parametrize("column", [0, 1, 2, 3])
def test_points_that_are_not_finite_are_dropped_and_counted(bad, column, device):
    cloud = points((0.1, 0.1), (0.2, 0.2), (0.3, 0.3))
    cloud[1, column] = bad
    cloud = cloud.to(device)
    found = voxelize(cloud, SIZE, RANGE, 5)
    assert (found.num_points.tolist(), found.num_invalid) == ([2], 1)
    assert found.features.isfinite().all()
    assert voxelize_mean(cloud, SIZE, RANGE).features.isfinite().all()
    assert voxelize_dynamic(cloud, SIZE, RANGE)[1].tolist() == [-1] * 3
    assert voxelize_segments(cloud, SIZE, RANGE).voxel_of_point.tolist() == [0, -1, 0]


@pytest.mark.parametrize("cloud", [torch.zeros(0, 5), torch.full((7, 5), 99.0), torch.full((3, 5), NAN)])
def test_nothing_in_range_gives_empty_tensors(cloud, device):
    cloud = cloud.to(device)
    found = voxelize(cloud, SIZE, RANGE, 4, 10)
    assert [tuple(t.shape) for t in found] == [(0, 4, 5), (0, 3), (0,), (), ()]
    assert voxelize_mean(cloud, SIZE, RANGE).features.shape == (0, 5)
    assert voxelize_dynamic(cloud, SIZE, RANGE).shape == (len(cloud), 3)
    segments = voxelize_segments(cloud, SIZE, RANGE)
    assert (segments.point.tolist(), segments.offsets.tolist()) == ([], [0])
    assert segments.voxel_of_point.tolist() == [-1] * len(cloud)


def test_one_point(device):
    found = voxelize(points((1.0, 1.0)).to(device), SIZE, RANGE, 1, 1)
    assert (found.coords.tolist(), found.num_points.tolist()) == ([[0, 3, 2]], [1])


def test_all_points_in_one_voxel(device):
    cloud = torch.zeros(5000, 4)
    cloud[:, 3] = torch.arange(5000)
    cloud = cloud.to(device)
    found = voxelize(cloud, SIZE, RANGE, 7)
    assert found.features[0, :, 3].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert voxelize_mean(cloud, SIZE, RANGE).features[0, 3] == 2499.5
    assert voxelize_segments(cloud, SIZE, RANGE).point.tolist() == list(range(5000))


def test_strided_points(device):
    cloud, args = torch.randn(50, 8, device=device), (SIZE, RANGE, 3, 20)
    assert_equal(voxelize(cloud[:, ::2], *args), voxelize(cloud[:, ::2].contiguous(), *args))
    assert_equal(voxelize_mean(cloud.t()[:4].t(), *args), voxelize_mean(cloud[:, :4].contiguous(), *args))
    assert_equal(voxelize_segments(cloud[::3], SIZE, RANGE), voxelize_segments(cloud[::3].clone(), SIZE, RANGE))


# Ranges whose cells the CPU kernel numbers in a dense table, in a hashed one by 32 bits, and in one by 64 bits.
GRIDS = {
    "dense": ((0.25, 0.5, 2.0), (-1.5, -2.0, -1.0, 1.5, 2.0, 3.0)),
    "32 bits": ((0.01, 0.01, 0.01), (-1.0, -1.0, -2.0, 1.0, 1.0, 1.0)),
    "64 bits": ((0.001, 0.001, 0.001), (-2.0, -2.0, -2.0, 2.0, 2.0, 2.0)),
}


@st.composite
def clouds(draw) -> torch.Tensor:
    """Points that share cells, lie on borders, outside, and are not finite, 3 to 8 columns wide."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    count, width = draw(st.integers(0, 700)), draw(st.integers(3, 8))
    cloud = torch.randn(count, width, generator=generator) * draw(st.sampled_from([0.05, 0.8, 3.0]))
    cloud = cloud[torch.randint(0, max(count, 1), (count,), generator=generator)]  # crowds
    if draw(st.booleans()):
        cloud = (cloud / 0.125).round() * 0.125  # borders, and -0
    odd = torch.tensor([NAN, float("inf"), -float("inf"), 3e38, -0.0, 1e-45])
    rate = draw(st.sampled_from([0.0, 0.01, 0.3]))
    where = torch.rand(cloud.shape, generator=generator) < rate
    return torch.where(where, odd[torch.randint(0, len(odd), cloud.shape, generator=generator)], cloud)


@settings(max_examples=120, deadline=None)
@given(clouds(), st.sampled_from(list(GRIDS)), st.integers(1, 12), st.integers(1, 500), st.integers(1, 9))
def test_random_clouds_agree_with_the_twin_to_the_bit(cloud, grid, max_points, max_voxels, threads):
    args, before = (cloud, *GRIDS[grid], max_points, max_voxels), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_equal(voxelize(*args), twin.voxelize(*args))
        assert_equal(voxelize_mean(*args), twin.voxelize_mean(*args))
        assert torch.equal(voxelize_dynamic(*args[:3]), twin.voxelize_dynamic(*args[:3]))
        assert_equal(voxelize_segments(*args[:3], max_voxels), twin.voxelize_segments(*args[:3], max_voxels))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("spread", "size"), [(20.0, (0.2, 0.2, 8.0)), (20.0, (0.05, 0.05, 0.1)), (0.5, (0.2, 0.2, 8.0))]
)
def test_same_bits_on_any_number_of_threads(spread, size):
    """Clouds of many chunks and buckets; in the last one most points share a few voxels."""
    cloud = torch.randn(60_000, 5) * spread
    bounds = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
    assert_same_on_any_threads(lambda: voxelize(cloud, size, bounds, 3, 5000))
    assert_same_on_any_threads(lambda: voxelize_mean(cloud, size, bounds))
    assert_same_on_any_threads(lambda: voxelize_segments(cloud, size, bounds, 20_000))
    assert_same_on_any_threads(lambda: (voxelize_dynamic(cloud, size, bounds),))

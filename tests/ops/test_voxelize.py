"""Voxelization: hand-drawn values, agreement with the twin to the bit, edges, refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_checks import assert_opcheck, assert_same_on_any_threads

from bevkd.errors import ConfigError
from bevkd.ops import VoxelWorkspace, voxelize, voxelize_dynamic, voxelize_mean, voxelize_segments
from bevkd.ops.reference import voxelize as twin

SIZE, RANGE = (0.5, 1.0, 4.0), (0.0, -2.0, -2.0, 2.0, 2.0, 2.0)  # 4 x 4 x 1 voxels
NAN, INF = float("nan"), float("inf")


def points(*rows) -> torch.Tensor:
    """Rows of x, y and optionally z and one feature, padded with z = 0 and feature = row number."""
    full = [(*row, *(0.0, float(i))[len(row) - 2 :]) for i, row in enumerate(rows)]
    return torch.tensor(full, dtype=torch.float32).reshape(len(rows), 4)


def assert_equal(found, expected) -> None:
    for name, a, b in zip(found._fields, found, expected, strict=True):
        assert torch.equal(a, b), f"{name}: {a} against {b}"
        assert a.dtype == b.dtype, name


def test_hand_drawn():
    cloud = points((0.1, 0.2), (1.9, -1.5), (0.3, 0.9), (0.4, 0.5))
    found = voxelize(cloud, SIZE, RANGE, max_points=2, max_voxels=10)
    assert found.coords.tolist() == [[0, 2, 0], [0, 0, 3]]  # (z, y, x), numbered by first point
    assert found.num_points.tolist() == [2, 1]  # the third point of voxel 0 is over max_points
    expected = torch.zeros(2, 2, 4)
    expected[0, 0], expected[0, 1], expected[1, 0] = cloud[0], cloud[2], cloud[1]
    assert torch.equal(found.features, expected)
    assert (found.num_dropped, found.num_invalid) == (0, 0)


def test_hand_drawn_mean_uses_only_kept_points():
    cloud = points((0.1, 0.2), (1.9, -1.5), (0.3, 0.9), (0.4, 0.5))
    found = voxelize_mean(cloud, SIZE, RANGE, max_points=2)
    assert found.features[:, 3].tolist() == [1.0, 1.0]  # rows 0 and 2 of voxel 0, row 1 of voxel 1
    assert voxelize_mean(cloud, SIZE, RANGE).features[0, 3] == torch.tensor(5 / 3)  # all of 0, 2, 3


def test_means_do_not_leak_between_voxels():
    """F5: a scratch vector that is not zeroed gives 3.0 and 6.5 here."""
    cloud = points((0.1, 0.1, 0, 2.0), (0.2, 0.2, 0, 3.0), (1.1, 0.1, 0, 3.0), (1.2, 0.1, 0, 4.0))
    assert voxelize_mean(cloud, SIZE, RANGE).features[:, 3].tolist() == [2.5, 3.5]


def test_hand_drawn_dynamic():
    cloud = points((0.1, 0.2), (1.9, -1.5), (2.0, 0.0), (-0.001, 0.0), (0.5, 1.0))
    expected = [[0, 2, 0], [0, 0, 3], [-1, -1, -1], [-1, -1, -1], [0, 3, 1]]
    found = voxelize_dynamic(cloud, SIZE, RANGE)
    assert found.tolist() == expected
    assert found.dtype == torch.int32


def test_hand_drawn_segments():
    """Cells A, B, A, outside, C, B; C is over the cap."""
    cloud = points((0.1, 0.2), (1.9, -1.5), (0.3, 0.9), (2.5, 0.0), (1.1, 1.1), (1.6, -1.1))
    found = voxelize_segments(cloud, SIZE, RANGE, max_voxels=2)
    assert found.coords.tolist() == [[0, 2, 0], [0, 0, 3]]
    assert found.point.tolist() == [0, 2, 1, 5]
    assert found.offsets.tolist() == [0, 2, 4]
    assert found.voxel_of_point.tolist() == [0, 1, 0, -1, -1, 1]
    assert (found.num_dropped, found.num_invalid) == (1, 0)


def test_upper_bound_is_exclusive_and_lower_inclusive():
    """F22, F24: on the upper bound there is no cell; just below it there is the last one."""
    cloud = points((2.0, 0.0), (0.0, 2.0), (0.0, 0.0, 2.0, 1.0), (0.0, -2.0, -2.0, 1.0), (1.999999, 1.999999))
    assert voxelize_dynamic(cloud, SIZE, RANGE).tolist() == [[-1] * 3] * 3 + [[0, 0, 0], [0, 3, 3]]


@pytest.mark.parametrize(
    ("size", "high"), [(0.075, 54.0), (0.1, 51.2), (0.2, 51.2), (0.3, 76.8), (0.6, 54.0), (0.16, 69.12)]
)
def test_no_point_at_the_upper_bound_in_real_grids(size, high):
    inside = torch.nextafter(torch.tensor(high), torch.tensor(0.0)).item()
    cloud = torch.tensor([[high, 0, 0], [0, high, 0], [-high, -high, 0], [inside, 0, 0]])
    cells = voxelize_dynamic(cloud, (size, size, 8.0), (-high, -high, -5.0, high, high, 3.0))
    count = round(2 * high / size)
    assert cells[:3].tolist() == [[-1] * 3, [-1] * 3, [0, 0, 0]]
    assert cells[3, 2] in (-1, count - 1)  # (x - low) / size may round up to the whole number


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.65), (-51.2, -50.4), (1.3, 2.1)])
def test_upper_bound_stays_outside_where_the_division_rounds_down(low, high):
    """(0.65 - 0) / 0.05 is 12.999999 in float32, so the number of the cell alone would let 0.65 in."""
    edge = torch.tensor([[high, 0.0, 0.0], [low, 0.0, 0.0]])
    assert (edge[0, 0] - low) / torch.tensor(0.05) < round((high - low) / 0.05)
    cells = voxelize_dynamic(edge, (0.05, 1.0, 1.0), (low, 0.0, 0.0, high, 1.0, 1.0))
    assert cells.tolist() == [[-1] * 3, [0, 0, 0]]


@pytest.mark.parametrize("size", [0.075, 0.1, 0.2, 0.3, 0.6])
def test_cell_borders_are_divided_not_multiplied_by_a_reciprocal(size):
    """F9: on the borders themselves the two differ, so the values here tell them apart."""
    count = round(108 / size)
    x = -54 + torch.arange(count, dtype=torch.float32) * torch.tensor(size)
    offset = x - torch.tensor(-54.0)
    divided, multiplied = (offset / torch.tensor(size)).floor(), (offset * (1 / torch.tensor(size))).floor()
    assert not torch.equal(divided, multiplied)
    cloud = torch.stack((x, torch.zeros(count), torch.zeros(count)), 1)
    found = voxelize_dynamic(cloud, (size, 1.0, 1.0), (-54.0, 0.0, 0.0, 54.0, 1.0, 1.0))
    assert torch.equal(found[:, 2].float(), divided)


def test_negative_side_is_floored_not_truncated():
    cloud = points((-0.1, 0.0), (-0.4, 0.0))
    assert voxelize_dynamic(cloud, SIZE, RANGE).tolist() == [[-1] * 3] * 2


def test_past_the_cap_whole_voxels_are_dropped_and_counted():
    """F4, F10: later voxels go, earlier voxels still take later points."""
    cloud = points((0.1, 0.1), (0.6, 0.1), (1.1, 0.1), (1.6, 0.1), (1.2, 0.2), (0.2, 0.2))
    found = voxelize(cloud, SIZE, RANGE, max_points=3, max_voxels=2)
    assert found.coords.tolist() == [[0, 2, 0], [0, 2, 1]]
    assert found.num_points.tolist() == [2, 1]
    assert found.num_dropped == 2
    assert voxelize_mean(cloud, SIZE, RANGE, 3, 2).num_dropped == 2


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("column", [0, 1, 2, 3])
def test_points_that_are_not_finite_are_dropped_and_counted(bad, column):
    cloud = points((0.1, 0.1), (0.2, 0.2), (0.3, 0.3))
    cloud[1, column] = bad
    found = voxelize(cloud, SIZE, RANGE, 5)
    assert (found.num_points.tolist(), found.num_invalid) == ([2], 1)
    assert found.features.isfinite().all()
    assert voxelize_mean(cloud, SIZE, RANGE).features.isfinite().all()
    assert voxelize_dynamic(cloud, SIZE, RANGE)[1].tolist() == [-1] * 3


@pytest.mark.parametrize("cloud", [torch.zeros(0, 5), torch.full((7, 5), 99.0), torch.full((3, 5), NAN)])
def test_nothing_in_range_gives_empty_tensors(cloud):
    found = voxelize(cloud, SIZE, RANGE, 4, 10)
    assert [tuple(t.shape) for t in found] == [(0, 4, 5), (0, 3), (0,), (), ()]
    assert voxelize_mean(cloud, SIZE, RANGE).features.shape == (0, 5)
    assert voxelize_dynamic(cloud, SIZE, RANGE).shape == (len(cloud), 3)


def test_one_point():
    found = voxelize(points((1.0, 1.0)), SIZE, RANGE, 1, 1)
    assert (found.coords.tolist(), found.num_points.tolist()) == ([[0, 3, 2]], [1])


def test_all_points_in_one_voxel():
    cloud = torch.zeros(5000, 4)
    cloud[:, 3] = torch.arange(5000)
    found = voxelize(cloud, SIZE, RANGE, 7)
    assert found.features[0, :, 3].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert voxelize_mean(cloud, SIZE, RANGE).features[0, 3] == 2499.5


def test_huge_range_takes_memory_by_points_not_by_cells():
    """F8: 4000 x 4000 x 200 cells are 12.8 GB as a dense map."""
    cloud = torch.rand(500, 4) * torch.tensor([400.0, 400.0, 20.0, 1.0])
    size, bounds = (0.1, 0.1, 0.1), (0.0, 0.0, 0.0, 400.0, 400.0, 20.0)
    assert_equal(voxelize(cloud, size, bounds, 3, 400), twin.voxelize(cloud, size, bounds, 3, 400))
    huge = (0.0, 0.0, 0.0, 2.0**17, 2.0**17, 2.0**17)  # 2^60 cells: keys need 64 bits (F20)
    args = (cloud * 2**8, (0.125,) * 3, huge, 3, 400)
    assert_equal(voxelize(*args), twin.voxelize(*args))


def test_results_never_share_memory():
    """F7."""
    cloud = points((0.1, 0.1), (1.1, 0.1))
    first = voxelize(cloud, SIZE, RANGE, 2)
    kept = [t.clone() for t in first]
    voxelize(cloud.flip(0) + 0.05, SIZE, RANGE, 2)[0].fill_(7)
    cloud.zero_()
    assert_equal(first, kept)


clouds = st.builds(
    lambda seed, count, spread: torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)) * spread,
    st.integers(0, 2**31),
    st.integers(0, 300),
    st.sampled_from([0.3, 1.0, 3.0]),
)


@settings(max_examples=60, deadline=None)
@given(clouds, st.sampled_from([0.1, 0.25, 0.5]), st.integers(1, 6), st.integers(1, 80))
def test_random_clouds_agree_with_the_twin_to_the_bit(cloud, size, max_points, max_voxels):
    args = (cloud, (size, 0.25, 2.0), (-1.5, -2.0, -1.0, 1.5, 2.0, 3.0), max_points, max_voxels)
    assert_equal(voxelize(*args), twin.voxelize(*args))
    assert_equal(voxelize_mean(*args), twin.voxelize_mean(*args))
    assert torch.equal(voxelize_dynamic(*args[:3]), twin.voxelize_dynamic(*args[:3]))
    assert_equal(voxelize_segments(*args[:3], max_voxels), twin.voxelize_segments(*args[:3], max_voxels))


def test_same_bits_on_any_number_of_threads():
    """F2, F6."""
    cloud = torch.randn(60_000, 5) * 20
    size, bounds = (0.2, 0.2, 8.0), (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
    assert_same_on_any_threads(lambda: voxelize(cloud, size, bounds, 3, 5000))
    assert_same_on_any_threads(lambda: voxelize_mean(cloud, size, bounds))
    assert_same_on_any_threads(lambda: (voxelize_dynamic(cloud, size, bounds),))


def test_workspace_gives_the_same_voxels_and_blank_rows():
    """Rows past the voxels are blank after a fuller call too, and the same memory is used."""
    workspace, means = VoxelWorkspace(), VoxelWorkspace()
    memory = set()
    for count in (300, 40, 0, 200):
        cloud = torch.randn(count, 4)
        plain, static = voxelize(cloud, SIZE, RANGE, 3, 12), voxelize(cloud, SIZE, RANGE, 3, 12, workspace)
        mean, static_mean = voxelize_mean(cloud, SIZE, RANGE, 3, 12), voxelize_mean(cloud, SIZE, RANGE, 3, 12, means)
        memory.add(static.features.data_ptr())
        for expected, found in ((plain, static), (mean, static_mean)):
            voxels = int(found.num_voxels)
            assert voxels == len(expected.coords)
            assert (found.num_dropped, found.num_invalid) == (expected.num_dropped, expected.num_invalid)
            assert all(torch.equal(a, b) for a, b in zip(found.trimmed(), expected[:3], strict=True))
            assert found.features[voxels:].eq(0).all()
            assert found.coords[voxels:].eq(-1).all()
            assert found.num_points[voxels:].eq(0).all()
    assert len(memory) == 1


def test_strided_points():
    cloud = torch.randn(50, 8)
    args = (SIZE, RANGE, 3, 20)
    assert_equal(voxelize(cloud[:, ::2], *args), voxelize(cloud[:, ::2].contiguous(), *args))


@pytest.mark.parametrize("name", ["voxelize", "voxelize_mean"])
def test_opcheck(name):
    assert_opcheck(getattr(torch.ops.bevkd, name), torch.randn(40, 4), list(SIZE), list(RANGE), 3, 6)


def test_opcheck_segments():
    assert_opcheck(torch.ops.bevkd.voxelize_segments, torch.randn(40, 4), list(SIZE), list(RANGE), 6)


@pytest.mark.parametrize("name", ["voxelize_into", "voxelize_mean_into"])
def test_opcheck_into(name):
    cloud, mean = torch.randn(40, 4), name == "voxelize_mean_into"
    out = VoxelWorkspace().tensors(cloud, (4,) if mean else (3, 4), 6)
    assert_opcheck(getattr(torch.ops.bevkd, name), cloud, list(SIZE), list(RANGE), *[3] * mean, *out)


def test_opcheck_dynamic():
    assert_opcheck(torch.ops.bevkd.voxelize_dynamic, torch.randn(40, 4), list(SIZE), list(RANGE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": [[0.0, 0.0, 0.0]]}, "points is a list"),
        ({"points": torch.zeros(4, 4).double()}, "points is float64, expected float32"),
        ({"points": torch.zeros(4, 4).half()}, "points is float16, expected float32"),
        ({"points": torch.zeros(4)}, r"points has shape \(4,\)"),
        ({"points": torch.zeros(4, 2)}, "points have 2 columns"),
        ({"points": torch.zeros(4, 4, requires_grad=True)}, "points require a gradient"),
        ({"voxel_size": (0.5, 0.0, 4.0)}, "voxel_size y is 0.0"),
        ({"voxel_size": (0.5, 1.0, -4.0)}, "voxel_size z is -4.0"),
        ({"voxel_size": (NAN, 1.0, 4.0)}, "voxel_size x is nan"),
        ({"voxel_size": 0.5}, "voxel_size is 0.5, expected 3 numbers"),
        ({"point_range": (0.0, 2.0)}, "expected 6 numbers"),
        ({"voxel_size": (0.3, 1.0, 4.0)}, r"point_range x \[0.0, 2.0\) is 6.6667 voxels"),
        ({"point_range": (2.0, -2.0, -2.0, 0.0, 2.0, 2.0)}, "point_range x"),
        ({"point_range": (0.0, -2.0, -2.0, INF, 2.0, 2.0)}, "point_range x"),
        ({"point_range": (0.0, -2.0, -2.0, 2.0, NAN, 2.0)}, "point_range y"),
        ({"point_range": (0.0,) * 3 + (2.0**24,) * 3, "voxel_size": (1.0,) * 3}, "point_range holds 4.7e\\+21 voxels"),
        ({"max_points": 0}, "max_points is 0"),
        ({"max_voxels": -1}, "max_voxels is -1"),
        ({"max_points": 2.5}, "max_points is 2.5"),
    ],
)
def test_bad_input_gets_one_sentence(change, message):
    arguments = {
        "points": torch.zeros(4, 4),
        "voxel_size": SIZE,
        "point_range": RANGE,
        "max_points": 2,
        "max_voxels": 5,
    } | change
    with pytest.raises(ConfigError, match=message) as error:
        voxelize(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {0: torch.zeros(4, 2)},
        {0: torch.zeros(4, 4).double()},
        {1: [0.5, 0.0, 4.0]},
        {1: [0.5]},
        {2: [0.0, -2.0, -2.0, 1.9, 2.0, 2.0]},
        {2: [0.0, -2.0, -2.0, INF, 2.0, 2.0]},
        {2: [0.0, -2.0, -2.0, NAN, 2.0, 2.0]},
        {3: 0},
        {4: 0},
    ],
)
def test_the_kernel_refuses_too(change):
    arguments = [torch.zeros(4, 4), list(SIZE), list(RANGE), 2, 5]
    for place, value in change.items():
        arguments[place] = value
    with pytest.raises((ValueError, TypeError)):
        torch.ops.bevkd.voxelize(*arguments)

"""Segment scatter: what it refuses, and segments made from coordinates."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_cases import OPS, random_case, raw

from bevkd.errors import ConfigError
from bevkd.ops import segments_from_coords

each_op = pytest.mark.parametrize("name", OPS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.zeros(90)}, r"features has shape \(90,\), expected \[N, C\]"),
        ({"features": torch.zeros(90, 5).int()}, "features is int32, expected float32 or"),
        ({"features": torch.zeros(91, 5)}, "features have 91 rows, expected 90"),
        ({"features": torch.zeros(90, 5, device="meta")}, "segments are on cpu, expected meta"),
        ({"features": None}, "features is a NoneType"),
        ({"segments": (1, 2)}, "segments are a tuple, expected Segments"),
    ],
)
@each_op
def test_bad_input_gets_one_sentence(name, change, message):
    features, segments = random_case()
    with pytest.raises(ConfigError, match=message):
        OPS[name](**({"features": features, "segments": segments} | change))


@pytest.mark.parametrize("value", [10**6, -5])
@pytest.mark.parametrize("field", ["point", "offsets", "voxel_of_point"])
@each_op
def test_broken_segments_are_refused_not_followed(name, field, value):
    features, segments = random_case(points=400, voxels=3, grad=True)
    broken = getattr(segments, field).clone()
    broken[1:-1] = value
    with pytest.raises((IndexError, RuntimeError)):
        OPS[name](features, segments._replace(**{field: broken})).sum().backward()


@pytest.mark.parametrize(
    "change",
    [
        {0: torch.zeros(89, 5)},
        {0: torch.zeros(90)},
        {1: torch.zeros(50).int()[::2]},
        {1: torch.zeros(50)},
        {1: torch.zeros(91).int()},
        {2: torch.zeros(0).long()},
        {2: torch.zeros(5).int()},
        {3: torch.zeros(90).long()},
        {3: torch.zeros(89).int()},
    ],
)
def test_the_kernels_refuse_too(change):
    features, segments = random_case()
    arguments = [features, *raw(segments)]
    for place, tensor in change.items():
        arguments[place] = tensor
    with pytest.raises((ValueError, TypeError)):
        torch.ops.bevkd.segment_max(*arguments)
    with pytest.raises((ValueError, TypeError)):
        torch.ops.bevkd.segment_sum(*arguments, True)


@pytest.mark.parametrize("winner", [torch.zeros(12, 5), torch.zeros(11, 5).int(), torch.zeros(5, 12).int().T])
def test_backward_kernel_refuses_a_strange_winner(winner):
    _, segments = random_case()
    with pytest.raises((ValueError, TypeError)):
        torch.ops.bevkd.segment_max_backward(torch.zeros(12, 5), winner, segments.voxel_of_point)


def test_segments_from_coords_hand_drawn(device):
    coords = torch.tensor([[0, 3], [0, 1], [-1, -1], [0, 3]], device=device)
    found = segments_from_coords(coords)
    assert found.coords.tolist() == [[0, 1], [0, 3]]
    assert found.point.tolist() == [1, 0, 3]
    assert found.offsets.tolist() == [0, 1, 3]
    assert found.voxel_of_point.tolist() == [1, 0, -1, 1]
    assert [tensor.dtype for tensor in found[1:4]] == [torch.int32, torch.int64, torch.int32]
    assert (found.num_dropped, found.num_invalid) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(0, 60),
    st.lists(st.sampled_from([1, 3, 1440, 2**31 - 1, 2**62]), min_size=1, max_size=5),
)
def test_segments_from_coords_order_rows_whatever_their_extent(seed, points, extents):
    """F20: five columns of 62 bits do not fit into one 64-bit key. The order is that of Python's tuples."""
    torch.manual_seed(seed)
    pool = torch.stack([torch.randint(-1, extent, (max(points // 3, 1),)) for extent in extents], 1)
    coords = pool[torch.randint(len(pool), (points,))]
    found = segments_from_coords(coords)
    rows = list(map(tuple, coords.tolist()))
    expected = sorted({row for row in rows if min(row) >= 0})
    assert list(map(tuple, found.coords.tolist())) == expected
    assert found.voxel_of_point.tolist() == [expected.index(row) if min(row) >= 0 else -1 for row in rows]
    members = [[i for i, row in enumerate(rows) if row == voxel] for voxel in expected]
    assert found.point.tolist() == [i for group in members for i in group]
    assert found.offsets.diff().tolist() == [len(group) for group in members]


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        (torch.zeros(4), "coords has shape"),
        (torch.zeros(4, 3), "coords is float32, expected int32 or"),
        (torch.zeros(4, 0).int(), "expected .N, D >= 1"),
        ([[1, 2]], "coords is a list"),
    ],
)
def test_segments_from_coords_refuses(coords, message):
    with pytest.raises(ConfigError, match=message):
        segments_from_coords(coords)

"""Rotated overlap against numbers worked by hand, shapely's polygons and the twin."""

import math

import pytest
import torch
from op_checks import assert_opcheck, assert_same_on_any_threads

from bevkd.errors import ConfigError
from bevkd.ops import box_iou_rotated
from bevkd.ops.reference import box_iou_rotated as twin

shapely = pytest.importorskip("shapely")


def box(*row) -> torch.Tensor:
    return torch.tensor([row], dtype=torch.float64)


def iou(a, b, **kwargs) -> float:
    return box_iou_rotated(box(*a), box(*b), **kwargs).item()


def random_boxes(count: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 5, generator=draw, dtype=torch.float64)
    low = torch.tensor([-3, -3, 0.2, 0.2, -7], dtype=torch.float64)
    return low + uniform * torch.tensor([6, 6, 6, 3, 14], dtype=torch.float64)


def shapely_ratio(a: list, b: list, over_first: bool = False) -> float:
    p, q = (shapely.Polygon(twin.corners(row)) for row in (a, b))
    shared = p.intersection(q).area
    return shared / (p.area if over_first else p.area + q.area - shared)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 2, 2, 0), (1, 0, 2, 2, 0), 2 / 6),
        ((0, 0, 4, 2, 0), (0, 0, 4, 2, math.pi / 2), 4 / 12),
        ((0, 0, 1, 1, 0), (0, 0, 1, 1, math.pi / 4), (2 * math.sqrt(2) - 2) / (4 - 2 * math.sqrt(2))),
        ((0, 0, 4, 4, 0.3), (0, 0, 2, 2, 1.1), 4 / 16),  # one inside the other
        ((5, -3, 4, 2, 0.7), (5, -3, 4, 2, 0.7), 1),  # identical
        ((5, -3, 4, 2, 0.7), (5, -3, 4, 2, 0.7 + math.pi), 1),  # turned by pi
        ((5, -3, 4, 2, 0.7), (5, -3, 2, 4, 0.7 + math.pi / 2), 1),  # sides swapped
        ((0, 0, 2, 2, 0), (2, 0, 2, 2, 0), 0),  # a shared edge
        ((0, 0, 2, 2, 0), (2, 2, 2, 2, 0), 0),  # a shared corner
        ((0, 0, 2, 2, 0), (9, 0, 2, 2, 0), 0),
        ((0, 0, 4, 2, 0), (1, 0, 2, 2, 0), 4 / 8),  # three edges shared
    ],
)
def test_hand_drawn(a, b, expected):
    assert iou(a, b) == pytest.approx(expected, abs=1e-12)
    assert iou(b, a) == pytest.approx(expected, abs=1e-12)


def test_over_first_divides_by_the_first_box():
    assert iou((0, 0, 4, 4, 0), (0, 0, 2, 2, 0), over_first=True) == pytest.approx(0.25)
    assert iou((0, 0, 2, 2, 0), (0, 0, 4, 4, 0), over_first=True) == pytest.approx(1.0)


@pytest.mark.parametrize("over_first", [False, True])
def test_thousand_random_pairs_against_shapely(over_first, device):
    """R60."""
    a, b = random_boxes(1000, 0), random_boxes(1000, 1)
    found = box_iou_rotated(a.to(device), b.to(device), aligned=True, over_first=over_first).cpu()
    expected = [shapely_ratio(x, y, over_first) for x, y in zip(a.tolist(), b.tolist())]
    assert sum(e > 0 for e in expected) > 300
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


def related_boxes(base: torch.Tensor, kind: str) -> torch.Tensor:
    other = base.clone()
    along = torch.stack((base[:, 4].cos(), base[:, 4].sin()), 1)
    if kind == "turned by pi":
        other[:, 4] += math.pi
    elif kind == "turned by -2 pi":
        other[:, 4] -= 2 * math.pi
    elif kind == "next door, sharing an edge":
        other[:, :2] += along * base[:, 2:3]
    elif kind == "half shifted along its side":
        other[:, :2] += along * base[:, 2:3] / 2
    elif kind == "far from the origin":
        base[:, :2] += 1e4
        other[:, :2] += 1e4
        other[:, 4] += 0.3
    return other


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("identical", 1.0),
        ("turned by pi", 1.0),
        ("turned by -2 pi", 1.0),
        ("next door, sharing an edge", 0.0),
        ("half shifted along its side", 1 / 3),
        ("far from the origin", None),
    ],
)
def test_related_boxes(kind, expected):
    """R60: the cases that break vertex-by-vertex tests."""
    base = random_boxes(1000, 2)
    other = related_boxes(base, kind)
    found = box_iou_rotated(base, other, aligned=True)
    if expected is None:
        local, local_other = base.clone(), other.clone()
        local[:, :2] -= 1e4
        local_other[:, :2] -= 1e4
        wanted = torch.tensor([shapely_ratio(x, y) for x, y in zip(local.tolist(), local_other.tolist())])
    else:
        wanted = torch.full((1000,), expected, dtype=torch.float64)
    torch.testing.assert_close(found, wanted.double(), atol=1e-9 if expected is not None else 1e-7, rtol=0)


@pytest.mark.parametrize(("rows", "columns"), [(40, 30), (3, 70), (70, 3), (33, 65)])
def test_all_pairs_agree_with_the_twin(rows, columns, device):
    a, b = random_boxes(rows, 3), random_boxes(columns, 4)
    found = box_iou_rotated(a.to(device), b.to(device)).cpu()
    torch.testing.assert_close(found, twin.box_iou_rotated(a, b), atol=1e-12, rtol=0)


def test_pairs_are_the_same_aligned_and_swapped():
    a, b = random_boxes(40, 3), random_boxes(30, 4)
    found = box_iou_rotated(a, b)
    torch.testing.assert_close(found.diagonal(), box_iou_rotated(a[:30], b, aligned=True), atol=0, rtol=0)
    torch.testing.assert_close(found, box_iou_rotated(b, a).T, atol=1e-12, rtol=0)


def test_invalid_boxes_overlap_nothing():
    good = box(0, 0, 2, 2, 0)
    rows = [(0, 0, 0, 2, 0), (0, 0, -2, -2, 0), (math.nan, 0, 2, 2, 0), (0, 0, 2, math.inf, 0), (0, 0, 2, 2, math.nan)]
    bad = torch.tensor(rows, dtype=torch.float64)
    for found in (box_iou_rotated(good, bad), box_iou_rotated(bad, good), box_iou_rotated(bad, bad)):
        assert not found.any()


def test_empty_and_float32():
    assert box_iou_rotated(torch.zeros(0, 5), torch.zeros(3, 5)).shape == (0, 3)
    assert box_iou_rotated(torch.zeros(3, 5), torch.zeros(0, 5)).shape == (3, 0)
    a = random_boxes(50, 5).float()
    torch.testing.assert_close(box_iou_rotated(a, a).double(), twin.box_iou_rotated(a.double(), a.double()))


def test_one_against_many_and_the_other_way():
    """Work is shared out by pairs, not by rows."""
    one, many = random_boxes(1, 8), random_boxes(5000, 9)
    found = box_iou_rotated(one, many)
    torch.testing.assert_close(found[:, ::50], twin.box_iou_rotated(one, many[::50]), atol=1e-12, rtol=0)
    torch.testing.assert_close(found, box_iou_rotated(many, one).T, atol=1e-12, rtol=0)
    first = box_iou_rotated(many, one.expand(5000, 5), aligned=True, over_first=True)
    assert torch.equal(first[:, None], box_iou_rotated(many, one, over_first=True))


def test_far_huge_and_tiny_boxes():
    """Circles that touch by rounding, sizes whose squares overflow or vanish."""
    assert iou((0, 0, 3, 4, 0), (3, 4, 3, 4, 0)) == 0  # circles and corners touch
    assert iou((0, 0, 1e200, 1e200, 0), (0, 0, 1e200, 1e200, 0)) == 0  # no float64 holds the area
    assert iou((0, 0, 1e150, 1e150, 0), (0, 0, 1e150, 1e150, 0)) == pytest.approx(1)
    assert iou((0, 0, 1e-200, 1e-200, 0), (1, 0, 1e-200, 1e-200, 0)) == 0
    assert iou((0, 0, 1e5, 1e5, 0), (0, 0, 1e-3, 1e-3, 1)) == pytest.approx(1e-16, rel=1e-6)


def test_threads_opcheck_and_compile():
    a, b = random_boxes(500, 6), random_boxes(300, 7)
    assert_same_on_any_threads(lambda: (box_iou_rotated(a, b), box_iou_rotated(a, a, aligned=True)))
    compiled = torch.compile(box_iou_rotated, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(a, b, over_first=True), box_iou_rotated(a, b, over_first=True))
    strided = a.T.contiguous().T.requires_grad_()
    assert torch.equal(box_iou_rotated(strided, b), box_iou_rotated(a, b))
    assert_opcheck(torch.ops.bevkd.box_iou_rotated, a[:5], b[:4], False, False)
    assert_opcheck(torch.ops.bevkd.box_iou_rotated, a[:4], b[:4], True, True)


@pytest.mark.parametrize(
    ("a", "b", "aligned", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(3, 5), False, "boxes1 has shape"),
        (torch.zeros(3, 5), torch.zeros(5), False, "boxes2 has shape"),
        (torch.zeros(3, 5), torch.zeros(3, 5).double(), False, "boxes2 are torch.float64"),
        (torch.zeros(3, 5).int(), torch.zeros(3, 5), False, "boxes1 is int32"),
        (torch.zeros(3, 5), torch.zeros(2, 5), True, "aligned boxes number 3 and 2"),
    ],
)
def test_bad_input_gets_one_sentence(a, b, aligned, message):
    with pytest.raises(ConfigError, match=message):
        box_iou_rotated(a, b, aligned)
    with pytest.raises((ValueError, TypeError, NotImplementedError)):
        torch.ops.bevkd.box_iou_rotated(a, b, aligned, False)

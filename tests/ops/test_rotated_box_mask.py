"""Boxes drawn on BEV cells: hand-drawn values, the twin to the bit, an independent polygon test, edges, refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_checks import assert_opcheck, assert_same_on_any_threads

from bevkd.errors import ConfigError, DataError
from bevkd.ops import BoxMask, points_in_boxes, rotated_box_mask
from bevkd.ops.reference import rotated_box_mask as twin
from bevkd.structures import BEVGrid, box_corners_bev

GRID = BEVGrid((-4, 4), (-3, 3), 1.0)  # 6 rows, 8 columns
PAPER = BEVGrid((-54, 54), (-54, 54), 0.6)
NAN, INF = float("nan"), float("inf")


def box(x=0.0, y=0.0, dx=4.0, dy=2.0, yaw=0.0, z=0.0, dz=1.5):
    return [x, y, z, dx, dy, dz, yaw]


def draw(rows, grid=GRID, valid=None, device="cpu", **kwargs) -> BoxMask:
    """The mask of one sample."""
    boxes = torch.tensor(rows, dtype=torch.float32, device=device).reshape(1, len(rows), -1 if rows else 7)
    valid = torch.ones(1, len(rows), dtype=torch.bool, device=device) if valid is None else valid
    return rotated_box_mask(boxes, valid, grid, **kwargs)


def random_case(seed, samples=2, count=5, grid=GRID, dtype=torch.float32):
    random = np.random.default_rng(seed)
    low, high = (grid.x_range[0] - 2, grid.y_range[0] - 2), (grid.x_range[1] + 2, grid.y_range[1] + 2)
    shape = (samples, count)
    columns = (
        random.uniform(low, high, (*shape, 2)), random.normal(size=(*shape, 1)), random.uniform(0.2, 9, (*shape, 3)),
        random.uniform(-7, 7, (*shape, 1)), random.normal(size=(*shape, 2)),
    )  # fmt: skip
    boxes = torch.tensor(np.concatenate(columns, -1), dtype=dtype)
    return boxes, torch.tensor(random.uniform(size=shape) < 0.8)


def test_hand_drawn(device):
    """A 4 x 2 box on the corner of four cells, and a turned one beside it that shares cells."""
    mask = draw([box(), box(x=2.4, y=0.5, dx=3.8, dy=1.6, yaw=math.pi / 2)], device=device)
    expected = torch.full((6, 8), -1, dtype=torch.int32)
    expected[2:4, 2:6] = 0
    expected[2:5, 6] = 1
    assert torch.equal(mask.index[0].cpu(), expected)
    assert mask.counts.tolist() == [[8, 3]]
    assert mask.gaussian is None
    assert (mask.index.dtype, mask.counts.dtype) == (torch.int32, torch.int32)


def test_the_first_box_takes_a_shared_cell_and_both_count_it(device):
    one, two = box(dx=4, dy=4), box(x=1, dx=4, dy=2)
    mask = draw([one, two], device=device)
    assert mask.counts.tolist() == [[16, 8]]
    assert [(mask.index == n).sum().item() for n in (0, 1)] == [16, 2]
    mask = draw([two, one], device=device)
    assert [(mask.index == n).sum().item() for n in (0, 1)] == [8, 10]


def test_cells_are_tested_at_their_centres(device):
    """F25: by its corners, half a cell away, cell (3, 4) would lie in the second box and not in the first."""
    mask = draw([box(x=0.5, y=0.5, dx=0.8, dy=0.8)], device=device)
    assert mask.foreground.nonzero().tolist() == [[0, 3, 4]]
    assert not draw([box(x=0.0, y=0.0, dx=0.8, dy=0.8)], device=device).foreground.any()


def test_rows_are_y_and_columns_are_x_and_yaw_turns_counter_clockwise(device):
    mask = draw([box(x=-2.5, y=1.5, dx=0.5, dy=0.5)], device=device)
    assert mask.foreground.nonzero().tolist() == [[0, 4, 1]]
    diagonal = draw([box(dx=6, dy=0.9, yaw=math.pi / 4)], device=device).foreground[0]
    assert diagonal[3, 4]
    assert diagonal[4, 5]
    assert not diagonal[2, 4]
    assert not diagonal[4, 3]


def test_gaussians_have_the_paper_s_numbers(device):
    car = draw([box(1.0, 2.0, 4.6, 1.9)], PAPER, device=device, min_overlap=0.7).gaussian
    assert car.sum().item() == pytest.approx(1.6146, abs=1e-4)
    assert car[0, int(56 / 0.6), int(55 / 0.6)] == 1
    assert (car > 0).sum() == 9
    assert draw([box(-10.1, 20.2, 0.7, 0.7)], PAPER, device=device, min_overlap=0.7).gaussian.sum() == 1
    least = draw([box(-10.1, 20.2, 0.7, 0.7)], PAPER, device=device, min_overlap=0.7, min_radius=2).gaussian
    assert (least > 0).sum() == 25
    assert least[0, int(74.2 / 0.6), int(43.9 / 0.6) + 2].item() == pytest.approx(math.exp(-4 / (2 * (5 / 6) ** 2)))


def test_gaussians_take_the_maximum_and_stop_at_the_border(device):
    row = box(3.9, 0.1, 4.6, 1.9)
    two = draw([row, box(3.1, 0.1, 4.6, 1.9)], device=device, min_overlap=0.1)
    assert two.gaussian.max() == 1
    alone = draw([row], device=device, min_overlap=0.1).gaussian
    assert (two.gaussian >= alone).all()
    assert alone[0, 3, 7] == 1
    assert not draw([box(4.1, 0.1)], device=device, min_overlap=0.1).gaussian.any()  # its centre is off the map
    wide = draw([box(0.5, 0.5)], device=device, min_overlap=0.7, min_radius=1000).gaussian
    assert wide.min() > 0.99


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 3),
    st.integers(0, 9),
    st.sampled_from([GRID, BEVGrid((-6, 12), (-4, 4), 0.5), BEVGrid((0, 3), (0, 3), 3.0)]),
    st.sampled_from([None, 0.1, 0.7]),
    st.sampled_from([0, 2]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_random_boxes_agree_with_the_twin_to_the_bit(seed, samples, count, grid, overlap, radius, dtype):
    boxes, valid = random_case(seed, samples, count, grid, dtype)
    boxes = torch.where(valid[..., None], boxes, NAN)
    found = rotated_box_mask(boxes, valid, grid, overlap, radius)
    index, counts, gaussian = twin.rotated_box_mask(boxes, valid, grid, overlap, radius)
    assert torch.equal(found.index, index)
    assert torch.equal(found.counts, counts)
    if overlap is None:
        assert found.gaussian is None
    else:
        torch.testing.assert_close(found.gaussian, gaussian, rtol=3e-7, atol=0)


def test_many_boxes_on_the_paper_s_grid(device):
    boxes, valid = random_case(3, 2, 60, PAPER)
    found = rotated_box_mask(boxes.to(device), valid.to(device), PAPER, 0.7)
    index, counts, gaussian = twin.rotated_box_mask(boxes, valid, PAPER, 0.7)
    assert torch.equal(found.index.cpu(), index)
    assert torch.equal(found.counts.cpu(), counts)
    torch.testing.assert_close(found.gaussian.cpu(), gaussian, rtol=3e-7, atol=0)


def test_an_independent_polygon_test_agrees_away_from_the_sides():
    """Cross products with the four edges in float64; cells within a millimetre of a side may go either way."""
    boxes, _ = random_case(5, 1, 60, PAPER, torch.float64)
    corners = box_corners_bev(boxes[0]).numpy()
    rows, columns = PAPER.shape
    x, y = np.meshgrid(-54 + (np.arange(columns) + 0.5) * 0.6, -54 + (np.arange(rows) + 0.5) * 0.6)
    for n in range(60):
        edges = [corners[n, (i + 1) % 4] - corners[n, i] for i in range(4)]
        distance = np.min(
            [(e[0] * (y - c[1]) - e[1] * (x - c[0])) / np.hypot(*e) for e, c in zip(edges, corners[n])], axis=0
        )
        found = rotated_box_mask(boxes[:, n : n + 1], torch.ones(1, 1, dtype=torch.bool), PAPER).foreground[0].numpy()
        sure = np.abs(distance) > 1e-3
        assert (found == (distance > 0))[sure].all()
        assert sure.mean() > 0.999


def test_agrees_with_points_in_boxes():
    boxes, _ = random_case(6, 1, 4)
    x, y = torch.meshgrid(torch.arange(-3.5, 4), torch.arange(-2.5, 3), indexing="xy")
    centres = torch.stack((x.flatten(), y.flatten(), torch.zeros(48)), 1)
    flat = boxes[0, :, :7].clone()
    flat[:, 2] = -1
    inside = points_in_boxes(centres, flat).view(4, 6, 8)
    for n in range(4):
        mask = rotated_box_mask(flat[None, n : n + 1], torch.ones(1, 1, dtype=torch.bool), GRID)
        assert torch.equal(mask.foreground[0], inside[n])


def test_spread_and_area_weight(device):
    mask = draw([box(dx=4, dy=4), box(x=2, dx=2, dy=2), box(x=9)], device=device)
    values = torch.tensor([[2.0, 3.0, 5.0]], device=device)
    laid = mask.spread(values)
    assert laid.shape == (1, 6, 8)
    assert laid.sum() == 16 * 2 + 2 * 3
    weight = mask.area_weight()
    assert weight[mask.index == 0].tolist() == [1 / 16] * 16
    assert weight[mask.index == 1].tolist() == [0.25] * 2  # two of its four cells belong to the first box
    assert weight.sum() == 1.5
    with pytest.raises(ConfigError, match=r"values have shape \(3,\), expected \[B, M\] = \(1, 3\)"):
        mask.spread(values[0])


def test_distillbev_s_scaling():
    """DistillBEV: S = sqrt(cell area / box area) is 0.28284 for 4 x 2 m and 0.27060 for 4.6 x 1.9 m on 0.8 m cells."""
    grid = BEVGrid((-51.2, 51.2), (-51.2, 51.2), 0.8)
    boxes = torch.tensor([[box(dx=4, dy=2), box(x=20, dx=4.6, dy=1.9)]])
    mask = rotated_box_mask(boxes, torch.ones(1, 2, dtype=torch.bool), grid)
    scale = mask.spread(grid.cell / (boxes[..., 3] * boxes[..., 4]).sqrt())
    assert scale.unique().tolist() == pytest.approx([0, 0.27060, 0.28284], abs=1e-5)


@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("count", [0, 3])
def test_no_boxes_and_nothing_but_padding(samples, count, device):
    boxes = torch.full((samples, count, 7), NAN, device=device)
    valid = torch.zeros(samples, count, dtype=torch.bool, device=device)
    mask = rotated_box_mask(boxes, valid, GRID, min_overlap=0.7)
    assert mask.index.shape == (samples, 6, 8)
    assert (mask.index == -1).all()
    assert not mask.gaussian.any()
    assert not mask.counts.any()
    assert not mask.area_weight().any()


def test_outside_smaller_than_a_cell_and_over_everything(device):
    mask = draw([box(x=100.0), box(x=0.25, y=0.25, dx=0.3, dy=0.3), box(dx=50, dy=50, yaw=1.0)], device=device)
    assert mask.counts.tolist() == [[0, 0, 48]]
    assert (mask.index == 2).all()
    cut = draw([box(x=4.0, y=3.0)], device=device)
    assert cut.foreground.nonzero().tolist() == [[0, 5, 6], [0, 5, 7]]


@pytest.mark.parametrize(
    ("place", "value"), [(0, NAN), (1, INF), (2, NAN), (3, NAN), (4, 0.0), (5, -1.0), (6, INF), (3, -2.0)]
)
def test_an_unusable_box_is_named_on_the_cpu_and_flagged_everywhere(place, value, device):
    rows = [box(), box()]
    rows[1][place] = value
    boxes = torch.tensor([rows], device=device)
    valid = torch.ones(1, 2, dtype=torch.bool, device=device)
    raw = torch.ops.bevkd.rotated_box_mask(boxes, valid, [-4.0, -3.0], 1.0, [6, 8], True, 0.7, 0)
    assert raw[1].tolist() == [[8, -1]]
    assert raw[2].max() == 1
    if device.type == "cpu":
        with pytest.raises(DataError, match=r"box 1 of sample 0 is \[.*expected finite numbers and positive sizes"):
            rotated_box_mask(boxes, valid, GRID)
    valid[0, 1] = False
    assert rotated_box_mask(boxes, valid, GRID).counts.tolist() == [[8, 0]]


def test_strided_boxes_and_more_columns(device):
    boxes, valid = random_case(7)
    boxes, valid = boxes.to(device), valid.to(device)
    wide = torch.cat((boxes, boxes), 2).transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(rotated_box_mask(wide, valid, GRID).index, rotated_box_mask(boxes[..., :7], valid, GRID).index)


def test_same_bits_on_any_number_of_threads():
    boxes, valid = random_case(8, 5, 40, PAPER)
    assert_same_on_any_threads(lambda: tuple(rotated_box_mask(boxes, valid, PAPER, 0.7)))


def test_opcheck(device):
    boxes, valid = (tensor.to(device) for tensor in random_case(9))
    for drawn in (True, False):
        assert_opcheck(torch.ops.bevkd.rotated_box_mask, boxes, valid, [-4.0, -3.0], 1.0, [6, 8], drawn, 0.7, 0)


def test_compiles_whole(device):
    boxes, valid = (tensor.to(device) for tensor in random_case(10))

    def weights(boxes, valid):
        mask = rotated_box_mask(boxes, valid, GRID, 0.7)
        return mask.area_weight() + mask.gaussian

    compiled = torch.compile(weights, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(boxes, valid), weights(boxes, valid))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": torch.zeros(2, 7)}, r"boxes has shape \(2, 7\), expected \[B, M, 7 or more\]"),
        ({"boxes": torch.zeros(1, 2, 5)}, r"boxes have shape \(1, 2, 5\), expected \[B, M, 7 or more\]"),
        ({"boxes": torch.zeros(1, 2, 7).half()}, "boxes is float16, expected float32 or float64"),
        ({"valid": torch.ones(1, 3, dtype=torch.bool)}, r"valid is \(1, 3\) on cpu, expected \(1, 2\) on cpu"),
        ({"valid": torch.ones(1, 2)}, "valid is float32, expected bool"),
        ({"valid": torch.ones(1, 2, dtype=torch.bool, device="meta")}, "valid is .* on meta"),
        ({"min_overlap": 1.0}, "min_overlap is 1.0"),
        ({"min_overlap": 0.5, "min_radius": -1}, "min_radius -1"),
    ],
)
def test_bad_input_gets_one_sentence(change, message):
    arguments = {"boxes": torch.ones(1, 2, 7), "valid": torch.ones(1, 2, dtype=torch.bool), "grid": GRID} | change
    with pytest.raises(ConfigError, match=message):
        rotated_box_mask(**arguments)


@pytest.mark.parametrize(
    "change",
    [
        {0: torch.zeros(2, 7)},
        {0: torch.zeros(1, 2, 7).int()},
        {1: torch.ones(1, 2)},
        {1: torch.ones(2, 1, dtype=torch.bool)},
        {2: [0.0]},
        {3: 0.0},
        {4: [0, 8]},
        {6: 0.0},
    ],
)
def test_the_kernel_refuses_too(change):
    valid = torch.ones(1, 2, dtype=torch.bool)
    arguments = [torch.ones(1, 2, 7), valid, [-4.0, -3.0], 1.0, [6, 8], True, 0.7, 0]
    for place, value in change.items():
        arguments[place] = value
    with pytest.raises((ValueError, TypeError)):
        torch.ops.bevkd.rotated_box_mask(*arguments)

"""Lift plans: hand-drawn cells and lists, the twin, roundings, refusals, the same bits on any number of threads."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_checks import assert_opcheck, assert_same_on_any_threads
from pool_cases import EMULATED, GRID, INF, KINDS, NAN, Z, column, random_case, with_lists

from bevkd.errors import ConfigError
from bevkd.ops import LiftPlan
from bevkd.ops.lift_plan import ColumnLists, PointLists
from bevkd.ops.reference import bev_pool as twin
from bevkd.structures import BEVGrid


@pytest.fixture
def column_device(device) -> torch.device:
    if device.type == "cpu" and not EMULATED:
        pytest.skip("kernels over columns are for GPUs")
    return device


def test_hand_drawn(device):
    """Bins 0 and 2 meet in cell (row 3, column 4), bin 1 lies in (0, 0), bin 3 outside."""
    plan = LiftPlan.build(column((0.5, 0.5, 0), (-4, -3, 0), (0.9, 0.1, 1), (4.0, 0, 0)).to(device), GRID, Z)
    assert plan.cell.flatten().tolist() == [3 * 8 + 4, 0, 3 * 8 + 4, -1]
    lists = PointLists.build(plan.cell, plan.shape)
    assert lists.point.tolist() == [1, 0, 2]
    assert lists.pixel.tolist() == [0, 0, 0]
    assert lists.offsets[[0, 1, 28, 29, -1]].tolist() == [0, 1, 1, 3, 3]


def test_hand_drawn_columns(column_device):
    """Columns 0 and 1 meet in cell 28; column 0 alone touches cell 0, column 1 alone nothing else."""
    frustum = torch.full((1, 1, 2, 2, 2, 3), 99.0)
    frustum[0, 0, :, :, 0] = torch.tensor([[[0.5, 0.5, 0], [0.1, 0.1, 0]], [[0.2, 0.9, 0], [-4, -3, 0]]])
    frustum[0, 0, 1, 1, 1] = torch.tensor([0.7, 0.7, 0])
    plan = LiftPlan.build(frustum.to(column_device), GRID, Z)
    lists = ColumnLists.build(plan.cell, plan.shape)
    assert lists.local[0, 0].tolist() == [[[1, -1], [1, -1]], [[1, -1], [0, 0]]]
    assert lists.column_offsets.tolist() == [0, 2, 3]
    assert lists.column_cell.tolist() == [0, 28, 28]
    assert lists.row_slot.tolist() == [-1, 1, 2]
    assert lists.cell_offsets[[0, 1, 28, 29, -1]].tolist() == [0, 1, 1, 3, 3]
    assert lists.max_cells == 2


def test_rounding_toward_zero_takes_one_more_cell_on_the_low_side(device):
    frustum = column((-4.5, 0, 0), (0, -3.9, 0), (0, 0, -5.9), (0, 0, 2.0), (-5.0, 0, 0), (-4.0, 0, -2.0)).to(device)
    floor, trunc = (LiftPlan.build(frustum, GRID, Z, rounding=r).cell.flatten().tolist() for r in ("floor", "trunc"))
    assert floor == [-1, -1, -1, -1, -1, 24]
    assert trunc == [24, 4, 28, -1, -1, 24]


def test_points_that_are_not_finite_are_dropped_and_counted(device):
    frustum = column((NAN, 0, 0), (0, INF, 0), (0, 0, -INF), (0, 0, 0), (3e38, 3e38, 3e38), (INF, -INF, 0))
    plan = LiftPlan.build(frustum.to(device), GRID, Z)
    assert (plan.cell >= 0).flatten().tolist() == [False, False, False, True, False, False]
    assert plan.num_invalid == 4  # numbers whose sum overflows are outside, yet finite


@settings(max_examples=10 if EMULATED else 60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 6)] * 3),
    st.sampled_from([0.5, 3.0, 30.0]),
    st.sampled_from(["floor", "trunc"]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_random_points_agree_with_the_twin(seed, shape, spread, rounding, dtype):
    frustum, *_ = random_case(seed, shape, 1, dtype, spread)
    frustum.flatten()[seed % frustum.numel()] = [NAN, INF, -INF, 1.0][seed % 4]
    plan = LiftPlan.build(frustum, GRID, Z, rounding)
    assert torch.equal(plan.cell.long(), twin.lift_cells(frustum, GRID, Z, rounding))
    assert plan.num_invalid == (~frustum.isfinite().all(-1)).sum()


def test_points_on_the_borders_of_cells_are_where_ieee_division_puts_them(device):
    """Multiplying by a reciprocal would move some of them."""
    grid = BEVGrid((-51.2, 51.2), (-51.2, 51.2), 0.8)
    edges = torch.arange(-64, 65).mul(0.8).float()
    near = torch.stack([edges, edges.nextafter(edges - 1), edges.nextafter(edges + 1)]).flatten()
    frustum = torch.zeros(1, 1, len(near), 1, 1, 3)
    frustum[..., 0, 0, 0] = near
    found = LiftPlan.build(frustum.to(device), grid, Z).cell
    assert torch.equal(found.cpu().long(), twin.lift_cells(frustum, grid, Z))


@pytest.mark.parametrize("shape", [(3, 2, 6, 4, 5), (1, 1, 3000, 1, 2), (2, 3, 1, 7, 9)])
def test_every_inside_point_is_listed_once_by_cell_then_index(shape, device):
    frustum, *_ = random_case(shape=shape)
    plan = LiftPlan.build(frustum.to(device), GRID, Z)
    lists = PointLists(*(x.cpu() for x in PointLists.build(plan.cell, plan.shape)))
    cell = plan.cell.cpu().flatten().long()
    expected = torch.argsort(torch.where(cell < 0, 10**6, cell), stable=True)[: (cell >= 0).sum()]
    assert torch.equal(lists.point.long(), expected)
    assert torch.equal(lists.offsets.diff().long(), torch.bincount(cell[cell >= 0], minlength=shape[0] * 48))
    image = shape[3] * shape[4]
    assert torch.equal(lists.pixel.long(), expected // (shape[2] * image) * image + expected % image)


@pytest.mark.parametrize(
    "shape", [(3, 2, 6, 4, 5), (1, 1, 500, 3, 2), (2, 3, 1, 7, 9), (0, 1, 2, 3, 4), (1, 1, 0, 3, 4)]
)
@pytest.mark.parametrize("cell", [1.0, 0.01])
def test_columns_list_each_cell_of_a_column_once(shape, cell, column_device):
    """At 0.01 m the map has 480,000 cells, more than are numbered at a time."""
    grid = BEVGrid((-4, 4), (-3, 3), cell)
    plan = LiftPlan.build(random_case(shape=shape)[0].to(column_device), grid, Z)
    lists = ColumnLists.build(plan.cell, plan.shape)
    by_column = (shape[0] * shape[1] * shape[4], shape[2] * shape[3])
    of_cells, local = (x.permute(0, 1, 4, 2, 3).reshape(by_column).cpu() for x in (plan.cell, lists.local))
    rows = []
    for column_of_cells, place in zip(of_cells, local):
        distinct, number = column_of_cells[column_of_cells >= 0].unique(return_inverse=True)
        rows.append(distinct)
        assert torch.equal(place[place >= 0].long(), number)
        assert torch.equal(place >= 0, column_of_cells >= 0)
    lengths = torch.tensor([len(row) for row in rows])
    assert torch.equal(lists.column_offsets.diff().cpu(), lengths.int())
    assert lists.max_cells == (lengths.max() if len(rows) else 0)
    every = torch.cat(rows) if rows else torch.zeros(0, dtype=torch.int32)
    assert torch.equal(lists.column_cell.cpu(), every)
    per_cell = torch.bincount(every.long(), minlength=shape[0] * grid.shape[0] * grid.shape[1])
    assert torch.equal(lists.cell_offsets.diff().cpu(), per_cell.int())
    place = torch.empty(len(every), dtype=torch.int32)
    place[every.argsort(stable=True)] = torch.arange(len(every), dtype=torch.int32)
    assert torch.equal(lists.row_slot.cpu(), torch.where(per_cell[every.long()] == 1, -1, place))


def test_which_columns_fit():
    assert ColumnLists.fits(torch.empty(1, 6, 118, 16, 44, device="meta"))
    assert ColumnLists.fits(torch.empty(1, 6, 255, 128, 44, device="meta"))
    assert not ColumnLists.fits(torch.empty(1, 6, 256, 128, 44, device="meta"))
    assert not ColumnLists.fits(torch.empty(1, 6, 4, 129, 44, device="meta"))


def test_columns_of_too_many_points_are_refused(column_device):
    with pytest.raises(ValueError, match="needs lists of points"):
        ColumnLists.build(torch.zeros(1, 1, 2**13, 4, 1, dtype=torch.int32, device=column_device), (6, 8))


def test_same_plan_on_any_number_of_threads():
    frustum, *_ = random_case(shape=(3, 2, 20, 8, 11), dtype=torch.float32)
    cell = LiftPlan.build(frustum, GRID, Z).cell
    ops = torch.ops.bevkd
    assert_same_on_any_threads(lambda: ops.lift_plan(frustum, [-4, -3, -2], [4, 3, 2], 1.0, [6, 8], False))
    assert_same_on_any_threads(lambda: ops.lift_points(cell, 3 * 48))


def test_strided_frustum(device):
    frustum = random_case()[0].to(device)
    wide = torch.cat((frustum, frustum), -1)[..., :3]
    assert torch.equal(LiftPlan.build(wide, GRID, Z).cell, LiftPlan.build(frustum, GRID, Z).cell)


@pytest.mark.parametrize("kind", KINDS)
def test_to_device_keeps_the_plan(kind):
    plan = LiftPlan.build(random_case()[0], GRID, Z)
    plan = with_lists(plan, kind) if EMULATED else plan
    moved = plan.to("cpu")
    assert torch.equal(moved.lists[0], plan.lists[0])
    assert moved.shape == plan.shape
    assert plan.to("meta").cell.device.type == "meta"
    assert type(plan.to("meta").lists) is type(plan.lists)


@pytest.mark.gpu
def test_to_another_kind_of_device_takes_its_lists():
    plan = LiftPlan.build(random_case()[0], GRID, Z)
    there = plan.to("cuda")
    assert isinstance(there.lists, ColumnLists)
    assert all(torch.equal(a, b) for a, b in zip(there.to("cpu").lists, plan.lists))


def test_opcheck(device):
    frustum = random_case(shape=(2, 1, 3, 2, 4))[0].to(device)
    cell = LiftPlan.build(frustum, GRID, Z).cell
    assert_opcheck(torch.ops.bevkd.lift_plan, frustum, [-4.0, -3.0, -2.0], [4.0, 3.0, 2.0], 1.0, [6, 8], False)
    assert_opcheck(torch.ops.bevkd.lift_points, cell, 2 * 48)


def test_opcheck_of_columns(column_device):
    cell = LiftPlan.build(random_case(shape=(2, 1, 3, 2, 4))[0].to(column_device), GRID, Z).cell
    assert_opcheck(torch.ops.bevkd.lift_columns, cell, 2 * 48)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frustum": torch.zeros(1, 2, 3, 4, 3)}, r"frustum has shape \(1, 2, 3, 4, 3\)"),
        ({"frustum": torch.zeros(1, 1, 1, 1, 1, 4)}, r"frustum has shape \(1, 1, 1, 1, 1, 4\)"),
        ({"frustum": torch.zeros(1, 1, 1, 1, 1, 3).half()}, "frustum is float16, expected float32 or float64"),
        ({"frustum": torch.zeros(1, 1, 1, 1, 1, 3).int()}, "frustum is int32"),
        ({"z_range": (2.0, -2.0)}, "z_range is"),
        ({"z_range": (NAN, 2.0)}, "z_range is"),
        ({"rounding": "round"}, "rounding is 'round'; .*floor, trunc|rounding is 'round'; nearest"),
    ],
)
def test_bad_geometry_gets_one_sentence(change, message):
    arguments = {"frustum": torch.zeros(1, 1, 1, 1, 1, 3), "grid": GRID, "z_range": Z} | change
    with pytest.raises(ConfigError, match=message):
        LiftPlan.build(**arguments)


@pytest.mark.parametrize(
    ("cell", "cells", "error"),
    [
        (torch.zeros(1, 1, 1, 1, 1), 48, TypeError),
        (torch.zeros(1, 1, 1, 1).int(), 48, ValueError),
        (torch.zeros(2, 1, 1, 1, 1).int(), 49, ValueError),
        (torch.zeros(2, 1, 1, 1, 1).int(), -2, ValueError),
    ],
)
def test_lists_of_what_is_no_plan_are_refused(cell, cells, error):
    with pytest.raises(error):
        torch.ops.bevkd.lift_points(cell, cells)


@pytest.mark.skipif(EMULATED, reason="kernels drop such points")
@pytest.mark.parametrize("wrong", [48, 10**6])
def test_lists_of_cells_of_another_sample_are_refused(wrong):
    cell = torch.tensor([0, wrong, 50, -1], dtype=torch.int32).reshape(2, 1, 1, 1, 2)
    with pytest.raises(IndexError, match=f"cell holds {wrong} in sample 0, expected 0 to 47"):
        torch.ops.bevkd.lift_points(cell, 96)

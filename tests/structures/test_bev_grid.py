"""The frame and cell convention, by the numbers that its docstring and the papers give."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bevkd.errors import ConfigError
from bevkd.structures import BEVGrid

PAPER = BEVGrid((-54, 54), (-54, 54), 0.6)
WIDE = BEVGrid((-4, 8), (0, 6), 0.5)


def test_worked_numbers():
    assert PAPER.shape == (180, 180)
    assert WIDE.shape == (12, 24)  # rows are y, columns are x
    two = torch.tensor([2.0, 0.0])
    torch.testing.assert_close(PAPER.to_cells(two), torch.tensor([93.3333, 90.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(PAPER.normalise(two), torch.tensor([0.037037, 0.0]), atol=1e-6, rtol=0)
    assert PAPER.normalise(torch.zeros(2)).tolist() == [0.0, 0.0]


def test_first_cell_has_its_outer_corner_at_the_minimum():
    assert WIDE.to_cells(torch.tensor([-4.0, 0.0])).tolist() == [0.0, 0.0]
    assert WIDE.to_cells(torch.tensor([-3.75, 0.25])).tolist() == [0.5, 0.5]  # its centre
    assert WIDE.normalise(torch.tensor([[-4.0, 0.0], [8.0, 6.0]])).tolist() == [[-1.0, -1.0], [1.0, 1.0]]


@pytest.mark.parametrize("grid", [WIDE, PAPER])
def test_centres_lie_in_the_middle_of_their_cells(grid):
    centres = grid.centres()
    assert centres.shape == (2, *grid.shape)
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in grid.shape), indexing="ij")
    cells = grid.to_cells(centres.movedim(0, -1))
    torch.testing.assert_close(cells, torch.stack((columns, rows), -1), atol=1e-4, rtol=0)


def test_first_and_last_centre():
    centres = WIDE.centres()
    assert centres[:, 0, 0].tolist() == [-3.75, 0.25]
    assert centres[:, -1, -1].tolist() == [7.75, 5.75]


def test_upper_bound_is_exclusive():
    points = torch.tensor([[-4.0, 0.0], [7.999, 5.999], [8.0, 3.0], [0.0, 6.0], [-4.001, 3.0], [0.0, -0.001]])
    assert WIDE.contains(points).tolist() == [True, True, False, False, False, False]


@given(st.floats(-54, 53.9), st.floats(-54, 53.9))
def test_normalised_and_cells_agree(x, y):
    point = torch.tensor([x, y], dtype=torch.float64)
    torch.testing.assert_close((PAPER.normalise(point) + 1) / 2 * 180, PAPER.to_cells(point), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (((0, 1), (0, 1), 0), "cell is 0.0"),
        (((0, 1), (0, 1), float("nan")), "cell is nan"),
        (((1, 0), (0, 1), 0.5), "x_range is"),
        (((0, 1), (0, 1, 2), 0.5), "y_range is"),
        (((0, 1), (0, 1.3), 0.5), r"y_range \(0.0, 1.3\) is 2.6000 cells"),
    ],
)
def test_bad_grids_are_refused(arguments, found):
    with pytest.raises(ConfigError, match=found):
        BEVGrid(*arguments)


def test_require_same_names_every_difference():
    WIDE.require_same(BEVGrid([-4, 8], [0, 6], 0.5))
    with pytest.raises(ConfigError, match=r"student and teacher differ: y_range .* against .*; cell 0.5 against 0.25"):
        WIDE.require_same(BEVGrid((-4, 8), (0, 3), 0.25))

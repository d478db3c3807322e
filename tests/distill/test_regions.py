"""Foreground, the teacher's false positives and the rest: hand-drawn maps, a cell-by-cell twin, known flaws."""

import math

import numpy as np
import pytest
import torch
from method_scenes import WIDE, random_boxes, slow_heat, slow_regions

from bevkd.distill.bev.regions import level_grid, split_regions
from bevkd.errors import ConfigError
from bevkd.structures import BEVGrid
from bevkd.structures.targets import Targets

PAPER = BEVGrid((-51.2, 51.2), (-51.2, 51.2), 0.8)


def box(x, y, dx, dy, yaw=0.0):
    return torch.tensor([[x, y, 0.0, dx, dy, 1.5, yaw]])


def picture(cells):
    return ["".join("#" if cell else "." for cell in row) for row in cells.tolist()]


def regions_of(boxes, grid, *heat):
    return split_regions(Targets(boxes, [], grid), *heat)


def test_a_drawn_box_marks_the_cells_whose_centres_it_holds():
    # 2 x 1 m at (1, -0.5) in 0.5 m cells: centres x 0.25 to 1.75, y -0.75 and -0.25. Row 0 is the lowest y.
    grid = BEVGrid((-1, 3), (-1.5, 1), 0.5)
    regions = regions_of([box(1.0, -0.5, 2.0, 1.0)], grid)
    assert picture(regions.foreground[0]) == ["........", "..####..", "..####..", "........", "........"]
    upright = regions_of([box(1.0, -0.5, 2.0, 1.0, math.pi / 2)], grid)  # 1 along x, 2 along y
    assert picture(upright.foreground[0]) == ["...##...", "...##...", "...##...", "...##...", "........"]


def test_a_false_positive_is_hotter_than_the_threshold_where_the_truth_is_colder():
    grid = BEVGrid((0, 2), (0, 1), 1.0)
    between = box(0.9, 0.5, 0.2, 0.2)  # draws a heat of 1 into the first cell, whose centre it does not hold
    for heat, found in ((0.5, 0), (0.51, 2)):
        regions = regions_of([torch.zeros(0, 7)], grid, torch.full((1, 1, 2), heat), 0.5)
        assert regions.false_positive.count_nonzero() == found
    regions = regions_of([between], grid, torch.full((1, 1, 2), 2.0), 1.0)
    assert regions.false_positive.tolist() == [[[0, 1]]]


def test_cells_are_tested_at_centres_not_corners():
    """F25: a corner test is half a cell off. This box holds a cell's outer corner and no centre, then the opposite."""
    grid = BEVGrid((0, 8), (0, 8), 0.8)
    corner, centre = box(1.6, 1.6, 0.7, 0.7), box(2.0, 2.0, 0.7, 0.7)
    assert regions_of([corner], grid).foreground.count_nonzero() == 0
    assert regions_of([centre], grid).foreground.nonzero().tolist() == [[0, 2, 2]]


def test_rows_are_y_and_columns_are_x():
    """F25: whether to transpose was left open. A map that is not square shows it."""
    regions = regions_of([box(10.25, -3.25, 0.4, 0.4)], WIDE)
    assert regions.foreground.shape == (1, *WIDE.shape)
    assert regions.foreground.nonzero().tolist() == [[0, 1, 32]]


def test_rotation_is_counter_clockwise():
    grid = BEVGrid((-3, 3), (-3, 3), 1.0)
    marked = regions_of([box(0, 0, 6.0, 1.0, math.pi / 4)], grid).foreground[0] > 0
    assert marked.nonzero().tolist() == [[k, k] for k in range(1, 5)]  # y grows with x


@pytest.mark.parametrize(("size", "scale"), [((4.0, 2.0), 0.28284), ((1.9, 4.6), 0.27060), ((0.7, 0.7), 1.1429)])
def test_scale_of_a_box_is_the_paper_s(size, scale):
    foreground = regions_of([box(0.4, 0.4, *size)], PAPER).foreground
    assert foreground[foreground > 0].unique().tolist() == [pytest.approx(scale, abs=1e-4)]


def test_a_box_never_weighs_less_than_background():
    grid = BEVGrid((0, 3), (0, 3), 1.0)
    regions = regions_of([box(1.5, 1.5, 1000.0, 1.9)], grid)  # the middle row; sqrt(1 / 1900) is less than 1 / 6
    assert picture(regions.foreground[0]) == ["...", "###", "..."]
    assert regions.foreground[0, 1].tolist() == [pytest.approx(1 / 6)] * 3


def test_the_first_of_overlapping_boxes_gives_the_scale():
    two = torch.cat([box(0.4, 0.4, 4.0, 2.0), box(0.4, 0.4, 8.0, 8.0)])
    assert regions_of([two], PAPER).foreground[0, 64, 64].item() == pytest.approx(0.28284, abs=1e-4)
    assert regions_of([two.flip(0)], PAPER).foreground[0, 64, 64].item() == pytest.approx(0.1, abs=1e-4)


def test_counted_weights_do_count():
    """F25: a minimum where a maximum is needed made one weight constant. Background of n cells weighs 1 / n, each n."""
    for side in (2, 3, 7):
        background = regions_of([torch.zeros(0, 7)], BEVGrid((0, side), (0, side), 1.0)).background
        assert background.unique().tolist() == [pytest.approx(1 / side**2)]


@pytest.mark.parametrize("seed", range(3))
def test_regions_agree_with_the_cell_by_cell_twin(seed):
    samples = [random_boxes(12, WIDE, seed), torch.zeros(0, 7), random_boxes(2, WIDE, seed + 9)]
    heat = torch.rand(3, *WIDE.shape, generator=torch.Generator().manual_seed(seed))
    for given, threshold in ((heat, 0.3), (None, 0.3), (heat, 0.7)):
        regions = regions_of(samples, WIDE, given, threshold)
        for b, sample in enumerate(samples):
            twin = slow_regions(sample, WIDE, None if given is None else given[b], threshold)
            for name, weights in twin.items():
                np.testing.assert_allclose(getattr(regions, name)[b].numpy(), weights, rtol=1e-5, err_msg=name)


def test_regions_are_disjoint_and_cover_the_map():
    samples = [random_boxes(12, WIDE, 1), random_boxes(3, WIDE, 2)]
    heat = torch.rand(2, *WIDE.shape, generator=torch.Generator().manual_seed(0))
    regions = regions_of(samples, WIDE, heat)
    marked = torch.stack([regions.foreground, regions.background, regions.false_positive]) > 0
    assert (marked.sum(0) == 1).all()
    assert marked.flatten(2).any(2).all()  # the example has all three
    for weights in (regions.background, regions.false_positive):
        torch.testing.assert_close(weights.sum((1, 2)), torch.ones(2))


def test_false_positives_need_a_sure_teacher_and_no_object_near():
    grid = BEVGrid((0, 20), (0, 20), 1.0)
    heat = torch.zeros(1, *grid.shape)
    heat[0, 5, 15] = 0.9  # far from the object
    heat[0, 5, 16] = 0.05  # not sure
    heat[0, 6, 5] = 0.9  # beside the object, where the drawn heat is still high
    regions = regions_of([box(4.5, 5.5, 1.0, 1.0)], grid, heat)
    assert slow_heat(box(4.5, 5.5, 1.0, 1.0), grid)[6, 5] > 0.1
    assert regions.false_positive.nonzero().tolist() == [[0, 5, 15]]
    assert regions.false_positive.sum() == 1


def test_a_teacher_that_fires_everywhere_leaves_no_background():
    regions = regions_of([random_boxes(3, WIDE, 1)], WIDE, torch.ones(1, *WIDE.shape))
    near = torch.from_numpy(slow_heat(random_boxes(3, WIDE, 1), WIDE) >= 0.1)
    assert ((regions.background[0] > 0) <= near).all()
    assert regions.false_positive.sum().item() == pytest.approx(1)
    nothing = regions_of([torch.zeros(0, 7)], WIDE, torch.ones(1, *WIDE.shape))
    assert nothing.background.sum() == nothing.foreground.sum() == 0
    assert all(weights.isfinite().all() for weights in vars(nothing).values())


def test_no_box_and_boxes_everywhere():
    empty = regions_of([torch.zeros(0, 7)] * 2, WIDE)
    assert empty.foreground.sum() == empty.false_positive.sum() == 0
    torch.testing.assert_close(empty.background.sum((1, 2)), torch.ones(2))
    full = regions_of([box(3.0, 0.0, 100.0, 100.0)], WIDE)
    assert full.background.sum() == 0
    assert (full.foreground > 0).all()


def test_level_grid():
    assert level_grid(PAPER, (64, 64), "level") == BEVGrid(PAPER.x_range, PAPER.y_range, 1.6)
    assert level_grid(WIDE, (32, 72), "level").cell == 0.25
    with pytest.raises(ConfigError, match=r"level 'a' has 16 x 18 cells .*expected square cells"):
        level_grid(WIDE, (16, 18), "level 'a'")

"""Peaks of a head, the windows around them and what is sampled there."""

import math

import numpy as np
import pytest
import torch
from method_scenes import WIDE, head, maps, slow_radius

from bevkd.distill.bev.proposals import Proposals, crop, join_proposals, propose
from bevkd.errors import ConfigError
from bevkd.structures import BEVGrid

GRID = BEVGrid((0, 12), (0, 8), 1.0)


def drawn_head(*peaks, size=(3.0, 2.0), grid=GRID, tasks=(1, 2)):
    """Heat of ``peaks`` (task, class, row, column, probability) over 0.0067, and one size everywhere."""
    maps_ = []
    for task, classes in enumerate(tasks):
        heat = torch.full((1, classes, *grid.shape), -5.0)
        for t, k, row, column, probability in peaks:
            if t == task:
                heat[0, k, row, column] = math.log(probability / (1 - probability))
        dim = torch.tensor([*size, 1.5]).log().view(1, 3, 1, 1).expand(1, 3, *grid.shape)
        maps_.append({"heatmap": heat, "dim": dim, "reg": torch.zeros(1, 2, *grid.shape)})
    return maps_


def test_drawn_peaks_in_order_of_heat():
    found = propose(drawn_head((0, 0, 2, 3, 0.6), (1, 1, 5, 9, 0.9), (1, 0, 5, 8, 0.7)), GRID, 4, 0.1, "teacher")
    assert found.valid.tolist() == [[True, True, False, False]]  # 0.7 is beside 0.9, of another class
    assert found.cells[0, :2].tolist() == [5 * 12 + 9, 2 * 12 + 3]
    radius = slow_radius(3.0, 2.0, overlap=0.1)
    assert radius == 1
    assert found.windows[0, :2].tolist() == [[8, 4, 11, 7], [2, 1, 5, 4]]


def test_threshold_is_exclusive_and_a_count_larger_than_the_map_is_cut():
    one = drawn_head((0, 0, 2, 3, 0.5))
    assert propose(one, GRID, 3, 0.5, "student").valid.sum() == 0
    assert propose(one, GRID, 3, 0.49, "student").valid.sum() == 1
    assert propose(one, GRID, 1000, 0.1, "student").cells.shape == (1, 96)


def test_windows_end_at_the_border_and_untrained_sizes_stay_finite():
    corner = propose(drawn_head((0, 0, 0, 11, 0.9), size=(9.0, 9.0)), GRID, 1, 0.1, "student")
    radius = slow_radius(9.0, 9.0, overlap=0.1)
    assert corner.windows.tolist() == [[[11 - radius, 0, 12, radius + 1]]]
    for size in (math.inf, math.nan, 1e-9):
        found = propose(drawn_head((0, 0, 3, 5, 0.9), size=(size, 2.0)), GRID, 1, 0.1, "student")
        x0, y0, x1, y1 = found.windows[0, 0].tolist()
        assert 0 <= x0 < x1 <= 12
        assert 0 <= y0 < y1 <= 8
        assert found.valid.all()


def test_size_is_the_likeliest_class_s():
    heads = drawn_head((0, 0, 3, 5, 0.6), (1, 1, 3, 5, 0.9))
    heads[0]["dim"] = torch.full((1, 3, *GRID.shape), math.log(12.0))
    small = propose(heads, GRID, 1, 0.1, "student").windows
    heads[0]["heatmap"] += 5  # now the first task is likeliest
    assert (propose(heads, GRID, 1, 0.1, "student").windows - small).abs().sum() > 0


def test_proposals_agree_with_a_slow_twin():
    heads = head(WIDE, seed=4)
    for task in heads:
        task["dim"] = task["dim"] * 0.3 + 1
    found = propose(heads, WIDE, 400, 0.6, "student")
    rows, columns = WIDE.shape
    for b in range(2):
        heat = torch.cat([task["heatmap"][b] for task in heads]).sigmoid().double().numpy()
        best, label = heat.max(0), heat.argmax(0)
        expected = {}
        for i in range(rows):
            for j in range(columns):
                near = best[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
                if best[i, j] > 0.6 and best[i, j] == near.max():
                    dx, dy = heads[0 if label[i, j] == 0 else 1]["dim"][b, :2, i, j].double().exp().tolist()
                    r = max(1, slow_radius(dx / 0.5, dy / 0.5, 0.1))
                    x, y = (max(0, j - r), min(columns, j + r + 1)), (max(0, i - r), min(rows, i + r + 1))
                    expected[i * columns + j] = [x[0], y[0], x[1], y[1]]
        valid = found.valid[b]
        assert dict(zip(found.cells[b][valid].tolist(), found.windows[b][valid].tolist())) == expected
        assert len(expected) > 10


def test_joined_proposals_keep_a_cell_once():
    def proposals(cells, valid):
        return Proposals(torch.tensor([cells]), torch.tensor([[[c, 0, 1, 1] for c in cells]]), torch.tensor([valid]))

    both = join_proposals(proposals([4, 7, 9], [1, 1, 0]), proposals([7, 9, 2], [1, 1, 0]))
    assert both.cells.tolist() == [[4, 7, 9, 7, 9, 2]]
    assert both.valid.bool().tolist() == [[True, True, False, False, True, False]]


def test_crop_of_a_ramp_gives_the_places_of_its_samples():
    """A map that holds its own coordinates: cell (i, j) is centred at (j + 0.5, i + 0.5)."""
    centres = GRID.centres()[None]
    windows = torch.tensor([[[2, 1, 8, 7], [3, 3, 6, 6]]])
    samples = crop(centres, windows, 3)
    assert samples.shape == (1, 2, 2, 3, 3)
    assert samples[0, 0, 0, 0].tolist() == pytest.approx([3, 5, 7])  # x0 + 6 (k + 0.5) / 3
    assert samples[0, 0, 1, :, 0].tolist() == pytest.approx([2, 4, 6])
    assert samples[0, 1, 0, 1].tolist() == pytest.approx([3.5, 4.5, 5.5])  # three cells: their very values


def test_crop_agrees_with_bilinear_interpolation_by_hand():
    feature, windows = maps(WIDE, 3, seed=1), torch.tensor([[[0, 0, 5, 3]], [[20, 9, 36, 16]]])
    samples = crop(feature, windows, 7)
    for b, ((x0, y0, x1, y1),) in enumerate(windows.tolist()):
        for n in range(7):
            for m in range(7):
                row = min(max(y0 + (y1 - y0) * (n + 0.5) / 7 - 0.5, 0), 15)
                column = min(max(x0 + (x1 - x0) * (m + 0.5) / 7 - 0.5, 0), 35)
                i, j = min(int(row), 14), min(int(column), 34)
                a, c = row - i, column - j
                f = feature[b].double().numpy()
                value = (1 - a) * ((1 - c) * f[:, i, j] + c * f[:, i, j + 1])
                value += a * ((1 - c) * f[:, i + 1, j] + c * f[:, i + 1, j + 1])
                np.testing.assert_allclose(samples[b, 0, :, n, m].numpy(), value, atol=1e-4)


def test_heads_that_cannot_propose_are_refused():
    heads = head(WIDE)
    with pytest.raises(ConfigError, match=r"the student's heat is \(2, 3, 16, 36\), expected .* on \(8, 12\)"):
        propose(heads, GRID, 5, 0.1, "student")
    del heads[1]["dim"]
    with pytest.raises(ConfigError, match="the teacher's head has no 'dim' map of 3 channels"):
        propose(heads, WIDE, 5, 0.1, "teacher")

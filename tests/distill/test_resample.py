"""A teacher's maps on the student's grid: places are kept, peaks are kept, offsets mean the same metres."""

import pytest
import torch
from method_scenes import head

from bevkd.distill import RDD, DistillBEV, Distiller, LiveTeacher, UniDistill
from bevkd.distill.bev.resampling import resample_taps
from bevkd.errors import ConfigError
from bevkd.structures import BEVGrid

FINE, COARSE = BEVGrid((-6, 12), (-4, 4), 0.25), BEVGrid((-6, 12), (-4, 4), 0.5)
INNER = BEVGrid((-3, 6), (-2, 3), 0.5)  # within FINE, shifted by whole metres


def coordinates(grid):
    return grid.centres()[None].expand(2, -1, -1, -1).clone()


@pytest.mark.parametrize(("source", "target"), [(FINE, COARSE), (COARSE, FINE), (FINE, INNER), (COARSE, COARSE)])
def test_a_map_of_its_own_coordinates_keeps_them(source, target):
    """Linear maps survive bilinear sampling and averages; only outside the outermost centres nothing is known."""
    moved = resample_taps({"low": coordinates(source)}, source, target)["low"]
    assert moved.shape == (2, 2, *target.shape)
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(moved[inside], coordinates(target)[inside])


@pytest.mark.parametrize("target", [COARSE, FINE, BEVGrid((-6, 12), (-4, 4), 0.2)])
def test_a_constant_map_stays_constant_up_to_its_border(target):
    moved = resample_taps({"low": torch.ones(1, 2, *COARSE.shape)}, COARSE, target)["low"]
    torch.testing.assert_close(moved, torch.ones(1, 2, *target.shape))


@pytest.mark.parametrize("cell", [0.4, 0.8, 1.0])
def test_averages_count_every_source_cell(cell):
    """On cells that are no multiple of the source's as well: the mean of the map is kept."""
    source, target = BEVGrid((0, 8), (0, 8), 0.25), BEVGrid((0, 8), (0, 8), cell)
    for row in range(8, 16):
        spot = torch.zeros(1, 1, 32, 32)
        spot[0, 0, row, 11] = 1
        moved = resample_taps({"low": spot}, source, target)["low"]
        assert moved.sum() > 0
        if cell == 1.0:
            assert moved[0, 0, row // 4, 2] == pytest.approx(1 / 16)


def test_a_coarser_level_stays_as_much_coarser():
    half = coordinates(BEVGrid(FINE.x_range, FINE.y_range, 0.5))
    moved = resample_taps({"stage": half}, FINE, COARSE)["stage"]
    assert moved.shape == (2, 2, 8, 18)
    expected = coordinates(BEVGrid(FINE.x_range, FINE.y_range, 1.0))
    torch.testing.assert_close(moved, expected)
    assert resample_taps({"stage": half.bfloat16()}, FINE, COARSE)["stage"].dtype == torch.bfloat16


def decoded(maps, grid):
    """Metres of every cell's object centre, as a centre head's decoder has them."""
    y, x = torch.meshgrid(*(torch.arange(n) for n in grid.shape), indexing="ij")
    low = torch.tensor([grid.x_range[0], grid.y_range[0]]).view(2, 1, 1)
    return (maps["reg"] + torch.stack((x, y))) * grid.cell + low


@pytest.mark.parametrize("target", [COARSE, INNER, BEVGrid((-6, 12), (-4, 4), 0.2)])
def test_an_object_stays_where_it_is(target):
    """One hot cell with an offset: in the target the cell that holds it is the hottest, and it decodes alike."""
    row, column, place = 19, 30, (1.57, 0.81)
    task = {key: torch.zeros(1, n, *FINE.shape) for key, n in (("heatmap", 2), ("reg", 2), ("dim", 3), ("rot", 2))}
    task["heatmap"] -= 5
    task["heatmap"][0, 1, row, column] = 2
    task["reg"][0, :, row, column] = torch.tensor(
        [(place[0] + 6) / 0.25 - column, (place[1] + 4) / 0.25 - row], dtype=torch.float
    )
    task["dim"][0, :, row, column] = torch.tensor([1.0, 2.0, 3.0])
    (moved,) = resample_taps({"head": [task]}, FINE, target)["head"]
    assert moved["heatmap"].max() == 2  # not averaged away
    at = (moved["heatmap"][0, 1] == 2).nonzero().tolist()
    expected = target.to_cells(torch.tensor([1.625, 0.875])).floor().long().tolist()[::-1]
    assert expected in at
    for i, j in at:
        assert decoded(moved, target)[0, :, i, j].tolist() == pytest.approx(place, abs=1e-5)
        assert moved["dim"][0, :, i, j].tolist() == [1, 2, 3]


def test_the_same_grid_changes_nothing():
    heads = head(COARSE, seed=1)
    for before, after in zip(heads, resample_taps({"head": heads}, COARSE, COARSE)["head"]):
        for key in before:
            torch.testing.assert_close(after[key], before[key], msg=key)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.zeros(2, 16, 8), "tap 'x' is Tensor, expected a map"),
        (torch.zeros(1, 2, 16, 36), r"tap 'x' has 16 x 36 cells"),
        ({"a": 1}, "tap 'x' is dict"),
        ([{"reg": 1}], "tap 'x' is list"),
        ([{"heatmap": torch.zeros(1, 2, 8, 8)}], r"heat is \(1, 2, 8, 8\), expected"),
    ],
)
def test_what_cannot_be_resampled_is_refused(value, found):
    with pytest.raises(ConfigError, match=found):
        resample_taps({"x": value}, BEVGrid((0, 8), (0, 8), 0.5), BEVGrid((0, 8), (0, 8), 1.0))


@pytest.mark.parametrize("cell", [0.25, 1.0])
def test_every_method_learns_from_a_teacher_on_other_cells(detector, batch, cell):
    teacher = detector(1, grid=BEVGrid((-6, 6), (-6, 6), cell))
    if cell == 0.25:  # the maps of this teacher follow its image
        teacher.stem = torch.nn.Sequential(torch.nn.Upsample(scale_factor=2), teacher.stem)
    else:
        teacher.stem = torch.nn.Sequential(torch.nn.AvgPool2d(2), teacher.stem)
    methods = {"u": UniDistill(), "d": DistillBEV({"low": {}, "high": {"false_positive": True}}), "r": RDD(threshold=0)}
    with pytest.raises(ConfigError, match="grids of student and teacher differ"):
        Distiller(detector(0), LiveTeacher(teacher), methods).init_weights()
    model = Distiller(detector(0), LiveTeacher(teacher), methods, resample=True)
    losses = model(*batch, mode="loss")
    model.parse_losses(losses)[0].backward()
    assert all(loss.isfinite() for name, loss in losses.items() if name.startswith("kd/"))
    assert all(p.grad.isfinite().all() for p in model.student.parameters())


def test_a_teacher_that_sees_less_is_refused(detector):
    teacher = detector(1, grid=BEVGrid((-6, 6), (-4, 8), 0.5))
    with pytest.raises(ConfigError, match=r"spans y \(-6.0, 6.0\) m and the teacher's \(-4.0, 8.0\)"):
        Distiller(detector(0), LiveTeacher(teacher), {"u": UniDistill()}, resample=True).init_weights()

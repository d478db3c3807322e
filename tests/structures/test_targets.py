"""Ground truth read from data samples, checked, and derived from once."""

from types import SimpleNamespace

import pytest
import torch

from bevkd.errors import DataError
from bevkd.structures import BEVGrid
from bevkd.structures.targets import Targets

GRID = BEVGrid((-4, 4), (-4, 4), 0.5)


def sample(boxes, labels):
    return SimpleNamespace(gt_instances_3d=SimpleNamespace(bboxes_3d=boxes, labels_3d=labels))


def test_reads_box_structures_and_plain_tensors():
    tensor = torch.rand(2, 9)
    samples = [sample(SimpleNamespace(tensor=tensor), torch.tensor([1, 2])), sample(torch.zeros(0, 9), torch.zeros(0))]
    targets = Targets.from_data_samples(samples, GRID)
    assert targets.boxes[0] is tensor
    assert [len(b) for b in targets.boxes] == [2, 0]
    assert targets.labels[0].tolist() == [1, 2]
    assert targets.grid is GRID


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (SimpleNamespace(), "sample 1 of the batch has no gt_instances_3d"),
        (SimpleNamespace(gt_instances_3d=SimpleNamespace(bboxes_3d=torch.zeros(0, 9))), "labels_3d"),
        (sample(torch.zeros(2, 9), torch.zeros(3)), "sample 1 of the batch has 2 boxes and 3 labels"),
    ],
)
def test_bad_samples_are_named(bad, found):
    with pytest.raises(DataError, match=found):
        Targets.from_data_samples([sample(torch.zeros(0, 9), torch.zeros(0)), bad], GRID)


@pytest.fixture
def grid():
    return BEVGrid((-6, 6), (-6, 6), 0.5)


@pytest.fixture
def boxes():
    two = torch.tensor([[1.0, 2, 0, 3, 1.5, 1, 0.3, 0, 0], [-3.0, -2.5, 0, 2, 1, 1, -2, 0.5, 0]])
    return [two, two[:1].clone()]


def test_padding_keeps_order_and_marks_rows(boxes, grid):
    targets = Targets([boxes[1], torch.zeros(0, 9), boxes[0]], [], grid)
    assert targets.padded.shape == (3, 2, 7)
    assert torch.equal(targets.padded[2], boxes[0][:, :7])
    assert targets.padded[0, 1].tolist() == [0] * 7
    assert targets.valid.tolist() == [[True, False], [False, False], [True, True]]
    assert (targets.count.item(), targets.empty) == (3, False)
    assert Targets([torch.zeros(0, 9)], [], grid).empty


def test_what_is_derived_is_computed_once_and_for_one_device(boxes, grid):
    targets = Targets(boxes, [], grid)
    assert targets.padded is targets.padded
    calls = []
    assert [targets.once("x", lambda: calls.append(1) or 5) for _ in range(2)] == [5, 5]
    assert calls == [1]
    assert targets.on(torch.device("cpu")) is targets
    moved = targets.on(torch.device("meta"))
    assert (moved.padded.device.type, moved.count.device.type) == ("meta", "meta")
    assert moved.once("x", lambda: 6) == 6
    assert moved.boxes is targets.boxes


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ((0, float("nan")), "box 1 of sample 1 is .*nan.*expected finite"),
        ((8, float("nan")), "box 1 of sample 1 is .*nan.*expected finite"),
        ((3, float("inf")), "box 1 of sample 1 is .*inf.*expected finite"),
        ((4, 0.0), "box 1 of sample 1 has size .*0.0.* expected positive"),
        ((5, -1.0), "box 1 of sample 1 has size"),
        ((6, 90.0), r"box 1 of sample 1 has yaw 90, expected radians \(this looks like degrees\)"),
    ],
)
def test_unusable_boxes_are_named(boxes, grid, change, found):
    pair = [boxes[1], boxes[0]]
    assert Targets(pair, [], grid).check() == Targets(pair, [], grid).invalid == 0
    column, value = change
    pair[1][1, column] = value
    with pytest.raises(DataError, match=found):
        Targets(pair, [], grid).check()
    assert Targets(pair, [], grid).invalid.isnan()


def test_boxes_on_a_device_are_not_looked_at(boxes, grid):
    poison = Targets([box.to("meta") for box in boxes], [], grid).check()
    assert (poison.device.type, poison.shape) == ("meta", ())
    assert Targets([torch.zeros(0, 9, device="meta")], [], grid).check() == 0


def test_a_padding_row_is_refused(boxes, grid):
    padded = torch.cat([boxes[0], torch.zeros(1, 9)])
    with pytest.raises(DataError, match="box 2 of sample 0 has size"):
        Targets([padded], [], grid).check()


def test_boxes_of_another_frame_and_wrong_shapes_are_refused(boxes, grid):
    far = boxes[0] + torch.tensor([100.0, 0, 0, 0, 0, 0, 0, 0, 0])
    with pytest.raises(DataError, match="2 of 3 box centres lie outside the BEV grid"):
        Targets([far, boxes[1]], [], grid).check()
    assert Targets([far, boxes[1]], [], grid).invalid.isnan()
    Targets([far[:1], *boxes], [], grid).check()  # a straggler is no sign of a wrong frame
    assert Targets([far[:1], *boxes], [], grid).invalid == 0
    with pytest.raises(DataError, match=r"boxes of sample 1 have shape \(4, 5\)"):
        Targets([boxes[0], torch.ones(4, 5)], [], grid).check()
    Targets([], [], grid).check()


def wide(*boxes):
    rows = [torch.tensor([[x, y, 0.0, dx, dy, 1.5, yaw]]) for x, y, dx, dy, yaw in boxes]
    return Targets([torch.cat(rows)], [], BEVGrid((-6, 12), (-4, 4), 0.5))


@pytest.mark.parametrize(
    ("x", "y", "near"),
    [(-6.4, 0, True), (-6.6, 0, False), (12.4, 0, True), (12.6, 0, False),
     (0, -4.4, True), (0, -4.6, False), (0, 4.4, True), (0, 4.6, False)],
)  # fmt: skip
def test_a_centre_may_lie_a_cell_outside_the_grid(x, y, near):
    assert wide((x, y, 2.0, 1.0, 0.0)).invalid.isnan() == (not near)


def test_half_of_the_boxes_outside_is_no_other_frame():
    near, far = (0.0, 0.0, 2.0, 1.0, 0.0), (90.0, 0.0, 2.0, 1.0, 0.0)
    assert wide(near, far).invalid == 0
    assert wide(near, far, far).invalid.isnan()


@pytest.mark.parametrize("yaw", [90.0, -90.0])
def test_yaw_in_degrees_is_refused_on_both_sides(yaw):
    assert wide((0.0, 0.0, 2.0, 1.0, yaw)).invalid.isnan()

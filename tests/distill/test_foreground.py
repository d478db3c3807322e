"""Boxes checked, maps sampled at their points, and Gaussian masks."""

import numpy as np
import pytest
import torch
from method_scenes import WIDE, random_boxes, slow_mask, slow_radius

from bevkd.distill.foreground import box_poison, check_boxes, gaussian_mask, sample_boxes
from bevkd.errors import DataError
from bevkd.structures import BEVGrid, gaussian_radius, nine_keypoints, sample_bev

CARD = BEVGrid((-54, 54), (-54, 54), 0.6)


def box(x, y, dx, dy, yaw=0.0):
    return torch.tensor([[x, y, 0.0, dx, dy, 1.5, yaw]])


def test_radii_of_a_car_a_pedestrian_and_a_bus():
    sizes = torch.tensor([[4.6, 1.9], [0.7, 0.7], [12.0, 2.9]]) / 0.6
    assert gaussian_radius(sizes).tolist() == [1, 0, 2]


def test_mask_of_a_car_sums_to_the_card_s_number():
    mask = gaussian_mask([box(1.0, 2.0, 4.6, 1.9)], CARD)[0]
    assert mask.sum().item() == pytest.approx(1 + 4 * 0.1353 + 4 * 0.0183, abs=1e-3)
    row, column = (2.0 + 54) / 0.6, (1.0 + 54) / 0.6
    assert mask[int(row), int(column)] == 1
    assert (mask > 0).sum() == 9


def test_mask_of_a_pedestrian_is_one_cell():
    mask = gaussian_mask([box(-10.1, 20.2, 0.7, 0.7)], CARD)[0]
    assert mask.nonzero().tolist() == [[int((20.2 + 54) / 0.6), int((-10.1 + 54) / 0.6)]]
    assert mask.sum() == 1


def test_overlapping_boxes_take_the_maximum():
    two = torch.cat([box(0.1, 0.1, 4.6, 1.9), box(0.7, 0.1, 4.6, 1.9)])
    assert gaussian_mask([two], CARD).max() == 1
    assert gaussian_mask([two], CARD).sum() < 2 * gaussian_mask([two[:1]], CARD).sum()


@pytest.mark.parametrize("grid", [CARD, WIDE])
def test_mask_and_radius_agree_with_the_slow_twin(grid):
    samples = [random_boxes(40, grid, seed=1), torch.zeros(0, 7), random_boxes(3, grid, seed=2)]
    masks = gaussian_mask(samples, grid)
    assert masks.shape == (3, *grid.shape)
    for mask, sample in zip(masks, samples):
        np.testing.assert_allclose(mask.numpy(), slow_mask(sample, grid), atol=1e-6)
    sizes = samples[0][:, 3:5] / grid.cell
    assert gaussian_radius(sizes).tolist() == [slow_radius(*size) for size in sizes.tolist()]


def test_mask_is_cut_at_the_border_and_skips_centres_outside():
    corner, outside = box(-5.9, -3.9, 4.6, 1.9), box(12.3, 0.0, 4.6, 1.9)
    mask = gaussian_mask([torch.cat([corner, outside])], WIDE)[0]
    np.testing.assert_allclose(mask.numpy(), slow_mask(corner, WIDE), atol=1e-6)


def test_samples_of_a_ragged_batch_agree_with_one_map_at_a_time():
    mine, theirs = torch.randn(3, 5, *WIDE.shape), torch.randn(3, 2, *WIDE.shape)
    samples = [random_boxes(4, WIDE, 3), torch.zeros(0, 7), random_boxes(7, WIDE, 4)]
    for feature, found in zip((mine, theirs), sample_boxes(mine, theirs, samples, WIDE)):
        expected = torch.cat([sample_bev(f, nine_keypoints(b), WIDE) for f, b in zip(feature, samples)])
        torch.testing.assert_close(found, expected)


def test_half_precision_maps_are_sampled_at_exact_positions():
    feature = torch.randn(1, 4, *CARD.shape).bfloat16()
    cars = [random_boxes(5, CARD)]
    expected = sample_boxes(feature.float(), feature.float(), cars, CARD)
    torch.testing.assert_close(sample_boxes(feature, feature, cars, CARD), expected)


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
    assert check_boxes(pair, grid) == box_poison(pair, grid) == 0
    column, value = change
    pair[1][1, column] = value
    with pytest.raises(DataError, match=found):
        check_boxes(pair, grid)
    assert box_poison(pair, grid).isnan()


def test_boxes_on_a_device_are_not_looked_at(boxes, grid):
    poison = check_boxes([box.to("meta") for box in boxes], grid)
    assert (poison.device.type, poison.shape) == ("meta", ())
    assert check_boxes([torch.zeros(0, 9, device="meta")], grid) == 0


@pytest.mark.parametrize(
    ("x", "y", "near"),
    [(-6.4, 0, True), (-6.6, 0, False), (12.4, 0, True), (12.6, 0, False),
     (0, -4.4, True), (0, -4.6, False), (0, 4.4, True), (0, 4.6, False)],
)  # fmt: skip
def test_a_centre_may_lie_a_cell_outside_the_grid(x, y, near):
    assert box_poison([box(x, y, 2.0, 1.0)], WIDE).isnan() == (not near)


def test_half_of_the_boxes_outside_is_no_other_frame():
    pair = torch.cat([box(0.0, 0.0, 2.0, 1.0), box(90.0, 0.0, 2.0, 1.0)])
    assert box_poison([pair], WIDE) == 0
    assert box_poison([pair, pair[1:]], WIDE).isnan()


def test_yaw_in_degrees_is_refused_on_both_sides():
    for yaw in (90.0, -90.0):
        assert box_poison([box(0.0, 0.0, 2.0, 1.0, yaw)], WIDE).isnan()


def test_no_gradient_reaches_what_hands_out_a_teacher_s_samples():
    known = torch.ones(2, 9, 3, requires_grad=True)

    class Source:
        shape, ndim = (1, 3, *WIDE.shape), 4

        def __len__(self):
            return 1

        def at_keypoints(self, boxes):
            return known

    _, theirs = sample_boxes(torch.ones(1, 3, *WIDE.shape), Source(), [random_boxes(2, WIDE)], WIDE)
    assert torch.equal(theirs, known)
    assert not theirs.requires_grad


def test_a_padding_row_is_refused(boxes, grid):
    padded = torch.cat([boxes[0], torch.zeros(1, 9)])
    with pytest.raises(DataError, match="box 2 of sample 0 has size"):
        check_boxes([padded], grid)


def test_boxes_of_another_frame_and_wrong_shapes_are_refused(boxes, grid):
    far = boxes[0] + torch.tensor([100.0, 0, 0, 0, 0, 0, 0, 0, 0])
    with pytest.raises(DataError, match="2 of 3 box centres lie outside the BEV grid"):
        check_boxes([far, boxes[1]], grid)
    assert box_poison([far, boxes[1]], grid).isnan()
    check_boxes([far[:1], *boxes], grid)  # a straggler is no sign of a wrong frame
    assert box_poison([far[:1], *boxes], grid) == 0
    with pytest.raises(DataError, match=r"boxes of sample 1 have shape \(4, 5\)"):
        check_boxes([boxes[0], torch.ones(4, 5)], grid)
    check_boxes([], grid)

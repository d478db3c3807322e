"""Maps sampled at the points of boxes, and Gaussian masks."""

import numpy as np
import pytest
import torch
from method_scenes import WIDE, random_boxes, slow_mask, slow_radius

from bevkd.distill.bev.foreground import gaussian_mask, sample_boxes
from bevkd.structures import BEVGrid, gaussian_radius, nine_keypoints, sample_bev
from bevkd.structures.targets import Targets

PAPER = BEVGrid((-54, 54), (-54, 54), 0.6)


def box(x, y, dx, dy, yaw=0.0):
    return torch.tensor([[x, y, 0.0, dx, dy, 1.5, yaw]])


def test_radii_of_a_car_a_pedestrian_and_a_bus():
    sizes = torch.tensor([[4.6, 1.9], [0.7, 0.7], [12.0, 2.9]]) / 0.6
    assert gaussian_radius(sizes).tolist() == [1, 0, 2]


def test_mask_of_a_car_sums_to_the_paper_s_number():
    mask = gaussian_mask(Targets([box(1.0, 2.0, 4.6, 1.9)], [], PAPER))[0]
    assert mask.sum().item() == pytest.approx(1 + 4 * 0.1353 + 4 * 0.0183, abs=1e-3)
    row, column = (2.0 + 54) / 0.6, (1.0 + 54) / 0.6
    assert mask[int(row), int(column)] == 1
    assert (mask > 0).sum() == 9


def test_mask_of_a_pedestrian_is_one_cell():
    mask = gaussian_mask(Targets([box(-10.1, 20.2, 0.7, 0.7)], [], PAPER))[0]
    assert mask.nonzero().tolist() == [[int((20.2 + 54) / 0.6), int((-10.1 + 54) / 0.6)]]
    assert mask.sum() == 1


def test_overlapping_boxes_take_the_maximum():
    two = torch.cat([box(0.1, 0.1, 4.6, 1.9), box(0.7, 0.1, 4.6, 1.9)])
    assert gaussian_mask(Targets([two], [], PAPER)).max() == 1
    assert gaussian_mask(Targets([two], [], PAPER)).sum() < 2 * gaussian_mask(Targets([two[:1]], [], PAPER)).sum()


@pytest.mark.parametrize("grid", [PAPER, WIDE])
def test_mask_and_radius_agree_with_the_slow_twin(grid):
    samples = [random_boxes(40, grid, seed=1), torch.zeros(0, 7), random_boxes(3, grid, seed=2)]
    masks = gaussian_mask(Targets(samples, [], grid))
    assert masks.shape == (3, *grid.shape)
    for mask, sample in zip(masks, samples):
        np.testing.assert_allclose(mask.numpy(), slow_mask(sample, grid), atol=1e-6)
    sizes = samples[0][:, 3:5] / grid.cell
    assert gaussian_radius(sizes).tolist() == [slow_radius(*size) for size in sizes.tolist()]


def test_mask_is_cut_at_the_border_and_skips_centres_outside():
    corner, outside = box(-5.9, -3.9, 4.6, 1.9), box(12.3, 0.0, 4.6, 1.9)
    mask = gaussian_mask(Targets([torch.cat([corner, outside])], [], WIDE))[0]
    np.testing.assert_allclose(mask.numpy(), slow_mask(corner, WIDE), atol=1e-6)


def test_samples_of_a_ragged_batch_agree_with_one_map_at_a_time():
    mine, theirs = torch.randn(3, 5, *WIDE.shape), torch.randn(3, 2, *WIDE.shape)
    samples = [random_boxes(4, WIDE, 3), torch.zeros(0, 7), random_boxes(7, WIDE, 4)]
    for feature, found in zip((mine, theirs), sample_boxes(mine, theirs, Targets(samples, [], WIDE))):
        expected = torch.cat([sample_bev(f, nine_keypoints(b), WIDE) for f, b in zip(feature, samples)])
        torch.testing.assert_close(found, expected)


def test_half_precision_maps_are_sampled_at_exact_positions():
    feature = torch.randn(1, 4, *PAPER.shape).bfloat16()
    cars = [random_boxes(5, PAPER)]
    expected = sample_boxes(feature.float(), feature.float(), Targets(cars, [], PAPER))
    torch.testing.assert_close(sample_boxes(feature, feature, Targets(cars, [], PAPER)), expected)


def test_points_are_computed_once_for_all_maps(monkeypatch):
    import bevkd.distill.bev.foreground as foreground

    calls, plain = [], foreground.box_keypoints
    monkeypatch.setattr(foreground, "box_keypoints", lambda *given: (calls.append(1), plain(*given))[1])
    targets = Targets([random_boxes(4, WIDE, 3), random_boxes(2, WIDE, 4)], [], WIDE)
    first = sample_boxes(torch.randn(2, 5, *WIDE.shape), torch.randn(2, 2, *WIDE.shape), targets)
    swapped = sample_boxes(torch.randn(2, 3, *WIDE.shape), torch.randn(2, 2, *WIDE.shape), targets, True)
    assert [len(s) for s in (*first, *swapped)] == [6] * 4
    assert len(calls) == 1
    assert gaussian_mask(targets) is gaussian_mask(targets)
    assert gaussian_mask(targets) is not gaussian_mask(targets, min_radius=2)


def test_no_gradient_reaches_what_hands_out_a_teacher_s_samples():
    known = torch.ones(2, 9, 3, requires_grad=True)

    class Source:
        shape, ndim = (1, 3, *WIDE.shape), 4

        def __len__(self):
            return 1

        def at_keypoints(self, boxes):
            return known

    _, theirs = sample_boxes(torch.ones(1, 3, *WIDE.shape), Source(), Targets([random_boxes(2, WIDE)], [], WIDE))
    assert torch.equal(theirs, known)
    assert not theirs.requires_grad

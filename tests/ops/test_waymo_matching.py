"""Waymo's matching against cases worked by hand, the twin, scipy's assignment and shapely's polygons."""

import math

import numpy as np
import pytest
import torch
from op_checks import assert_opcheck, assert_same_on_any_threads

from bevkd.errors import ConfigError
from bevkd.ops import MatchingPredictions, MatchingTruths, waymo_matching
from bevkd.ops.reference import waymo_matching as twin

THRESHOLDS = (1.0, 0.7, 0.5)
CAR = (0.0, 0.0, 0.0, 10.0, 2.0, 2.0, 0.0)


def moved(by: float, heading: float = 0.0) -> tuple:
    """The car ``by`` metres further along: IoU (10 - by) / (10 + by)."""
    return (by, *CAR[1:6], heading)


def offsets(frames: torch.Tensor, count: int) -> torch.Tensor:
    return torch.searchsorted(frames.contiguous(), torch.arange(count + 1))


def predicted(boxes, frames=None, types=1, scores=0.5, excused=False, groups=1, count=1):
    boxes = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 7)
    rows, frames = len(boxes), torch.zeros(len(boxes)) if frames is None else torch.as_tensor(frames)
    columns = ((types, torch.uint8), (scores, torch.float32), (excused, torch.bool), (groups, torch.int64))
    filled = (torch.as_tensor(value, dtype=dtype).expand(rows).contiguous() for value, dtype in columns)
    return MatchingPredictions(boxes, *filled, offsets(frames, count))


def truths(boxes, frames=None, types=1, difficulties=1, groups=1, counted=None, count=1):
    boxes = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 7)
    rows, frames = len(boxes), torch.zeros(len(boxes)) if frames is None else torch.as_tensor(frames)
    counted = groups if counted is None else counted
    columns = ((types, torch.uint8), (difficulties, torch.uint8), (groups, torch.int64), (counted, torch.int64))
    filled = (torch.as_tensor(value, dtype=dtype).expand(rows).contiguous() for value, dtype in columns)
    return MatchingTruths(boxes, *filled, offsets(frames, count))


def count(p, t, cutoffs=(0.0,), exact=False, groups=1):
    """Counts of group 0 and the first cut-off, and the sum of heading accuracies."""
    found = waymo_matching(p, t, groups, THRESHOLDS, cutoffs, exact)
    return found.counts[0, 0].tolist(), found.heading[0, 0].item()


@pytest.mark.parametrize(
    ("p", "t", "expected"),
    [
        ([CAR], [CAR], [1, 0, 0, 0]),
        ([CAR], [moved(1), moved(1)], [1, 0, 1, 1]),  # 9/11 with both
        ([CAR, CAR], [moved(1)], [1, 1, 0, 0]),
        ([CAR], [moved(2)], [0, 1, 1, 1]),  # 8/12 is below 0.7
        ([CAR], [(0, 0, 0.5, *CAR[3:])], [0, 1, 1, 1]),  # raised by a quarter of its height: 0.6
        ([CAR], [], [0, 1, 0, 0]),
        ([], [CAR], [0, 0, 1, 1]),
        ([], [], [0, 0, 0, 0]),
        # the first one's best is taken by the second one, who has nothing else: 9/11 + 8.5/11.5 beats 9.5/10.5
        ([moved(0.5), moved(-1)], [CAR, moved(2)], [2, 0, 0, 0]),
        ([(0, 0, 0, 0, 2, 2, 0)], [CAR], [0, 1, 1, 1]),  # no length
        ([(0, 0, 0, 0.01, 2, 2, 0)], [(0, 0, 0, 0.01, 2, 2, 0)], [0, 1, 1, 1]),  # 1 cm is nothing
        ([(0, 0, 0, 0.011, 2, 2, 0)], [(0, 0, 0, 0.011, 2, 2, 0)], [1, 0, 0, 0]),
    ],
)
def test_hand_drawn(p, t, expected):
    assert count(predicted(p), truths(t))[0] == expected


def test_types_levels_and_no_label_zones():
    assert count(predicted([CAR], types=2), truths([CAR]))[0] == [0, 1, 1, 1]
    assert count(predicted([CAR], types=2), truths([moved(3)], types=2))[0] == [1, 0, 0, 0]  # 7/13, over 0.5
    assert count(predicted([]), truths([CAR, moved(20)], difficulties=torch.tensor([1, 2])))[0] == [0, 0, 1, 2]
    assert count(predicted([CAR]), truths([CAR], difficulties=2))[0] == [1, 0, 0, 0]  # a hit on either level
    assert count(predicted([moved(9)], excused=True), truths([CAR]))[0] == [0, 0, 1, 1]
    assert count(predicted([CAR], excused=True), truths([CAR]))[0] == [1, 0, 0, 0]


def test_a_cutoff_admits_its_own_score():
    p = predicted([CAR, moved(30)], scores=torch.tensor([0.3, 0.6]))
    found = waymo_matching(p, truths([CAR]), 1, THRESHOLDS, [0.0, 0.3, 0.31, 0.6, 0.61]).counts[0]
    assert found[:, 0].tolist() == [1, 1, 0, 0, 0]
    assert found[:, 1].tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("first", "second", "accuracy"),
    [(0.1, 0, 1 - 0.1 / math.pi), (math.pi - 0.1, 0.1 - math.pi, 1 - 0.2 / math.pi), (2 * math.pi, 0, 1), (-7, -7, 1)],
)
def test_heading_accuracy(first, second, accuracy):
    square = (1.0, 2.0, 0.0, 2.0, 2.0, 2.0)
    p, t = predicted([(*square, first)], types=2), truths([(*square, second)], types=2)
    counts, found = count(p, t, exact=True)
    assert counts == [1, 0, 0, 0]
    assert found == pytest.approx(accuracy, abs=1e-6)
    assert twin.heading_accuracy(first, second) == pytest.approx(accuracy, abs=1e-6)


def test_a_box_turned_by_pi_may_have_no_official_overlap():
    """The outlines meet in points whose rounding never closes a polygon; it depends on where the box lies."""
    box = (7.0, 0.0, 0.0, 4.0, 2.0, 2.0)
    p, t = predicted([(*box, 0.75 + math.pi)]), truths([(*box, 0.75)])
    assert count(p, t) == ([0, 1, 1, 1], 0)
    assert count(p, t, exact=True) == ([1, 0, 0, 0], pytest.approx(0, abs=1e-6))
    assert count(predicted([(*box, 0.75 + math.pi - 1e-3)]), t)[0] == [1, 0, 0, 0]
    assert count(predicted([moved(0, math.pi)]), truths([CAR]))[0] == [1, 0, 0, 0]


def test_of_equals_the_first_prediction_matches():
    turned, straight = moved(0, math.pi), moved(0)
    assert count(predicted([turned, straight]), truths([CAR]), exact=True)[1] == pytest.approx(0, abs=1e-6)
    assert count(predicted([straight, turned]), truths([CAR]), exact=True)[1] == pytest.approx(1)


def test_groups_match_on_their_own():
    p = predicted([CAR, moved(30)], groups=torch.tensor([0b01, 0b11]))
    t = truths([CAR, moved(30)], groups=torch.tensor([0b10, 0b11]))
    found = waymo_matching(p, t, 2, THRESHOLDS, [0.0]).counts[:, 0]
    assert found.tolist() == [[1, 1, 0, 0], [1, 0, 1, 1]]


def test_an_uncounted_truth_excuses_what_lies_on_it():
    near, far = moved(3), moved(30)  # 7/13: too little to match
    t = truths([CAR], counted=0)
    assert count(predicted([CAR, near, far]), t)[0] == [0, 1, 0, 0]
    assert count(predicted([near, far]), truths([CAR]))[0] == [0, 2, 1, 1]


def random_scenes(seed: int, frames: int, spread: float):
    """Frames of overlapping boxes, some moved by whole turns or on top of each other, with equal scores."""
    rng = np.random.default_rng(seed)
    sides = [[], []]
    for frame in range(frames):
        n, m = rng.integers(0, 9, 2)
        t = rng.uniform((-spread, -spread, -1, 1, 1, 1, -4), (spread, spread, 1, 5, 5, 5, 4), (n, 7))
        types = rng.integers(1, 3, n)
        source = rng.integers(0, n, m) if n else np.empty(0, int)
        p, p_types = t[source], types[source]
        p += rng.normal(0, (0.2, 0.2, 0.1, 0.2, 0.2, 0.2, 0.1), p.shape) * (rng.random((len(p), 1)) < 0.7)
        p[:, 6] += rng.choice([0, 0, math.pi, -math.pi, math.pi / 2], len(p))
        sides[0] += [(frame, *box, kind, rng.integers(0, 5) / 4, rng.random() < 0.1) for box, kind in zip(p, p_types)]
        sides[1] += [(frame, *box, kind, rng.integers(1, 3)) for box, kind in zip(t, types)]
    p, t = (torch.tensor(np.array(side, dtype=np.float64)) for side in sides)
    masks = torch.tensor([0, 0b011, 0b101])
    counted = masks[t[:, 8].long()] & torch.randint(0, 8, (len(t),), generator=torch.manual_seed(seed))
    return (
        predicted(p[:, 1:8].tolist(), p[:, 0], p[:, 8], p[:, 9], p[:, 10] > 0, masks[p[:, 8].long()], frames),
        truths(t[:, 1:8].tolist(), t[:, 0], t[:, 8], t[:, 9], masks[t[:, 8].long()], counted, frames),
    )


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("spread", "seed"), [(2, 0), (4, 1), (20, 2)])
def test_random_scenes_against_the_twin(exact, spread, seed):
    p, t = random_scenes(seed, 12, spread)
    cutoffs = (0.0, 0.25, 0.5, 0.9, 1.0)
    found = waymo_matching(p, t, 3, THRESHOLDS, cutoffs, exact)
    counts, heading, _ = twin.waymo_matching(p, t, 3, THRESHOLDS, cutoffs, exact)
    assert found.counts[..., 0].sum() > 20
    assert torch.equal(found.counts, counts)
    assert torch.equal(found.heading, heading)
    assert torch.equal(found.affinity, found.counts[..., 0].float())  # 1 each without a tolerance


def test_the_twin_assigns_as_much_as_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 5, 8):
        for _ in range(20):
            weight = rng.integers(0, 6, (size, size)) * (rng.random((size, size)) < 0.6)
            columns = twin.assign(weight.tolist())
            assert sorted(columns) == list(range(size))
            rows, best = optimize.linear_sum_assignment(weight, maximize=True)
            assert weight[range(size), columns].sum() == weight[rows, best].sum()


def test_chased_overlap_of_boxes_in_general_position_is_exact():
    shapely = pytest.importorskip("shapely")
    rng = np.random.default_rng(1)
    low, high = (-2, -2, 0, 0.5, 0.5, 1, -4), (2, 2, 0, 5, 3, 1, 4)
    overlapping = 0
    for a, b in zip(*rng.uniform(low, high, (2, 300, 7)).tolist()):
        expected = shapely.Polygon(twin.corners(a)).intersection(shapely.Polygon(twin.corners(b))).area
        assert twin.chased_overlap(twin.corners(a), twin.corners(b)) == pytest.approx(expected, abs=1e-9)
        overlapping += expected > 0
    assert overlapping > 150


def test_every_thread_count_gives_the_same():
    p, t = random_scenes(3, 600, 6)

    def run():
        found = waymo_matching(p, t, 3, THRESHOLDS, [i / 10 for i in range(11)])
        return found.counts, found.heading

    assert_same_on_any_threads(run)


def test_frames_of_nothing():
    found = waymo_matching(predicted([], count=0), truths([], count=0), 2, THRESHOLDS, [0.0, 1.0])
    assert found.counts.shape == (2, 2, 4)
    assert not found.counts.any()
    assert not found.heading.any()


def test_opcheck():
    p, t = random_scenes(4, 3, 4)
    assert_opcheck(torch.ops.bevkd.waymo_matching, *p, *t, 3, list(THRESHOLDS), [0.0, 0.5], False, [])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"boxes": torch.zeros(1, 6, dtype=torch.float64)}, r"boxes have shape .*1, 6.*, expected \[N, 7\]"),
        ({"boxes": torch.zeros(1, 7)}, "predictions.boxes is float32, expected float64"),
        ({"types": torch.tensor([3], dtype=torch.uint8)}, "prediction types must be below 3"),
        ({"types": torch.tensor([1])}, "prediction types are Long, expected Byte"),
        ({"scores": torch.zeros(2)}, r"scores have shape \[2\], expected \[1\]"),
        ({"offsets": torch.tensor([0, 2])}, "prediction offsets must rise from 0 to 1"),
        ({"offsets": torch.tensor([0, 1, 1])}, "truths.offsets have shape"),
    ],
)
def test_refusals(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        waymo_matching(predicted([CAR])._replace(**change), truths([CAR]), 1, THRESHOLDS, [0.0])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ((64, THRESHOLDS, [0.0]), "groups are 64, expected 1 to 63"),
        ((1, (0.0, 0.7), [0.0]), "iou_thresholds must lie in"),
        ((1, THRESHOLDS, [0.5, 0.0]), "score_cutoffs must rise"),
    ],
)
def test_settings_are_checked(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        waymo_matching(predicted([CAR]), truths([CAR]), *settings)

"""The longitudinal tolerance of camera-only matching: cases worked by hand, and the twin."""

import math

import numpy as np
import pytest
import torch
from op_checks import assert_opcheck, assert_same_on_any_threads

from bevkd.errors import ConfigError
from bevkd.ops import Longitudinal, MatchingPredictions, MatchingTruths, waymo_matching
from bevkd.ops.reference import waymo_matching as twin

THRESHOLDS = (1.0, 0.5, 0.3)
#: A tenth of the distance from a camera two metres up, at least half a metre.
RULES = Longitudinal((0.0, 0.0, 2.0), 0.1, 0.5)
SIZE = (4.0, 2.0, 1.5, 0.0)


def side(boxes, *columns):
    boxes = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 7)
    filled = [torch.full((len(boxes),), value, dtype=dtype) for value, dtype in columns]
    return boxes, *filled, torch.tensor([0, len(boxes)])


def predicted(*boxes, score=0.5):
    columns = (1, torch.uint8), (score, torch.float32), (False, torch.bool), (1, torch.int64)
    return MatchingPredictions(*side(boxes, *columns))


def truths(*boxes):
    return MatchingTruths(*side(boxes, (1, torch.uint8), (1, torch.uint8), (1, torch.int64), (1, torch.int64)))


def match(p, t, rules=RULES):
    found = waymo_matching(p, t, 1, THRESHOLDS, [0.0], longitudinal=rules)
    return found.counts[0, 0].tolist(), found.affinity[0, 0].item()


def ahead(x: float, y: float = 0.0) -> tuple:
    """A box whose centre is as high as the camera."""
    return (x, y, 2.0, *SIZE)


@pytest.mark.parametrize(
    ("p", "t", "affinity"),
    [
        (42.0, 40.0, 0.5),  # 2 of 4 m
        (38.0, 40.0, 0.5),
        (43.0, 40.0, 0.25),
        (40.0, 40.0, 1.0),
        (3.25, 3.0, 0.5),  # 0.25 of the least 0.5 m
        (44.5, 40.0, None),  # beyond
        (-40.0, 40.0, None),  # moved onto it, but 80 m off
    ],
)
def test_straight_ahead(p, t, affinity):
    hit = [1, 0, 0, 0] if affinity is not None else [0, 1, 1, 1]
    assert match(predicted(ahead(p)), truths(ahead(t))) == (hit, pytest.approx(affinity or 0, abs=1e-6))


def test_without_a_tolerance_the_same_boxes_do_not_meet():
    assert match(predicted(ahead(43.0)), truths(ahead(40.0)), None) == ([0, 1, 1, 1], 0)


def test_the_move_is_along_the_predictions_own_line_of_sight():
    """At 60 degrees the box moves along the ray; beside the ray it keeps its distance from it."""
    ray = np.array([math.cos(math.pi / 3), math.sin(math.pi / 3)])
    t = ahead(*(30 * ray))
    assert match(predicted(ahead(*(31.5 * ray))), truths(t)) == ([1, 0, 0, 0], pytest.approx(0.5, abs=1e-5))
    beside = np.array([-ray[1], ray[0]])
    counts, affinity = match(predicted(ahead(*(30 * ray + 0.3 * beside))), truths(t))
    assert counts == [1, 0, 0, 0]
    assert affinity == pytest.approx(1, abs=1e-6)  # the error across the line is the overlap's
    assert match(predicted(ahead(*(30 * ray + 2.5 * beside))), truths(t))[0] == [0, 1, 1, 1]


def test_the_height_of_the_sensor_counts():
    """Below the camera a box that is too far is also too low; along the ray it rises onto the ground truth."""
    t = (20.0, 0.0, 0.0, *SIZE)
    p = (21.0, 0.0, 2.0 - 2.0 * 1.05, *SIZE)
    counts, affinity = match(predicted(p), truths(t))
    distance = math.hypot(20, 2)
    assert counts == [1, 0, 0, 0]
    assert affinity == pytest.approx(1 - 0.05 * distance / (0.1 * distance), abs=1e-5)


def test_affinity_decides_between_equal_overlaps():
    far, near = ahead(42.0), ahead(40.5)
    counts, affinity = match(predicted(far, near), truths(ahead(40.0)))
    assert counts == [1, 1, 0, 0]
    assert affinity == pytest.approx(1 - 0.5 / 4)


def random_scenes(seed: int, frames: int):
    """Frames of boxes around the sensor, detected with errors along the line of sight, some across it or behind."""
    rng = np.random.default_rng(seed)
    rows = {"p": [], "t": []}
    for frame in range(frames):
        n = rng.integers(0, 9)
        t = rng.uniform((-12, -12, 0, 1, 1, 1, -4), (12, 12, 3, 5, 4, 3, 4), (n, 7))
        p = np.repeat(t, 2, 0)
        factor = 1 + rng.normal(0, 0.06, (2 * n, 1)) * rng.choice([0, 1, 30], (2 * n, 1), p=[0.1, 0.8, 0.1])
        p[:, :3] = RULES.sensor + (p[:, :3] - RULES.sensor) * factor
        p += rng.normal(0, (0.2, 0.2, 0.1, 0.2, 0.2, 0.2, 0.1), p.shape) * (rng.random((2 * n, 1)) < 0.7)
        p[rng.random(2 * n) < 0.05, :3] = RULES.sensor
        types = rng.integers(1, 3, n)
        rows["t"] += [(frame, *box, kind, rng.integers(1, 3)) for box, kind in zip(t, types)]
        rows["p"] += [(frame, *box, kind, rng.integers(0, 5) / 4) for box, kind in zip(p, np.repeat(types, 2))]
    p, t = (torch.tensor(np.array(rows[k])) for k in "pt")
    at = torch.arange(frames + 1)
    p_groups, t_groups = (torch.full((len(x),), 3, dtype=torch.int64) for x in (p, t))
    counted = torch.randint(0, 4, (len(t),), generator=torch.manual_seed(seed))
    excused = torch.zeros(len(p), dtype=torch.bool)
    boxes = [x[:, 1:8].contiguous() for x in (p, t)]
    offsets = [torch.searchsorted(x[:, 0].contiguous(), at) for x in (p, t)]
    return (
        MatchingPredictions(boxes[0], p[:, 8].byte(), p[:, 9].float(), excused, p_groups, offsets[0]),
        MatchingTruths(boxes[1], t[:, 8].byte(), t[:, 9].byte(), t_groups, counted, offsets[1]),
    )


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_scenes_against_the_twin(exact, seed):
    p, t = random_scenes(seed, 12)
    found = waymo_matching(p, t, 2, THRESHOLDS, (0.0, 0.5, 1.0), exact, RULES)
    expected = twin.waymo_matching(p, t, 2, THRESHOLDS, (0.0, 0.5, 1.0), exact, RULES)
    hits = found.counts[..., 0].sum()
    assert hits > 30
    assert 0 < found.affinity.sum() < hits
    for ours, theirs in zip(found, expected):
        assert torch.equal(ours, theirs)


def test_every_thread_count_gives_the_same():
    p, t = random_scenes(3, 600)
    assert_same_on_any_threads(lambda: tuple(waymo_matching(p, t, 2, THRESHOLDS, (0.0, 0.5), longitudinal=RULES)))


def test_opcheck():
    p, t = random_scenes(4, 3)
    numbers = [*RULES.sensor, RULES.share, RULES.least]
    assert_opcheck(torch.ops.bevkd.waymo_matching, *p, *t, 2, list(THRESHOLDS), [0.0, 0.5], False, numbers)


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (RULES._replace(share=-0.1), "longitudinal share is -0.1 and least is 0.5, expected at least 0 and above 0"),
        (RULES._replace(least=0.0), "longitudinal share is 0.1 and least is 0, expected at least 0 and above 0"),
        (RULES._replace(sensor=(0.0, 0.0)), "longitudinal has 4 numbers, expected none or 5"),
    ],
)
def test_refusals(rules, sentence):
    with pytest.raises(ConfigError, match=sentence):
        match(predicted(), truths(), rules)

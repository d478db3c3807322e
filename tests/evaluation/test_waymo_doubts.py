"""Inputs for which Waymo's own tools give tables of zeros, or a tenth of the truth, without a word."""

import dataclasses
import re
import warnings

import numpy as np
import pytest

from bevkd.errors import DataError
from bevkd.evaluation.waymo import evaluate, evaluate_camera_only, load
from bevkd.evaluation.waymo_metrics.doubts import check_predictions, check_sides
from bevkd.evaluation.waymo_metrics.infos import objects_from_infos
from bevkd.evaluation.waymo_metrics.objects import FrameKey, Objects

FRAMES, EACH = 6, 20
KEYS = [FrameKey("segment", 0, 1_550_083_467_346_370 + 100_000 * k) for k in range(FRAMES)]
SIZES = np.array([(4.5, 2.0, 1.7), (0.9, 0.9, 1.8), (1.8, 0.8, 1.7)])


def sides() -> tuple[Objects, Objects]:
    """Predictions a few centimetres off, and ground truth: vehicles, pedestrians and cyclists in all frames."""
    rng = np.random.default_rng(0)
    kinds = np.arange(FRAMES * EACH) % 3
    places = rng.permutation(60)[:EACH]
    middle = np.tile(np.stack([places % 10 * 7.0 + 5, places // 10 * 11.0 - 30, np.full(EACH, 0.9)], 1), (FRAMES, 1))
    boxes = np.c_[middle, SIZES[kinds], rng.uniform(-3, 3, len(kinds))]
    common = {"types": np.array([1, 2, 4])[kinds], "frames": np.repeat(np.arange(FRAMES), EACH), "keys": KEYS}
    found = Objects.from_arrays(
        boxes + rng.normal(0, 0.03, boxes.shape), scores=rng.uniform(0.1, 0.9, len(kinds)), source="found", **common
    )
    return found, Objects.from_arrays(boxes, points=np.full(len(kinds), 9), source="truth", **common)


def with_boxes(objects: Objects, change) -> Objects:
    boxes = objects.boxes.copy()
    change(boxes)
    return dataclasses.replace(objects, boxes=boxes)


def put(column, value):
    return lambda boxes: boxes.__setitem__((slice(None), column), value(boxes) if callable(value) else value)


def some(column, value, count=5):
    return lambda boxes: boxes.__setitem__((slice(count), column), value)


def said(found: Objects, truth: Objects) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scores = evaluate(found, truth)
    assert scores == evaluate_without_a_word(found, truth)
    return [str(warning.message) for warning in caught]


def evaluate_without_a_word(found: Objects, truth: Objects) -> dict[str, float]:
    from bevkd.evaluation.waymo import score

    return score(*load(found, truth, doubt=False)[:2])


def test_ordinary_sides_pass_without_a_word():
    assert said(*sides()) == []


@pytest.mark.parametrize("name", ["length", "width", "height"])
def test_boxes_without_volume_are_refused(name):
    """open-mmlab/OpenPCDet#298"""
    column = {"length": 3, "width": 4, "height": 5}[name]
    found, truth = sides()
    with pytest.raises(DataError, match=f"found: {name} is 0 in all 120 objects, so that none has a volume"):
        evaluate(with_boxes(found, put(column, 0)), truth)
    with pytest.raises(DataError, match=f"truth: {name} is 0 in all 120 objects"):
        evaluate(found, with_boxes(truth, put(column, 0)))
    assert said(with_boxes(found, some(column, 0)), truth) == [
        f"found: {name} is 0 in 5 of 120 objects, which overlap nothing"
    ]


def test_ground_truth_without_points_is_refused():
    """waymo-research/waymo-open-dataset#193 and #286, open-mmlab/OpenPCDet#1559"""
    found, truth = sides()
    bare = dataclasses.replace(truth, points=np.zeros(len(truth), np.int64))
    with pytest.raises(DataError, match=r"truth: none of 120 objects has a LiDAR point.*num_lidar_points_in_box"):
        evaluate(found, bare)
    bare.cameras = np.ones(len(truth), np.uint8)
    with pytest.raises(DataError, match=r"truth: none of 120 objects has a LiDAR point.*num_top_lidar_points_in_box"):
        evaluate_camera_only(found, bare)
    half = dataclasses.replace(truth, points=np.where(truth.frames < 2, 0, 9))
    (sentence,) = said(found, half)
    assert sentence.startswith("truth: in 2 of 6 frames no object has a LiDAR point")


def test_exchanged_sides_are_refused():
    found, truth = sides()
    found.points = np.full(len(found), 9)
    with pytest.raises(DataError, match=r"found: holds scores and truth holds none; .* seem to be exchanged"):
        evaluate(truth, found)
    assert said(found, found) == ["found: score differs from object to object, as in predictions; expected labels"]


def test_predictions_of_a_part_of_the_frames_are_counted():
    """open-mmlab/OpenPCDet#238; those made from infos name frames without any prediction, which is no fault."""
    found, truth = sides()
    part = found.rows(found.frames < 2)
    assert said(part, truth) == []
    (sentence,) = said(dataclasses.replace(part, keys=KEYS[:2]), truth)
    assert sentence.startswith("found: 4 of 6 labelled frames hold no prediction, all objects in them count as missed")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (put(6, lambda b: np.degrees(b[:, 6])), "found: heading is beyond 2 pi in"),
        (put(6, lambda b: b[:, 6] + np.pi), "heading is 3.* rad off"),
        (put(2, lambda b: b[:, 2] - b[:, 5] / 2), "center_z is -0.8. m off; expected the middle"),
        (put([3, 4], lambda b: b[:, [4, 3]]), "length is 0.4. times that of the object"),
        (put(slice(3, 6), lambda b: b[:, 3:6] * 100), "height is 1e[+]02 times that of the object"),
        (put([0, 1], lambda b: b[:, [1, 0]]), "found: only .* of 120 objects looked at have a"),
        (put(1, lambda b: -b[:, 1]), "found: only .* of 120 objects looked at"),
        (some(0, 900.0), "found: 5 of 120 centres are more than 200 m from the vehicle"),
    ],
)  # fmt: skip
def test_boxes_in_other_conventions_are_said(change, sentence):
    found, truth = sides()
    assert any(re.search(sentence, words) for words in said(with_boxes(found, change), truth))


def test_centres_in_the_world_are_refused():
    found, truth = sides()
    with pytest.raises(DataError, match=r"found: all 120 centres are \d+ m or more from the vehicle"):
        evaluate(with_boxes(found, put(0, lambda b: b[:, 0] + 8000)), truth)
    with pytest.raises(DataError, match="truth: all 120 centres"):
        evaluate(found, with_boxes(truth, put(1, lambda b: b[:, 1] - 8000)))


@pytest.mark.parametrize("value", [0, 1])
def test_scores_that_rank_nothing_are_said(value):
    found, truth = sides()
    found.scores[:] = value
    assert said(found, truth) == [f"found: score is {value} in all 120 predictions, so that nothing ranks them"]


def test_predictions_that_cannot_be_wrong_are_said():
    found, truth = sides()
    found.excused[:] = True
    assert said(found, truth) == ["found: overlap_with_nlz is set in all 120 predictions, none can be a false alarm"]


def test_types_of_one_side_only_are_said():
    found, truth = sides()
    found.types[found.types == 4] = 3  # labels counted on from 1: cyclists become signs
    missing, surplus = said(found, truth)
    assert missing == (
        "found: holds no TYPE_CYCLIST (type 4), of which truth has 40; its scores are 0; 40 are TYPE_SIGN (type 3)"
    )
    assert surplus == "truth: holds no TYPE_SIGN (type 3) that counts, of which found predicts 40; its scores are 0"
    truth.types[truth.types == 4] = 3
    found, _ = sides()
    assert said(found.rows(found.types != 4), truth) == []  # hardly anyone detects signs


def test_no_prediction_at_all_is_said():
    found, truth = sides()
    assert said(found.rows(found.scores > 2), truth) == ["found: holds no object, every score is 0"]
    with pytest.warns(UserWarning, match="holds no object"):
        check_predictions(found.rows(found.scores > 2))


def test_a_frame_of_a_camera_and_another_context_are_explained():
    """waymo-research/waymo-open-dataset#491"""
    found, truth = sides()
    found.keys = [key._replace(camera=1) for key in KEYS]
    with pytest.raises(DataError, match=r"with camera_name 1, where the ground truth truth has 0 \(0: unset\)"):
        evaluate(found, truth)
    found.keys = [key._replace(context="segment-1_with_camera_labels") for key in KEYS]
    with pytest.raises(DataError, match="does not hold; expected one of its context_name, such as segment"):
        evaluate(found, truth)


def test_infos_without_boxes_of_cameras_are_refused():
    instance = {"bbox_3d": [9, 0, 0, 4, 2, 2, 0], "bbox_label_3d": 0, "num_lidar_pts": 5, "difficulty": 0}
    frame = {"context_name": "s", "timestamp": KEYS[0].timestamp, "instances": [instance], "cam_sync_instances": []}
    infos = {"metainfo": {"classes": ["Car"]}, "data_list": [frame]}
    with pytest.raises(DataError, match="infos: cam_sync_instances is empty in all frames; convert the data set with"):
        objects_from_infos(infos, camera_only=True)


def test_only_some_frames_are_compared(monkeypatch):
    from bevkd.evaluation.waymo_metrics import doubts

    found, truth = sides()
    taken = []
    original = doubts._some_frames
    monkeypatch.setattr(doubts, "_FRAMES_COMPARED", 3)
    monkeypatch.setattr(doubts, "_some_frames", lambda *args: (taken.append(pair) or pair for pair in original(*args)))
    check_sides(found, truth, "points")
    assert [set(found.frames[rows]) for rows, _ in taken] == [{0}, {2}, {4}]

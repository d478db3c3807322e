"""Scenes of boxes on whose overlap, range or camera two implementations could disagree."""

import numpy as np

from .columns import SENSOR, SIZES, TYPES, Columns, detect, found, kind, street, truth


def _pairs(
    rng: np.random.Generator, pd: np.ndarray, gt: np.ndarray, types: np.ndarray, per_frame: int = 6
) -> tuple[Columns, Columns]:
    """The i-th predicted box belongs to the i-th true one; ``per_frame`` pairs share a frame."""
    frame = np.arange(len(gt)) // per_frame
    return found(rng, pd, types, frame), truth(rng, gt, types, frame, points=np.full(len(gt), 20, np.int32))


def _spread(rng: np.random.Generator, n: int = 30, upright: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """n boxes far enough apart not to touch, and their types; ``upright``: heading 0, whole numbers of 1/8 metre."""
    gt = street(rng, 1, n)
    box = gt["box"].copy()
    box[:, 0], box[:, 1] = 10.0 * (np.arange(n) % 6) - 25.0, 10.0 * (np.arange(n) // 6) - 20.0
    if upright:
        box = np.maximum(np.round(box * 8.0), 4.0 * (np.arange(7) >= 3)) / 8.0
        box[:, 6] = 0.0
    return box.astype(np.float32), gt["type"]


@kind
def wrong_class(rng):
    box, types = _spread(rng)
    pd, gt = _pairs(rng, box, box, types)
    return pd | {"type": (types % 4 + 1).astype(np.uint8)}, gt


@kind
def heading_flipped(rng):
    """Equal boxes but for a heading off by pi, as exactly as float32 can say it."""
    box, types = _spread(rng)
    box[:, 6] = rng.choice([0.0, np.pi / 2, -np.pi / 2, 1.0, -2.5, rng.uniform(-3, 3)], len(box))
    pd = box.copy()
    pd[:, 6] += np.float32(np.pi) * np.where(pd[:, 6] > 0, -1, 1)
    return _pairs(rng, pd, box, types)


@kind
def turned_exactly(rng):
    """So far away that a sine of 1e-7 is lost in the corners: outlines coincide, with their corners in another order.

    The official overlap of some such pairs is nothing, among them the same box turned by pi.
    """
    box, types = _spread(rng, upright=True)
    box[:, 4] = np.where(rng.random(len(box)) < 0.3, box[:, 3], box[:, 4])
    box[:, 3:5] = np.maximum(box[:, 3:5], 1.0)  # the official code aborts where rounding makes an overlap of 1.000001
    box[:, :2] = rng.choice([-1.0, 0.0, 1.0], (len(box), 2)) * 2.0 ** rng.choice([30, 33, 34], (len(box), 2))
    box[:, 6] = rng.choice([0.0, np.pi / 2], len(box))
    pd = box.copy()
    pd[:, 6] += np.float32(np.pi) * rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], len(box)).astype(np.float32)
    return _pairs(rng, pd, box, types, per_frame=1)


@kind
def heading_wrapped(rng):
    """Headings on and far outside [-pi, pi)."""
    box, types = _spread(rng)
    pd = box.copy()
    box[:, 6] = rng.choice([np.pi, -np.pi, 3 * np.pi, 0.0, 100.0, -7.0], len(box))
    pd[:, 6] = box[:, 6] + rng.choice([2 * np.pi, -2 * np.pi, 0.05, -4 * np.pi, np.pi - 0.05], len(box))
    return _pairs(rng, pd, box, types)


@kind
def squares_turned(rng):
    """Square boxes turned by quarters: the same area under another order of corners."""
    box, types = _spread(rng)
    box[:, 4] = box[:, 3]
    pd = box.copy()
    pd[:, 6] += np.float32(np.pi / 2) * rng.integers(-2, 3, len(box)).astype(np.float32)
    return _pairs(rng, pd, box, types)


@kind
def nearly_equal(rng):
    """Differences of a few float32 steps, where polygon clipping is at its weakest."""
    box, types = _spread(rng)
    pd = box.copy()
    for _ in range(2):
        pd = np.nextafter(pd, pd + rng.choice([-1, 0, 0, 1], pd.shape).astype(np.float32))
    return _pairs(rng, pd, box, types)


@kind
def small_turns(rng):
    box, types = _spread(rng)
    pd = box.copy()
    pd[:, 6] += (10.0 ** rng.uniform(-7, -1, len(box)) * rng.choice([-1, 1], len(box))).astype(np.float32)
    return _pairs(rng, pd, box, types)


@kind
def shared_edges(rng):
    """Predictions slid along or grown about their own axes: edges lie on the edges of the ground truth."""
    box, types = _spread(rng, upright=bool(rng.integers(2)))
    pd = box.astype(float)
    along = rng.choice([0.0, 0.25, 0.5, 1.0], len(box)) * box[:, 3]
    pd[:, 0] += along * np.cos(pd[:, 6])
    pd[:, 1] += along * np.sin(pd[:, 6])
    pd[:, 4] *= rng.choice([0.5, 1.0, 1.5], len(box))
    return _pairs(rng, pd, box, types)


@kind
def contained(rng):
    """Concentric boxes: one inside the other, crosses, diamonds in squares with corners on edges."""
    box, types = _spread(rng, upright=True)
    pd = box.copy()
    pd[:, 3:6] *= rng.choice([0.5, 0.875, 1.0, 1.25], (len(box), 3))
    pd[:, 6] += rng.choice([0.0, np.pi / 2, np.pi / 4, -np.pi / 4], len(box))
    return _pairs(rng, pd, box, types)


@kind
def iou_on_threshold(rng):
    """Upright boxes whose overlap is exactly 1/2, or 7/10 up to rounding, or a hair beside."""
    box, types = _spread(rng, upright=True)
    box[:, 3] = np.where(rng.random(len(box)) < 0.5, 3.0, 17.0)
    pd = box.copy()
    # A shift by s of a length l leaves (l - s) / (l + s).
    pd[:, 0] += np.where(box[:, 3] == 3.0, rng.choice([1.0, 1.5], len(box)), 3.0)
    pd[:, 0] += rng.choice([0.0, 0.0, 1e-5, -1e-5], len(box))
    return _pairs(rng, pd, box, types)


@kind
def iou_ties(rng):
    """A prediction halfway between two equal boxes of unequal difficulty and heading, and the reverse."""
    box, types = _spread(rng, 15, upright=True)
    left, right = box.copy(), box.copy()
    left[:, 0] -= 0.125 * box[:, 3]
    right[:, 0] += 0.125 * box[:, 3]
    frame = np.arange(15) // 3
    pair, both = np.concatenate([left, right]), np.concatenate([types, types])
    pair[:, 6] = rng.choice([0.0, np.pi / 2], len(pair)) * (pair[:, 3] == pair[:, 4])
    twice = np.concatenate([frame, frame])
    gt_columns = {"points": np.full(30, 20, np.int32), "top_points": np.full(30, 20, np.int32)}
    gt_columns["difficulty"] = rng.integers(1, 3, 30).astype(np.int8)
    if rng.integers(2):
        return found(rng, box, types, frame), truth(rng, pair, both, twice, **gt_columns)
    gt_columns = {k: v[:15] for k, v in gt_columns.items()}
    return found(rng, pair, both, twice), truth(rng, box, types, frame, **gt_columns)


@kind
def identical(rng):
    """The same box several times on either side."""
    gt = street(rng, 3, 5)
    gt = {k: np.concatenate([v, v, v]) for k, v in gt.items()}
    gt["difficulty"] = rng.integers(1, 3, len(gt["box"])).astype(np.int8)
    picked = rng.integers(0, len(gt["box"]), 40)
    return found(rng, gt["box"][picked], gt["type"][picked], gt["frame"][picked]), gt


@kind
def zero_size(rng):
    """Sizes of zero, below, on and just above the official smallest size of one centimetre."""
    box, types = _spread(rng)
    pd = box.copy()
    small = np.array([0.0, 0.005, 0.01, 0.010001, 0.02], np.float32)
    for side in (pd, box):
        hit = rng.random((len(side), 3)) < 0.25
        side[:, 3:6] = np.where(hit, rng.choice(small, hit.shape), side[:, 3:6])
    same = rng.random(len(box)) < 0.5
    pd[same] = box[same]
    return _pairs(rng, pd, box, types)


@kind
def tall_and_flat(rng):
    """Very tall, very flat and very long boxes; z ranges that overlap a little, touch or miss."""
    box, types = _spread(rng)
    box[:, 3:6] *= rng.choice([0.05, 1.0, 6.0], (len(box), 3))
    pd = box.copy()
    pd[:, 2] += box[:, 5] * rng.choice([0.0, 0.1, 0.5, 1.0, 1.5], len(box)).astype(np.float32)
    return _pairs(rng, pd, box, types)


@kind
def huge_and_far(rng):
    """Detections kilometres away, some as large as the official largest size of 1,000 km."""
    gt = street(rng)
    far = rng.random(len(gt["box"])) < 0.4
    gt["box"][far, :2] *= rng.choice([20.0, 1e3, 1e5], (far.sum(), 1))
    gt = truth(rng, gt["box"], gt["type"], gt["frame"])
    pd = detect(rng, gt)
    large = rng.random(len(pd["box"])) < 0.2
    pd["box"][large, 3:6] = rng.choice([1e3, 999_999.0, 1e6, 2e6], (large.sum(), 3))
    return pd, gt


@kind
def range_borders(rng):
    """Centres on, just inside and just outside 30 m and 50 m; some pairs fall on different sides."""
    n = 36
    types = rng.choice(np.array(TYPES, np.uint8), n)
    legs = np.array([(18, 24, 0), (30, 40, 0), (-24, 18, 0), (0, -50, 0), (10, 20, 20), (0, 30, 0)], float)
    box = np.zeros((n, 7))
    box[:, :3] = legs[np.arange(n) % 6]
    box[:, 3:6] = [SIZES[int(k)] for k in types]
    pd = box.copy()
    for side in (box, pd):
        side[:, :3] *= 1.0 + rng.choice([0.0, 0.0, 1e-7, -1e-7, 2e-3, -2e-3], (n, 1))
    return _pairs(rng, pd, box, types)


@kind
def along_the_ray(rng):
    """Predictions moved along the line of sight by fractions of the tolerance, up to exactly it and beyond."""
    gt = street(rng, 4, 8, reach=70.0)
    gt = truth(rng, gt["box"], gt["type"], gt["frame"], synced_box=gt["box"])
    pd = gt["box"].astype(float)
    offset = pd[:, :3] - SENSOR
    distance = np.linalg.norm(offset, axis=1, keepdims=True)
    tolerance = np.maximum(0.1 * distance, 0.5)
    share = rng.choice([-1.2, -1.0, -0.999, -0.5, 0.0, 0.3, 0.9, 1.0, 1.001], (len(pd), 1))
    pd[:, :3] = SENSOR + offset * (1.0 + share * tolerance / distance)
    return found(rng, pd, gt["type"], gt["frame"]), gt


@kind
def around_the_sensor(rng):
    """Boxes at the camera itself, and predictions on the opposite side of it."""
    gt = street(rng, 5, 8, reach=3.0, types=(1, 2))
    at = rng.random(len(gt["box"])) < 0.3
    gt["box"][at, :3] = SENSOR
    gt = truth(rng, gt["box"], gt["type"], gt["frame"], synced_box=gt["box"])
    pd = gt["box"].astype(float)
    pd[:, :3] = SENSOR + (pd[:, :3] - SENSOR) * rng.choice([-1.0, 0.0, 0.8, 1.0], (len(pd), 1))
    return found(rng, pd, gt["type"], gt["frame"]), gt


@kind
def camera_borders(rng):
    """Azimuths beside the borders of the cameras' fields of view, where two cameras overlap or none looks."""
    n = 40
    types = rng.choice(np.array(TYPES, np.uint8), n)
    degrees = rng.choice([0.0, 25.2, 19.8, 70.2, 64.8, 115.2, 180.0, 45.0, 22.0], n) * rng.choice([-1, 1], n)
    azimuth = np.radians(degrees + rng.choice([-0.01, 0.0, 0.01], n))
    box = np.zeros((n, 7))
    box[:, 0], box[:, 1], box[:, 2] = 25.0 * np.cos(azimuth), 25.0 * np.sin(azimuth), 1.0
    box[:, 0] += 40.0 * (np.arange(n) % 8 == 0)
    box[:, 3:6] = [SIZES[int(k)] for k in types]
    box = box.astype(np.float32)
    frame = np.arange(n) // 4
    gt = truth(rng, box, types, frame, synced_box=box)
    return detect(rng, gt, depth=0.02), gt

"""Scenes in which scores, classes, frames and difficulties are the ordinary and the awkward ones."""

import numpy as np

from .columns import TYPES, UNSET, detect, kind, street, truth


@kind
def ordinary(rng):
    gt = street(rng)
    return detect(rng, gt), gt


@kind
def monocular(rng):
    """Errors along the line of sight, as a camera makes them."""
    gt = street(rng, reach=60.0)
    return detect(rng, gt, depth=0.06), gt


@kind
def many_frames(rng):
    gt = street(rng, frames=40, objects=3)
    return detect(rng, gt), gt


@kind
def crowd(rng):
    """Heavy overlaps: many people within a few metres, every prediction overlaps several of them."""
    gt = street(rng, 2, 20, types=(2, 4), reach=4.0)
    gt["box"][:, :2] += 20.0
    gt = truth(rng, gt["box"], gt["type"], gt["frame"])
    return detect(rng, gt, noise=2.0), gt


@kind
def equal_scores(rng):
    gt = street(rng)
    pd = detect(rng, gt, noise=1.5)
    return pd | {"score": np.full_like(pd["score"], rng.choice([0.3, 0.5, 0.995]))}, gt


@kind
def scores_on_cutoffs(rng):
    gt = street(rng)
    pd = detect(rng, gt)
    steps = rng.integers(0, 101, len(pd["score"]))
    # The nearest float32 of i / 100 and its two neighbours: the cut-off is inclusive.
    score = (steps * 0.01).astype(np.float32)
    score = np.nextafter(score, score + rng.choice([-1, 0, 1], len(score)).astype(np.float32))
    return pd | {"score": np.clip(score, 0.0, 1.0).astype(np.float32)}, gt


@kind
def scores_zero_and_one(rng):
    gt = street(rng)
    pd = detect(rng, gt)
    return pd | {"score": rng.integers(0, 2, len(pd["score"])).astype(np.float32)}, gt


@kind
def empty_frames(rng):
    """Frames with predictions only, with ground truth only, with neither."""
    gt = street(rng, frames=9)
    pd = detect(rng, gt)
    pd = {k: v[pd["frame"] % 3 != 0] for k, v in pd.items()}
    return pd, {k: v[gt["frame"] % 3 != 1] for k, v in gt.items()}


@kind
def no_predictions(rng):
    gt = street(rng, objects=3)
    return {k: v[:0] for k, v in detect(rng, gt).items()}, gt


@kind
def no_ground_truth(rng):
    """Labels of which none counts, for want of points."""
    none = np.zeros(15, np.int32)
    gt = street(rng, objects=3, points=none, top_points=none)
    return detect(rng, gt), gt


@kind
def one_class(rng):
    gt = street(rng, types=(int(rng.choice(TYPES)),))
    return detect(rng, gt), gt


@kind
def no_label_zones(rng):
    gt = street(rng)
    pd = detect(rng, gt)
    return pd | {"nlz": rng.random(len(pd["box"])) < 0.4}, gt


@kind
def few_points(rng):
    """Difficulty unset or unknown, with numbers of points around those that decide it; empty boxes do not count."""
    n = 40
    columns = {k: rng.integers(-1, 8, n).astype(np.int32) for k in ("points", "top_points")}
    gt = street(rng, **columns, difficulty=rng.choice(np.array([UNSET, 0, 1, 2], np.int8), n))
    return detect(rng, gt), gt

"""What a batch of labelled samples tells a method."""

import math
from types import SimpleNamespace

import pytest
import torch

from bevkd.errors import DataError
from bevkd.structures.labels import LabelTargets


def test_from_data_samples():
    samples = [SimpleNamespace(gt_label=2, token="b"), SimpleNamespace(gt_label=torch.tensor(0), weight=0.25)]
    targets = LabelTargets.from_data_samples(samples, classes=3)
    assert targets.labels.dtype == torch.int64
    assert targets.labels.tolist() == [2, 0]
    assert targets.ids == ("b", "1")
    assert targets.weights.tolist() == [1.0, 0.25]
    assert len(targets) == 2
    last = targets[1:]
    assert (last.labels.tolist(), last.ids, last.weights.tolist()) == ([0], ("1",), [0.25])
    assert len(LabelTargets.from_data_samples([], classes=3)) == 0


def test_labels_and_weights_are_checked():
    for given, sentence in (
        ({"labels": [3]}, "sample 0 has label 3, expected 0 to 2"),
        ({"labels": [-1]}, "sample 0 has label -1"),
        ({"labels": [0], "weights": [math.nan]}, "sample 0 has weight nan"),
        ({"labels": [0], "weights": [math.inf]}, "sample 0 has weight inf"),
        ({"labels": [0], "weights": [-0.5], "ids": ["a"]}, "sample a has weight -0.5"),
        ({"labels": [0, 1], "ids": ["a"]}, "2 labels, 1 ids and 2 weights"),
    ):
        with pytest.raises(DataError, match=sentence):
            LabelTargets.of(classes=3, **given)
    with pytest.raises(DataError, match="sample b of the batch has no gt_label"):
        LabelTargets.from_data_samples([SimpleNamespace(gt_label=None, token="b")], classes=3)

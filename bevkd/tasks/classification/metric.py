"""How often a classifier is right: over images, over classes, and for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from bevkd.errors import DataError
from bevkd.registry import METRICS


def classification_scores(labels: Sequence[int], predictions: Sequence[int], names: Sequence[str]) -> dict[str, float]:
    """``accuracy``, ``mean_class_accuracy`` and ``recall/<class>``, from 0 to 1.

    Classes without an image have no recall and do not enter the mean.

    >>> classification_scores([0, 0, 0, 1], [0, 0, 1, 1], ["cat", "dog"])["accuracy"]
    0.75

    Args:
        labels: true class numbers.
        predictions: as many class numbers.
        names: of all classes.

    Raises:
        DataError: no image at all.
    """
    from sklearn.metrics import recall_score  # takes a second to import

    if not len(labels):
        raise DataError("there is no image to score, expected at least one")
    classes = range(len(names))
    recalls = recall_score(labels, predictions, labels=classes, average=None, zero_division=np.nan)
    return {
        "accuracy": float(np.equal(labels, predictions).mean()),
        "mean_class_accuracy": float(np.nanmean(recalls)),
        **{f"recall/{name}": float(recall) for name, recall in zip(names, recalls) if not np.isnan(recall)},
    }


@METRICS.register_module()
class ClassificationMetric(BaseMetric):
    """:func:`classification_scores` of a data set whose ``metainfo`` has ``classes``."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the label and the prediction of each sample."""
        for sample in data_samples:
            if "gt_label" not in sample:
                raise DataError(f"sample {sample.get('token', '')} has no gt_label, expected one to score it")
            self.results.append((int(sample["gt_label"]), int(sample["pred_label"])))

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """The scores of all samples of all processes."""
        labels, predictions = zip(*results) if results else ((), ())
        return classification_scores(labels, predictions, self.dataset_meta["classes"])

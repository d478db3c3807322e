"""What a distillation method may know about samples that have one class each, such as images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bevkd.errors import DataError


@dataclass(frozen=True)
class LabelTargets:
    """The classes of a batch.

    >>> targets = LabelTargets.of([2, 0], classes=3)
    >>> targets.labels.tolist(), targets.ids, targets.weights.tolist(), targets[1:].labels.tolist()
    ([2, 0], ('0', '1'), [1.0, 1.0], [0])

    Attributes:
        labels: [B] int64, class numbers.
        ids: B names, the same for a sample in every epoch and run.
        weights: [B] float32, how much each sample counts in a loss; 0 leaves it out.
    """

    labels: Tensor
    ids: tuple[str, ...]
    weights: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, chosen: slice) -> LabelTargets:
        return LabelTargets(self.labels[chosen], self.ids[chosen], self.weights[chosen])

    @classmethod
    def of(
        cls,
        labels: Sequence[int],
        classes: int,
        ids: Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        device: torch.device | None = None,
    ) -> LabelTargets:
        """Targets from numbers in CPU memory, checked there, so that no GPU is waited for.

        Args:
            labels: B class numbers.
            classes: how many classes there are.
            ids: B names; None numbers the samples.
            weights: B numbers; None makes each 1.
            device: of the tensors.

        Raises:
            DataError: a label outside the classes, a weight that is negative or not finite, or other lengths.
        """
        ids = tuple(map(str, range(len(labels)))) if ids is None else tuple(ids)
        weights = [1.0] * len(labels) if weights is None else list(weights)
        if not len(labels) == len(ids) == len(weights):
            found = f"{len(labels)} labels, {len(ids)} ids and {len(weights)} weights"
            raise DataError(f"the batch has {found}, expected as many of each")
        for name, label, weight in zip(ids, labels, weights):
            if not 0 <= label < classes:
                raise DataError(f"sample {name} has label {label}, expected 0 to {classes - 1}")
            if not 0 <= weight < math.inf:
                raise DataError(f"sample {name} has weight {weight}, expected a finite number from 0 up")
        numbers = torch.tensor(list(labels), dtype=torch.int64), torch.tensor(weights, dtype=torch.float32)
        return cls(numbers[0].to(device), ids, numbers[1].to(device))

    @classmethod
    def from_data_samples(
        cls, data_samples: Sequence[Any], classes: int, device: torch.device | None = None
    ) -> LabelTargets:
        """Read ``gt_label``, the name ``token`` of the meta information and, where there is one, ``weight``.

        Args:
            data_samples: elements with ``gt_label``, best a plain int: a tensor on a GPU would be waited for.
            classes: how many classes there are.
            device: of the result.

        Raises:
            DataError: a sample without ``gt_label``; see :meth:`of`.
        """
        ids = [str(getattr(sample, "token", index)) for index, sample in enumerate(data_samples)]
        for name, sample in zip(ids, data_samples):
            if getattr(sample, "gt_label", None) is None:
                raise DataError(f"sample {name} of the batch has no gt_label, expected the number of its class")
        labels = [int(sample.gt_label) for sample in data_samples]
        weights = [float(getattr(sample, "weight", 1.0)) for sample in data_samples]
        return cls.of(labels, classes, ids, weights, device)

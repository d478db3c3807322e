"""KD: a student learns the softened class probabilities of its teacher.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, NIPS Deep Learning Workshop 2015, arXiv 1503.02531.
The paper came without code. Its equation 1 is the softmax at a temperature T.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bevkd.distill.losses import batch_mean, kept_share, sample_weights, wide
from bevkd.distill.method import Example, Method, Paper, Role
from bevkd.errors import ConfigError
from bevkd.registry import MODELS
from bevkd.structures.labels import LabelTargets


def soft_divergence(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """T² KL(p ‖ q) of the softened probabilities p of the teacher and q of the student, for each sample.

    The factor T² keeps the gradients' size when the temperature changes (section 2 of the paper). At T = 1 a teacher
    with p = (3/4, 1/4) and a student with q = (1/2, 1/2) give 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308.

    >>> soft_divergence(torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log(), temperature=1.0)
    tensor([0.1308])

    Args:
        student: [B, K] logits.
        teacher: [B, K] logits; no gradient reaches them.
        temperature: T, positive.

    Returns:
        [B], never negative but for rounding, and exactly 0 for equal logits.

    Raises:
        ConfigError: other shapes.
    """
    if student.ndim != 2 or student.shape != teacher.shape:
        found = f"{tuple(student.shape)} for the student and {tuple(teacher.shape)} for the teacher"
        raise ConfigError(f"KD's logits are {found}, expected [B, K] with the same classes")
    mine, theirs = ((wide(logits) / temperature).log_softmax(1) for logits in (student, teacher.detach()))
    return temperature**2 * (theirs.exp() * (theirs - mine)).sum(1)


@MODELS.register_module()
class KD(Method):
    """Knowledge distillation on logits (2015).

    Reproduced: the softmax at one temperature for both networks, and the factor T². The gradient is that of the paper's
    cross-entropy with soft targets: its value is higher by T² times the teacher's entropy.

    Different: the paper takes a weighted average of the soft and the hard objective. Here the student's own loss keeps
    its weight 1 and the soft one is added, so that ``weight`` is the ratio of both: an average with 0.9 of the soft one
    is ``weight=9`` at a tenth of the learning rate.

    Ours: each sample has a weight, 1 by default. ``info/kept`` is the share of samples whose weight is not 0.

    Args:
        weight: of the soft objective.
        temperature: T.

    Raises:
        ConfigError: a weight or a temperature that is not positive; in training, logits of other shapes.
    """

    paper = Paper(
        "Distilling the Knowledge in a Neural Network",
        "Hinton, Vinyals, Dean", "NIPS Deep Learning Workshop", 2015, "1503.02531",
    )  # fmt: skip
    family = "classification"
    taps = ("logits",)
    parts: dict[str, Role] = {"soft": "distill"}

    def __init__(self, weight: float = 1.0, temperature: float = 4.0) -> None:
        super().__init__()
        if not weight > 0 or not temperature > 0:
            raise ConfigError(f"KD has weight {weight} and temperature {temperature}, expected positive numbers")
        self.weight, self.temperature = weight, temperature

    @classmethod
    def example(cls) -> Example:
        """Two samples of three classes."""
        student = torch.tensor([[0.5, 0.0, -0.5], [0.0, 1.0, 0.0]], requires_grad=True)
        teacher = torch.tensor([[2.0, -1.0, 0.0], [0.0, -1.0, 3.0]])
        return Example(cls(), {"logits": student}, {"logits": teacher}, LabelTargets.of([0, 2], classes=3))

    def losses(self, student: Mapping[str, Any], teacher: Mapping[str, Any], targets: Any) -> dict[str, Tensor]:
        """The weighted loss ``soft``, and ``info/kept``."""
        values = soft_divergence(student["logits"], teacher["logits"], self.temperature)
        weights = sample_weights(targets, values)
        return {"soft": self.weight * batch_mean(values, weights), "info/kept": kept_share(weights)}

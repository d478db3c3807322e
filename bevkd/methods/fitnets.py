"""FitNets: a hidden layer of the student learns to predict one of the teacher's, through a regressor.

Romero, Ballas, Kahou, Chassang, Gatta, Bengio: FitNets: Hints for Thin Deep Nets, ICLR 2015, arXiv 1412.6550. The
equations are numbered as in the paper; its authors' code was not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bevkd.distill.adapters import channel_pair
from bevkd.distill.losses import batch_mean, kept_share, sample_weights, wide
from bevkd.distill.method import Example, Method, Paper, Role
from bevkd.errors import ConfigError
from bevkd.registry import MODELS
from bevkd.structures.labels import LabelTargets


def hint_error(guided: Tensor, hint: Tensor) -> Tensor:
    """Half the mean squared difference of two features for each sample (equation 3, over the number of elements).

    (1, 3) against the hint (0, 1) gives (1 + 4) / 2 / 2 = 1.25.

    >>> hint_error(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([1.2500])

    Args:
        guided: [B, ...] of the student, behind the regressor.
        hint: the same shape, of the teacher; no gradient reaches it.

    Returns:
        [B].

    Raises:
        ConfigError: other shapes.
    """
    if guided.ndim < 2 or guided.shape != hint.shape:
        found = f"{tuple(guided.shape)} for the student behind the regressor and {tuple(hint.shape)} for the teacher"
        raise ConfigError(
            f"FitNets' features are {found}, expected the same: a kernel k makes a map smaller by k - 1 cells"
        )
    return (wide(guided) - wide(hint.detach())).square().flatten(1).mean(1) / 2


class Regressor(nn.Module):
    """One convolution without padding, then a ReLU as behind the hint: [B, student, Y, X] to [B, teacher, Y', X'].

    A pooled feature [B, student] counts as a map of one cell.

    Args:
        channels: (student, teacher).
        kernel: side k in cells; Y' is Y - k + 1.
        relu: False for a hint that no ReLU precedes.

    Raises:
        ConfigError: other channels than two positive numbers, a kernel below 1; when called, a feature of other shape.
    """

    def __init__(self, channels: Sequence[int], kernel: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.student, teacher = channel_pair(channels, "FitNets channels")
        if not isinstance(kernel, int) or kernel < 1:
            raise ConfigError(f"FitNets' kernel is {kernel!r}, expected a whole number from 1 up")
        self.convolution = nn.Conv2d(self.student, teacher, kernel)
        self.activation = nn.ReLU() if relu else nn.Identity()

    def forward(self, feature: Tensor) -> Tensor:
        """See the class."""
        if feature.ndim not in (2, 4) or feature.shape[1] != self.student:
            raise ConfigError(
                f"FitNets channels begin with {self.student}, but the student's feature is {tuple(feature.shape)}, "
                "expected [B, C, Y, X] or [B, C]"
            )
        if feature.ndim == 2:
            return self.forward(feature[:, :, None, None]).flatten(1)
        kernel = self.convolution.kernel_size[0]
        if min(feature.shape[2:]) < kernel:
            raise ConfigError(f"FitNets' kernel is {kernel}, more than the student's map {tuple(feature.shape)} has")
        regressed: Tensor = self.activation(self.convolution(feature))
        return regressed


@MODELS.register_module()
class FitNets(Method):
    """FitNets' hint (ICLR 2015).

    Reproduced: the convolutional regressor without padding, which ends in the non-linearity of the hint; half the
    squared L2 distance to the hint (equation 3). The paper's two stages, hints first and then KD at a high temperature,
    are two methods of one distiller with ``schedules``: a hint's from 1 to 0, KD's from 0 to 1.

    Different: the squared distance is divided by the number of elements of the hint, so that ``weight`` does not depend
    on the size of the net. In the paper's first stage the student's own loss is off, and only its layers up to the
    guided one train; here the student's own loss is on throughout.

    Ours: each sample has a weight, 1 by default. ``info/kept`` is the share of samples whose weight is not 0.

    Args:
        channels: (student, teacher) of the feature.
        weight: of the hint.
        kernel: side of the regressor's kernel, one more than the cells by which the student's map is larger.
        relu: whether a ReLU precedes the hint.
        tap: name of the feature, of both networks.

    Raises:
        ConfigError: a weight that is not positive; see :class:`Regressor`; in training, features that do not fit.
    """

    paper = Paper(
        "FitNets: Hints for Thin Deep Nets",
        "Romero, Ballas, Kahou, Chassang, Gatta, Bengio", "ICLR", 2015, "1412.6550",
    )  # fmt: skip
    family = "classification"
    parts: dict[str, Role] = {"hint": "distill"}

    def __init__(
        self, channels: Sequence[int], weight: float = 1.0, kernel: int = 1, relu: bool = True, tap: str = "feature"
    ) -> None:
        super().__init__()
        if not weight > 0:
            raise ConfigError(f"FitNets has weight {weight}, expected a positive number")
        self.regressor = Regressor(channels, kernel, relu)
        self.weight, self.tap = weight, tap

    @property
    def taps(self) -> tuple[str, ...]:
        """The one feature."""
        return (self.tap,)

    @classmethod
    def example(cls) -> Example:
        """Two samples; the student's map is two cells larger than the teacher's."""
        student = torch.randn(2, 3, 5, 5, requires_grad=True)
        return Example(
            cls((3, 4), kernel=3), {"feature": student}, {"feature": torch.rand(2, 4, 3, 3)},
            LabelTargets.of([0, 1], classes=2),
        )  # fmt: skip

    def losses(self, student: Mapping[str, Any], teacher: Mapping[str, Any], targets: Any) -> dict[str, Tensor]:
        """The weighted loss ``hint``, and ``info/kept``."""
        values = hint_error(self.regressor(student[self.tap]), teacher[self.tap])
        weights = sample_weights(targets, values)
        return {"hint": self.weight * batch_mean(values, weights), "info/kept": kept_share(weights)}

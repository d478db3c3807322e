"""RDD: a compact LiDAR student imitates a large one where their representations disagree most.

Li, Xu, Lin, Yin, Zhang, Cao: Representation Disparity-aware Distillation for 3D Object Detection, ICCV 2023,
arXiv 2308.10308. No code was published; equations are numbered as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bevkd.distill.adapters import ConvAdapter
from bevkd.distill.bev.example import bev_example
from bevkd.distill.bev.foreground import check_maps
from bevkd.distill.bev.heads import join_head
from bevkd.distill.bev.proposals import Proposals, crop, join_proposals, propose
from bevkd.distill.method import Example, Method, Paper
from bevkd.errors import ConfigError
from bevkd.registry import MODELS
from bevkd.structures.ranks import rank_count, rank_gather, rank_sum
from bevkd.structures.targets import Targets


def normalise_channels(feature: Tensor, temperature: float = 4.0, dim: int = 2) -> Tensor:
    """Softmax across channels at every location (equation 2); [4, 0, 0, 0] at temperature 4 gives 0.4754 and 0.1749."""
    return (feature / temperature).softmax(dim)


def disparity(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over locations of the L2 distance over channels of normalised crops [B, R, C, h, w]: [B, R], at most sqrt 2.

    It does not know which model proposed a region.
    """
    distance: Tensor = torch.linalg.vector_norm(student - teacher, dim=2)
    return distance.mean((2, 3))


@torch.no_grad()
def select_regions(
    distance: Tensor, valid: Tensor, margin: float = 0.1, centre: float | None = None, softness: float = 0.0
) -> Tensor:
    """The masks m of equations 5 and 6, solved in closed form: 1 where distance > centre + margin, 0 elsewhere.

    Args:
        distance: [B, R] of the regions, scaled here by the largest of the batch, which is that of all ranks.
        valid: [B, R] bool; what is not valid gets 0.
        margin: lambda, the price of a region.
        centre: the constant that stands for equal information; None takes the batch's median.
        softness: a region enters gradually over this distance; 0 is the hard rule.

    Returns:
        [B, R] float in [0, 1].
    """
    known = distance.where(valid, torch.nan)
    everyone = rank_gather(known)
    largest = everyone.nan_to_num(nan=0.0).amax().clamp(min=torch.finfo(distance.dtype).tiny)
    scaled = known / largest
    limit = ((everyone / largest).nanmedian() if centre is None else centre) + margin
    chosen = (scaled > limit).to(distance) if not softness else ((scaled - limit) / softness).clamp(0, 1)
    return chosen.where(valid, 0.0).nan_to_num(nan=0.0)


@MODELS.register_module()
class RDD(Method):
    """RDD (ICCV 2023) for centre heads: feature and class imitation in the regions of greatest disparity.

    Reproduced: regions from the proposals of BOTH models; softmax across channels at temperature 4; the masks with
    lambda 0.1; the feature loss after a 1 x 1 convolution, batch norm and ReLU; the class loss, whose regression part
    is left out for centre heads as in the paper; division by the number of regions; both weights 0.2.

    Ours, where the paper is silent: a proposal is one of the 50 hottest peaks above 0.1 of a model's class-agnostic
    heat, with a window of the Gaussian radius of its predicted size, sampled at 7 x 7 points; peaks of both models in
    one cell count once. Taken literally the inner problem chooses nothing, since information is not negative; here
    disparity is the mean distance of the normalised crops, scaled by the batch's largest, and a region enters above
    the batch's median plus lambda. The convolution comes before crop and softmax, and disparity is measured after it.
    Class probabilities are compared at the peak's cell. The batch is that of all ranks, for the number of regions,
    the largest disparity and the median; every rank needs as many samples. Ground truth is not used. Anchor heads are
    not supported.

    ``info/selected`` is the chosen share of the regions: 0 would mean that nothing is distilled.

    Args:
        feature: weight of the feature loss (alpha 1) on the taps ``high``; 0 leaves it out.
        logit: weight of the class loss (alpha 2) on the taps ``head``; 0 leaves it out.
        channels: (student, teacher) of ``high``, for the convolution; None compares the maps as they are.
        temperature: of the softmax across channels.
        margin: lambda.
        centre: see :func:`select_regions`.
        softness: see :func:`select_regions`.
        teacher_regions: most proposals of the teacher in a sample.
        student_regions: most proposals of the student in a sample. Early ones are noise; fewer of them, or a weight
            that ramps up (``schedules`` of the distiller), tame the start.
        threshold: least heat of a proposal.
        bins: side of the crops.

    Raises:
        ConfigError: a negative weight or none positive, temperature or bins that are not positive, a negative margin
            or softness, no region, a threshold outside [0, 1); in training also heads or maps that differ.
    """

    paper = Paper(
        "Representation Disparity-aware Distillation for 3D Object Detection",
        "Li, Xu, Lin, Yin, Zhang, Cao", "ICCV", 2023, "2308.10308",
    )  # fmt: skip
    family = "bev"
    taps = ("high", "head")

    def __init__(
        self,
        feature: float = 0.2,
        logit: float = 0.2,
        channels: Sequence[int] | None = None,
        temperature: float = 4.0,
        margin: float = 0.1,
        centre: float | None = None,
        softness: float = 0.0,
        teacher_regions: int = 50,
        student_regions: int = 50,
        threshold: float = 0.1,
        bins: int = 7,
    ) -> None:
        super().__init__()
        numbers = {"feature": feature, "logit": logit, "margin": margin, "softness": softness}
        numbers |= {"teacher_regions": teacher_regions, "student_regions": student_regions}
        wrong = [f"{name} {value}" for name, value in numbers.items() if not value >= 0]
        if wrong:
            raise ConfigError(f"RDD has {', '.join(wrong)}, expected nothing negative")
        if not feature + logit > 0 or not teacher_regions + student_regions > 0:
            raise ConfigError("RDD's weights or its numbers of regions are all zero, expected one of each positive")
        if not temperature > 0 or bins < 1 or not 0 <= threshold < 1:
            found = f"temperature {temperature}, bins {bins}, threshold {threshold}"
            raise ConfigError(f"RDD has {found}, expected > 0, >= 1 and within [0, 1)")
        if channels is not None and not feature:
            raise ConfigError(
                "RDD has channels and feature weight 0: nothing would train the convolution, drop channels"
            )
        self.weights = {"feature": feature, "logit": logit}
        self.counts = {"teacher": teacher_regions, "student": student_regions}
        self.margin, self.centre, self.softness = margin, centre, softness
        self.temperature, self.threshold, self.bins = temperature, threshold, bins
        self.adapter = ConvAdapter(channels, 1, "RDD channels") if channels is not None else nn.Identity()

    @classmethod
    def example(cls) -> Example:
        """Both losses, with the convolution, and a region at every peak."""
        student, teacher, targets = bev_example(student=4, teacher=6)
        return Example(cls(channels=(8, 12), threshold=0.0), student, teacher, targets)

    def losses(self, student: Mapping[str, Any], teacher: Mapping[str, Any], targets: Targets) -> dict[str, Tensor]:
        """Weighted losses ``feature`` and ``logit``, and ``info/selected``."""
        own, other = self.adapter(student["high"]), teacher["high"].detach()
        check_maps(own, other, targets.grid, targets.boxes, "RDD's ('high')")
        logits = self._logits(student, teacher)
        regions = self._regions(student, teacher, targets)
        crops = [normalise_channels(crop(f, regions.windows, self.bins), self.temperature) for f in (own, other)]
        distance = disparity(*crops)
        chosen = select_regions(distance, regions.valid, self.margin, self.centre, self.softness)
        found = regions.valid.sum()
        count = rank_sum(found).clamp(min=1e-4) / rank_count()
        probabilities = [_at_cells(values, regions.cells).sigmoid() for values in logits]
        gaps = {"feature": distance, "logit": (probabilities[0] - probabilities[1]).abs().sum(2)}
        losses = {name: weight * (chosen * gaps[name]).sum() / count for name, weight in self.weights.items() if weight}
        # NaN logits find no peak; they must show in the loss all the same.
        poison = sum((0 * values.detach().sigmoid()).sum() for values in logits)
        losses = {name: loss + poison for name, loss in losses.items()}
        return {**losses, "info/selected": chosen.sum() / found.clamp(min=1)}

    @staticmethod
    def _logits(student: Mapping[str, Any], teacher: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        own, other = join_head(student["head"], "student"), join_head(teacher["head"], "teacher")
        classes = [[task["heatmap"] for task in head[2]] for head in (own, other)]
        if classes[0] != classes[1]:
            raise ConfigError(f"heads have {classes[0]} (student) and {classes[1]} classes by task, expected the same")
        return own[0], other[0].detach()

    def _regions(self, student: Mapping[str, Any], teacher: Mapping[str, Any], targets: Targets) -> Proposals:
        own, other = (
            propose(taps["head"], targets.grid, self.counts[who], self.threshold, who)
            for who, taps in (("student", student), ("teacher", teacher))
        )
        return join_proposals(other, own)


def _at_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """[B, C, Y, X] at [B, R] flat cells: [B, R, C]."""
    return maps.flatten(2).gather(2, cells[:, None].expand(-1, maps.shape[1], -1)).transpose(1, 2)

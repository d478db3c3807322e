"""UniDistill: three losses on the ground-truth foreground of bird's-eye-view maps.

Zhou, Liu, Hu, Zhou, Ma: UniDistill, A Universal Cross-Modality Knowledge Distillation Framework for 3D Object
Detection in Bird's-Eye View, CVPR 2023, arXiv 2303.15083. Constants follow the authors' code,
megvii-research/CVPR2023-UniDistill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from bevkd.distill.adapters import ConvAdapter
from bevkd.distill.bev.example import bev_example
from bevkd.distill.bev.foreground import check_maps, gaussian_mask, no_loss, sample_boxes
from bevkd.distill.bev.heads import Head, join_head
from bevkd.distill.method import Example, Method, Paper
from bevkd.errors import ConfigError
from bevkd.ops import masked_feature_loss
from bevkd.registry import MODELS
from bevkd.structures import BEVGrid
from bevkd.structures.ranks import rank_count, rank_sum
from bevkd.structures.sources import HeadSource, KeypointSource
from bevkd.structures.targets import Targets

_EPS = 1e-4  # in the divisors, in the cosine's norm, and the margin of the heat clamp
_TEACHER_TEMPERATURE = 2.0  # divides the teacher's heat logits and only those


def feature_loss(
    student: Tensor, teacher: Tensor, boxes: Sequence[Tensor], grid: BEVGrid, legacy_axis_swap: bool = False
) -> Tensor:
    """Mean L1 between the maps that enter the two BEV encoders, at the nine points of every box (equation 3).

    The sum over boxes is divided by their number plus 1e-4, averaged over ranks. A student that is the teacher
    plus 0.5 everywhere gives 0.5 N / (N + 1e-4) for N boxes inside the grid.

    Args:
        student: [B, C, Y, X] over ``grid``.
        teacher: [B, C, Y, X]; never receives a gradient.
        boxes: per sample [M_b, >=7] x, y, z, dx, dy, dz, yaw (metres, radians).
        grid: the grid of both maps.
        legacy_axis_swap: read the mirror cell (x and y exchanged) as the authors' code does.

    Returns:
        Scalar; without a box 0, still connected to the student.

    Raises:
        DataError: unusable boxes, see :meth:`bevkd.structures.targets.Targets.check`.
        ConfigError: maps off the grid or with different channels.
    """
    targets = Targets(list(boxes), [], grid, student.device)
    invalid = targets.check()
    check_maps(student, teacher, grid, boxes, "feature")
    return _feature(student, teacher, targets, legacy_axis_swap, _divisors(targets.count)) + invalid


def relation_loss(
    student: Tensor, teacher: Tensor, boxes: Sequence[Tensor], grid: BEVGrid, legacy_axis_swap: bool = False
) -> Tensor:
    """Mean L1 between the 9 x 9 cosine similarities of the nine points of every box (equations 4 and 5).

    Works on what the BEV encoders return. Blind to a rotation or a positive scale of the channels. Arguments, result
    and errors as for :func:`feature_loss`.
    """
    targets = Targets(list(boxes), [], grid, student.device)
    invalid = targets.check()
    check_maps(student, teacher, grid, boxes, "relation")
    return _relation(student, teacher, targets, legacy_axis_swap, _divisors(targets.count)) + invalid


def response_loss(student_head: Head, teacher_head: Head, boxes: Sequence[Tensor], grid: BEVGrid) -> Tensor:
    """Masked L1 between the head maps: class-agnostic heat plus regression (equations 6 and 7).

    Heat is the largest probability over all classes of all tasks, the teacher's at temperature 2: equal logits do not
    give zero (0.150 at z = 2, 0 at z = 0). Regression is the mean over ALL channels of all tasks. Both are averaged
    with the Gaussian mask of the boxes, whose sum is averaged over ranks.

    Args:
        student_head: list over tasks of dicts of RAW maps [B, c, Y, X]: heatmap, reg, height, dim, rot, vel[, iou].
        teacher_head: likewise, with the same tasks, keys and channels; never receives a gradient.
        boxes: per sample [M_b, >=7] (metres, radians).
        grid: the grid of all maps.

    Returns:
        Scalar; without a box 0, still connected to the student.

    Raises:
        DataError: unusable boxes. ConfigError: unequal tasks, keys, channels, or maps off the grid.
    """
    head = join_head(student_head, "student")
    targets = Targets(list(boxes), [], grid, head[0].device)
    invalid = targets.check()
    return _response(head, teacher_head, targets, _divisors(gaussian_mask(targets).sum())) + invalid


def _divisors(counts: Tensor) -> Tensor:
    """Per rank, from its own counts: see :mod:`bevkd.structures.ranks`."""
    return (rank_sum(counts) + _EPS) / rank_count()


def _feature(student: Tensor, teacher: Tensor | KeypointSource, targets: Targets, swap: bool, count: Tensor) -> Tensor:
    if targets.empty:
        return no_loss(student)
    own, other = sample_boxes(student, teacher, targets, swap)
    return (own - other).abs().mean((1, 2)).sum() / count


def _relation(student: Tensor, teacher: Tensor | KeypointSource, targets: Targets, swap: bool, count: Tensor) -> Tensor:
    if targets.empty:
        return no_loss(student)
    own, other = map(_cosines, sample_boxes(student, teacher, targets, swap))
    return (own - other).abs().mean((1, 2)).sum() / count


def _response(
    student: tuple[Tensor, Tensor, list[dict[str, int]]],
    teacher_head: Head | HeadSource,
    targets: Targets,
    weight: Tensor,
) -> Tensor:
    """``student`` is the head of :func:`bevkd.distill.bev.heads.join_head`, ``weight`` the mask's divisor."""
    mask = gaussian_mask(targets)
    if isinstance(teacher_head, HeadSource):
        teacher_head = teacher_head.inside(mask)
    teacher = join_head(teacher_head, "teacher")
    if student[2] != teacher[2]:
        raise ConfigError(f"the student's head has tasks {student[2]}, the teacher's {teacher[2]}, expected the same")
    check_maps(student[0], teacher[0], targets.grid, targets.boxes, "heat")
    check_maps(student[1], teacher[1], targets.grid, targets.boxes, "regression")
    if targets.empty:
        return no_loss(student[0]) + no_loss(student[1])
    heat = masked_feature_loss(_heat(student[0]), _heat(teacher[0].detach() / _TEACHER_TEMPERATURE), mask, power=1)
    regression = masked_feature_loss(student[1], teacher[1], mask, power=1, normaliser=student[1].shape[1])
    return (heat + regression) / weight


def _cosines(points: Tensor) -> Tensor:
    """[N, 9, C] to [N, 9, 9]."""
    unit = points / (torch.linalg.vector_norm(points, dim=2, keepdim=True) + _EPS)
    kind = points.device.type
    autocast = torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
    with autocast:  # which would multiply in half precision
        cosines: Tensor = unit @ unit.transpose(1, 2)
    return cosines


def _heat(logits: Tensor) -> Tensor:
    """[B, classes, Y, X] logits to [B, 1, Y, X] probability of the likeliest class."""
    return logits.amax(1, keepdim=True).sigmoid().clamp(_EPS, 1 - _EPS)


@MODELS.register_module()
class UniDistill(Method):
    """The three losses of UniDistill (CVPR 2023), weighted.

    Reproduced: the nine points, the losses with their constants, the weights 100 / 40 / 10 of the LiDAR-to-camera path.
    The authors' other paths: fusion to camera 10 / 5 / 10, camera to LiDAR 10 / 5 / 1, fusion to LiDAR 10 / 1 / 10.

    Different on purpose: x and y are not exchanged before sampling unless ``legacy_axis_swap`` asks for it (the
    published weights were tuned with the exchange); boxes come as one list per sample, so padding rows cannot count
    as objects; a box centred outside the grid draws no mask; the heat clamp is 1e-4 on every path (the authors take
    1e-3 on fusion to camera).

    Args:
        feature: weight of :func:`feature_loss` on the taps ``low``; 0 leaves it out.
        relation: weight of :func:`relation_loss` on the taps ``high``; 0 leaves it out.
        response: weight of :func:`response_loss` on the taps ``head``; 0 leaves it out.
        legacy_axis_swap: sample the mirror cell in the first two losses.
        adapters: (student channels, teacher channels) by tap, ``low`` or ``high``: one trained 3 x 3 convolution with
            batch norm and ReLU after that student map, for a teacher of other width or, as in the paper, a weaker one.

    Raises:
        ConfigError: a negative weight, all weights zero, or an adapter for another tap.
    """

    paper = Paper(
        "UniDistill: A Universal Cross-Modality Knowledge Distillation Framework for 3D Object Detection in "
        "Bird's-Eye View", "Zhou, Liu, Hu, Zhou, Ma", "CVPR", 2023, "2303.15083",
    )  # fmt: skip
    family = "bev"
    reads_boxes = True
    foreground_only = True

    def __init__(
        self,
        feature: float = 100.0,
        relation: float = 40.0,
        response: float = 10.0,
        legacy_axis_swap: bool = False,
        adapters: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.weights = {"feature": float(feature), "relation": float(relation), "response": float(response)}
        if min(self.weights.values()) < 0 or not any(self.weights.values()):
            raise ConfigError(f"UniDistill weights are {self.weights}, expected none negative and one positive")
        self.legacy_axis_swap = legacy_axis_swap
        wrong = set(adapters or {}) - {"low", "high"}
        if wrong:
            raise ConfigError(f"UniDistill adapters name {sorted(wrong)}, expected 'low' or 'high'")
        self.adapters = nn.ModuleDict(
            {tap: ConvAdapter(pair, field=f"UniDistill adapters[{tap!r}]") for tap, pair in (adapters or {}).items()}
        )

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps that the weighted losses read."""
        taps = {"feature": "low", "relation": "high", "response": "head"}
        return tuple(taps[part] for part in self.parts)

    @classmethod
    def example(cls) -> Example:
        """All three losses, with an adapter for each map."""
        student, teacher, targets = bev_example(student=4, teacher=6)
        return Example(cls(adapters={"low": (4, 6), "high": (8, 12)}), student, teacher, targets)

    def losses(self, student: Mapping[str, Any], teacher: Mapping[str, Any], targets: Targets) -> dict[str, Tensor]:
        """Weighted losses by part."""
        head = join_head(student["head"], "student") if self.weights["response"] else None
        sums = [targets.count, *(() if head is None else (gaussian_mask(targets).sum(),))]
        count, *weight = _divisors(torch.stack(sums))  # one reduction for all parts
        losses = {}
        for part, tap, loss in (("feature", "low", _feature), ("relation", "high", _relation)):
            if self.weights[part]:
                own = self.adapters[tap](student[tap]) if tap in self.adapters else student[tap]
                check_maps(own, teacher[tap], targets.grid, targets.boxes, f"{part} ({tap!r})")
                losses[part] = self.weights[part] * loss(own, teacher[tap], targets, self.legacy_axis_swap, count)
        if head is not None:
            losses["response"] = self.weights["response"] * _response(head, teacher["head"], targets, *weight)
        return losses

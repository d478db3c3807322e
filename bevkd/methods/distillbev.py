"""DistillBEV: several BEV feature levels imitated with weights for region, object size and attention.

Wang, Li, Luo, Xie, Yang: DistillBEV, Boosting Multi-Camera 3D Object Detection with Cross-Modal Knowledge Distillation,
ICCV 2023, arXiv 2309.15109. Written from the formulas; constants follow the scripts that the authors published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bevkd.distill.adapters import PointwiseAdapter
from bevkd.distill.bev.example import bev_example
from bevkd.distill.bev.heads import join_head
from bevkd.distill.bev.regions import Regions, level_grid, split_regions
from bevkd.distill.method import Example, Method, Paper, Role
from bevkd.errors import ConfigError, nearest
from bevkd.ops import masked_feature_losses
from bevkd.registry import MODELS
from bevkd.structures.targets import Targets


def spatial_attention(feature: Tensor, temperature: float = 0.5) -> Tensor:
    """Where a map is active: Y X softmax over cells of mean over channels of |F|, divided by the temperature.

    Args:
        feature: [B, C, Y, X]; half precision is worked on in float32, where the softmax over cells still has digits.

    Returns:
        [B, Y, X], of mean 1 in every sample.
    """
    activity = _mean_size(feature, (1,)) / temperature
    return activity.flatten(1).softmax(1).view_as(activity) * activity[0].numel()


def channel_attention(feature: Tensor, temperature: float = 0.5) -> Tensor:
    """Which channels of a map are active: C softmax over channels of mean over cells of |F|, likewise.

    Returns:
        [B, C], of mean 1 in every sample.
    """
    activity = _mean_size(feature, (2, 3)) / temperature
    return activity.softmax(1) * activity.shape[1]


def region_losses(
    student: Tensor,
    teacher: Tensor,
    regions: Regions,
    attention: Tensor,
    channels: Tensor | None = None,
    parts: Sequence[str] = ("foreground", "background", "false_positive"),
) -> dict[str, Tensor]:
    """Squared differences summed over channels and cells with the regions' weights, divided by the batch size.

    Args:
        student: [B, C, Y, X], adapted to the teacher's shape.
        teacher: [B, C, Y, X]; never receives a gradient.
        regions: weights of :func:`bevkd.distill.bev.regions.split_regions` on the same cells.
        attention: [B, Y, X], detached.
        channels: [B, C] weight of a channel, in the false-positive part alone; None for 1.
        parts: those wanted. Together they keep memory of the size of the map for backward.

    Returns:
        A scalar for each part. Repeating the batch changes none of them.
    """
    weights = [getattr(regions, part) * attention for part in parts]
    by_channel = [channels if part == "false_positive" else None for part in parts]
    losses = masked_feature_losses(student, teacher, weights, 2, len(student), by_channel)
    return dict(zip(parts, losses))


def _mean_size(feature: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Mean of |F| without the copy of the map that ``abs`` would make."""
    count = math.prod(feature.shape[dim] for dim in dims)
    total: Tensor = torch.linalg.vector_norm(feature, 1, dims, dtype=_wide(feature))
    return total / count


def _wide(feature: Tensor) -> torch.dtype:
    return torch.promote_types(feature.dtype, torch.float32)


@dataclass(frozen=True)
class Level:
    """One pair of maps: the student's tap and the teacher's tap of the same name.

    Args:
        channels: (student, teacher), for an adapter on the student's map; None takes the map as it is.
        scale: how much coarser the student's map is; the adapter upsamples by it.
        layers: the adapter's layers, see :class:`bevkd.distill.adapters.PointwiseAdapter`.
        false_positive: weight the teacher's false positives on this level, which must lie on its head's grid.
    """

    channels: Sequence[int] | None = None
    scale: int = 1
    layers: int = 0
    false_positive: bool = False

    def adapter(self, name: str) -> nn.Module:
        """The level's adapter.

        Raises:
            ConfigError: see :class:`bevkd.distill.adapters.PointwiseAdapter`, or a scale without channels.
        """
        if self.channels is None:
            if self.scale != 1 or self.layers:
                raise ConfigError(f"DistillBEV level {name!r} has a scale or layers, expected channels=(...) as well")
            return nn.Identity()
        return PointwiseAdapter(self.channels, self.scale, self.layers, f"DistillBEV level {name!r} channels")


@MODELS.register_module()
class DistillBEV(Method):
    """DistillBEV (ICCV 2023): region-, size- and attention-weighted imitation at several BEV levels.

    Reproduced: foreground (true positives and false negatives together), the teacher's false positives and the rest;
    scaling by box area and by region size; attention of teacher and student; the spatial term, an L1 between channel
    means after a learned 3 x 3 kernel; adapters after the student's maps; weights of the BEVDepth scripts as defaults.
    For temporal students nothing is added: frames are fused before the BEV encoder, and the levels come after it.
    Per-task head weights are taken over from the teacher with the distiller's ``init_from_teacher``.

    Different on purpose: cells are tested at their centres, not at corners half a cell away; upsampling keeps the
    map's outer edges in place (align_corners=False); the weights of background and false positives depend each on its
    own number of cells alone; the learned kernel starts as the identity.

    Args:
        levels: tap name -> :class:`Level` or its arguments.
        foreground: weight of the foreground part.
        background: weight of the background part.
        false_positive: weight of the false-positive part, on levels that ask for it.
        spatial: weight of the spatial term. A weight of 0 leaves its part out.
        temperature: of all attentions.
        threshold: of heat, see :func:`bevkd.distill.bev.regions.split_regions`.
        student_attention: average the teacher's attention with the student's; False takes the teacher's alone.
        channel_attention: weight the channels in the false-positive part, as the published weights were tuned.

    Raises:
        ConfigError: no level, an unknown key of one, negative weights or none positive, a temperature that is not
            positive, a threshold outside (0, 1); in training also maps of other shapes.
    """

    paper = Paper(
        "DistillBEV: Boosting Multi-Camera 3D Object Detection with Cross-Modal Knowledge Distillation",
        "Wang, Li, Luo, Xie, Yang", "ICCV", 2023, "2309.15109",
    )  # fmt: skip
    family = "bev"
    reads_boxes = True

    def __init__(
        self,
        levels: Mapping[str, Level | Mapping[str, Any]],
        foreground: float = 6e-3,
        background: float = 4e-2,
        false_positive: float = 6e-2,
        spatial: float = 2.5e-3,
        temperature: float = 0.5,
        threshold: float = 0.1,
        student_attention: bool = True,
        channel_attention: bool = True,
    ) -> None:
        super().__init__()
        self.levels = {name: _level(name, level) for name, level in (levels or {}).items()}
        self.weights = {"foreground": foreground, "background": background, "false_positive": false_positive}
        if not self.levels:
            raise ConfigError(
                "DistillBEV levels are empty, expected levels=dict(tap=dict(channels=(student, teacher)))"
            )
        everything = [*self.weights.values(), spatial]
        if min(everything) < 0 or not any(everything):
            raise ConfigError(f"DistillBEV weights are {everything}, expected none negative and one positive")
        if not temperature > 0 or not 0 < threshold < 1:
            raise ConfigError(
                f"DistillBEV has temperature {temperature} and threshold {threshold}, expected > 0 and within (0, 1)"
            )
        self.spatial, self.temperature, self.threshold = spatial, temperature, threshold
        self.student_attention, self.channel_attention = student_attention, channel_attention
        self.adapters = nn.ModuleDict({name: level.adapter(name) for name, level in self.levels.items()})
        self.kernels = nn.ModuleDict({name: _identity_kernel() for name in self.levels} if spatial else {})

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps of student and teacher: the levels."""
        return tuple(self.levels)

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """What is needed of the teacher alone: its head, where false positives count."""
        return ("head",) if any(self._counts_false_positives(name) for name in self.levels) else ()

    @property
    def parts(self) -> dict[str, Role]:
        """``<level>.foreground``, ``.background``, ``.false_positive`` and ``.spatial``, if weighted."""
        names = [f"{name}.{part}" for name in self.levels for part in self._region_parts(name)]
        names += [f"{name}.spatial" for name in self.levels if self.spatial]
        return dict.fromkeys(names, "distill")

    @classmethod
    def example(cls) -> Example:
        """Two levels with adapters, one of them with false positives."""
        student, teacher, targets = bev_example(student=4, teacher=6)
        low, high = Level(channels=(4, 6), layers=3), Level(channels=(8, 12), false_positive=True)
        return Example(cls({"low": low, "high": high}), student, teacher, targets)

    def losses(self, student: Mapping[str, Any], teacher: Mapping[str, Any], targets: Targets) -> dict[str, Tensor]:
        """Weighted losses by part."""
        losses = {}
        for name in self.levels:
            own, other = self.adapters[name](student[name]), teacher[name].detach()
            self._check_shapes(name, own, other, targets)
            regions = self._regions(name, teacher, other, targets)
            parts = self._region_parts(name)
            for part, loss in region_losses(own, other, regions, *self._attention(own, other), parts).items():
                losses[f"{name}.{part}"] = self.weights[part] * loss
            if self.spatial:
                losses[f"{name}.spatial"] = self.spatial * self._spatial(name, own, other)
        return losses

    def _region_parts(self, name: str) -> list[str]:
        """The weighted parts of a level that compare maps by region."""
        parts = [part for part, weight in self.weights.items() if weight]
        return [part for part in parts if part != "false_positive" or self._counts_false_positives(name)]

    def _spatial(self, name: str, own: Tensor, other: Tensor) -> Tensor:
        means = [feature.mean(1, keepdim=True, dtype=_wide(feature)) for feature in (own, other)]
        with torch.autocast(own.device.type, enabled=False):
            shaped: Tensor = self.kernels[name](means[0])
            return (shaped - means[1]).abs().sum() / len(own)

    def _counts_false_positives(self, name: str) -> bool:
        return self.levels[name].false_positive and self.weights["false_positive"] > 0

    @torch.no_grad()
    def _attention(self, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor | None]:
        attention = spatial_attention(other, self.temperature)
        if self.student_attention:
            attention = (attention + spatial_attention(own, self.temperature)) / 2
        return attention, channel_attention(other, self.temperature) if self.channel_attention else None

    def _regions(self, name: str, teacher: Mapping[str, Any], other: Tensor, targets: Targets) -> Regions:
        grid = level_grid(targets.grid, other.shape[2:], f"DistillBEV level {name!r}")
        heat = None
        if self._counts_false_positives(name):
            heat = join_head(teacher["head"], "teacher")[0].sigmoid().amax(1)
            if heat.shape[1:] != other.shape[2:]:
                raise ConfigError(
                    f"DistillBEV level {name!r} has maps of {tuple(other.shape[2:])} (Y, X) cells and the teacher's "
                    f"heat {tuple(heat.shape[1:])}, expected the same for false_positive=True"
                )
        return split_regions(targets, heat, self.threshold, grid)

    @staticmethod
    def _check_shapes(name: str, own: Tensor, other: Tensor, targets: Targets) -> None:
        if own.shape != other.shape or own.ndim != 4 or len(own) != len(targets.boxes):
            raise ConfigError(
                f"DistillBEV level {name!r}: the student's map is {tuple(own.shape)} after its adapter, the teacher's "
                f"{tuple(other.shape)}, for {len(targets.boxes)} samples; expected the same [B, C, Y, X], see the "
                "level's channels and scale"
            )


def _level(name: str, level: Level | Mapping[str, Any]) -> Level:
    if isinstance(level, Level):
        return level
    known = list(Level.__dataclass_fields__)
    wrong = [key for key in level if key not in known]
    if wrong:
        raise ConfigError(f"DistillBEV level {name!r} has the unknown key {wrong[0]!r}{nearest(wrong[0], known)}")
    return Level(**level)


def _identity_kernel() -> nn.Conv2d:
    kernel = nn.Conv2d(1, 1, 3, padding=1)
    nn.init.dirac_(kernel.weight)
    if kernel.bias is not None:
        nn.init.zeros_(kernel.bias)
    return kernel

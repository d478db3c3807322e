"""A centre head on a BEVGrid, with labels matched to its tasks by class name."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevkd.detectors.build import build_part
from bevkd.detectors.center_loss import BEVCenterHead
from bevkd.errors import ConfigError, nearest
from bevkd.structures import BEVGrid

# Six groups of similar classes (CenterPoint, Yin et al., CVPR 2021).
NUSCENES_TASKS = (
    ("car",),
    ("truck", "construction_vehicle"),
    ("bus", "trailer"),
    ("barrier",),
    ("motorcycle", "bicycle"),
    ("pedestrian", "traffic_cone"),
)
# Squared metres between two detections of one task, below which circle NMS keeps the better one.
NUSCENES_RADII = (4.0, 12.0, 10.0, 1.0, 0.85, 0.175)
# reg, height, dim, rot, vel: (channels, convolutions)
BRANCHES = {"reg": (2, 2), "height": (1, 2), "dim": (3, 2), "rot": (2, 2), "vel": (2, 2)}
# A detection may lie a little outside the grid, because an offset is regressed to its cell.
MARGIN, HEIGHTS = 10.0, (-10.0, 10.0)


def build_center_head(config: Mapping, grid: BEVGrid, in_channels: int) -> nn.Module:
    """Build a CenterHead whose every metre-to-cell number comes from ``grid``.

    Args:
        config: the head's config; ``type="CenterHead"`` stands for :class:`bevkd.detectors.center_loss.BEVCenterHead`.
            Anything of CenterHead may be set except what the grid says: ``in_channels``, the
            coder's ``pc_range``, ``voxel_size``, ``out_size_factor``, and the same in ``train_cfg`` and ``test_cfg``.
            What is left out takes CenterPoint's nuScenes values; ``tasks`` may be lists of class names.
        grid: the grid of the head's input and output.
        in_channels: channels of the head's input.

    Raises:
        ConfigError: a key that the grid fills in, or an unknown one.
    """
    config = dict(config)
    tasks = [_class_names(task) for task in config.pop("tasks", NUSCENES_TASKS)]
    coder, train, test = _grid_configs(config, grid)
    if test["nms_type"] not in ("circle", "rotate"):
        raise ConfigError(f"head.test_cfg.nms_type is {test['nms_type']!r}, expected 'circle' or 'rotate'")
    if test["nms_type"] == "circle" and len(test["min_radius"]) != len(tasks):
        raise ConfigError(
            f"head.test_cfg.min_radius has {len(test['min_radius'])} numbers, "
            f"expected one for each of the {len(tasks)} tasks"
        )
    defaults = {
        "loss_cls": {"type": "mmdet.GaussianFocalLoss", "reduction": "mean"},
        "loss_bbox": {"type": "mmdet.L1Loss", "reduction": "mean", "loss_weight": 0.25},
    }
    if config.get("type") in ("CenterHead", "mmdet3d.CenterHead", BEVCenterHead.__name__):
        config["type"] = BEVCenterHead.__name__
        defaults["common_heads"] = BRANCHES
        defaults["separate_head"] = {"type": "SeparateHead", "init_bias": -2.19, "final_kernel": 3}
    init_cfg = config.pop("init_cfg", None)  # the head can start from a file, but CenterHead's constructor refuses it
    head = build_part(
        MODELS,
        {**defaults, **config},
        "head",
        in_channels=in_channels,
        tasks=[{"num_class": len(names), "class_names": list(names)} for names in tasks],
        bbox_coder=coder,
        train_cfg=train,
        test_cfg=test,
    )
    head.init_cfg = copy.deepcopy(init_cfg)
    return head


def _grid_configs(config: dict, grid: BEVGrid) -> tuple[dict, dict, dict]:
    """Take ``bbox_coder``, ``train_cfg`` and ``test_cfg`` out of a head's config and fill in what the grid says."""
    (x0, x1), (y0, y1) = grid.x_range, grid.y_range
    rows, columns = grid.shape
    cells = {"voxel_size": [grid.cell, grid.cell], "out_size_factor": 1}
    limits = [x0 - MARGIN, y0 - MARGIN, HEIGHTS[0], x1 + MARGIN, y1 + MARGIN, HEIGHTS[1]]
    coder = _merge(
        config.pop("bbox_coder", {}),
        {
            "type": "CenterPointBBoxCoder",
            "post_center_range": limits,
            "max_num": 300,
            "score_threshold": 0.05,
            "code_size": 9,
        },
        dict(pc_range=[x0, y0], **cells),
        "head.bbox_coder",
    )
    coder["max_num"] = min(coder["max_num"], rows * columns)
    train = _merge(
        config.pop("train_cfg", {}),
        {
            "dense_reg": 1,
            "gaussian_overlap": 0.1,
            "max_objs": 500,
            "min_radius": 2,
            "code_weights": [1.0] * 8 + [0.2, 0.2],
        },
        dict(grid_size=[columns, rows, 1], point_cloud_range=[x0, y0, HEIGHTS[0], x1, y1, HEIGHTS[1]], **cells),
        "head.train_cfg",
    )
    test = _merge(
        config.pop("test_cfg", {}),
        {
            "nms_type": "circle",
            "min_radius": list(NUSCENES_RADII),
            "post_max_size": 83,
            "pre_max_size": 1000,
            "nms_thr": 0.2,
            "score_threshold": coder["score_threshold"],
            "post_center_limit_range": limits,
        },
        dict(pc_range=[x0, y0], **cells),
        "head.test_cfg",
    )
    return coder, train, test


@MODELS.register_module()
class SlimCenterHead(BEVCenterHead):
    """BEVCenterHead whose branches are one convolution each, all of them computed as one.

    Three dozen convolutions of a few channels each take longer on a CPU than everything before them. Parameters, their
    names and results are those of a CenterHead with one convolution per branch.

    Args:
        share_conv_channel: channels of the shared 3x3 convolution, which are the input of every branch.
        final_kernel: kernel size of the branches.
        branches: name -> channels of the regressed maps.
        kwargs: as for CenterHead, without ``common_heads``, ``separate_head`` and ``num_heatmap_convs``.
    """

    def __init__(
        self,
        share_conv_channel: int = 64,
        final_kernel: int = 3,
        branches: Mapping[str, int] | None = None,
        **kwargs: Any,
    ) -> None:
        branches = branches or {name: channels for name, (channels, _) in BRANCHES.items()}
        super().__init__(
            share_conv_channel=share_conv_channel,
            common_heads={name: (channels, 1) for name, channels in branches.items()},
            num_heatmap_convs=1,
            separate_head={
                "type": "SeparateHead",
                "init_bias": -2.19,
                "final_kernel": final_kernel,
                "head_conv": share_conv_channel,
            },
            **kwargs,
        )
        self.padding = final_kernel // 2

    def forward_single(self, x: Tensor) -> list[dict[str, Tensor]]:
        """[B, C, Y, X] to a list over tasks of dicts of raw maps."""
        names = [(task, name) for task, head in enumerate(self.task_heads) for name in head.heads]
        convs = [getattr(self.task_heads[task], name)[-1] for task, name in names]
        weight, bias = torch.cat([c.weight for c in convs]), torch.cat([c.bias for c in convs])
        maps = F.conv2d(self.shared_conv(x), weight, bias, padding=self.padding)
        outputs: list[dict[str, Tensor]] = [{} for _ in self.task_heads]
        for (task, name), part in zip(names, maps.split([c.out_channels for c in convs], 1)):
            # The losses apply a sigmoid in place to heat maps, which must not reach the other maps' memory.
            outputs[task][name] = part.clone() if name == "heatmap" else part
        return outputs


class LabelOrder(nn.Module):
    """Labels of the data set to a head's own numbering and back, by class name.

    CenterHead numbers classes by walking through its tasks, so that a head with tasks (car), (bus, truck) calls a
    truck 2 whatever the data set calls it. The data set keeps its order here; this table stands between the two.

    Worked numbers: classes (car, truck, bus) and those tasks give ``to_head`` [0, 2, 1].

    Args:
        classes: class names in the order of the data set's labels.
        tasks: class names of each task.

    Raises:
        ConfigError: the two do not hold the same names.
    """

    def __init__(self, classes: Sequence[str], tasks: Sequence[Sequence[str]]) -> None:
        super().__init__()
        ordered = [name for names in tasks for name in names]
        for name in classes:
            if name not in ordered:
                hint = nearest(name, ordered)
                raise ConfigError(f"model.classes has {name!r}, expected each class in one of head.tasks{hint}")
        if len(ordered) != len(classes):
            extra = sorted(set(ordered) - set(classes)) or sorted({n for n in ordered if ordered.count(n) > 1})
            raise ConfigError(
                f"head.tasks have {', '.join(extra)} beyond model.classes, expected the same names, each once"
            )
        self.register_buffer("to_head", torch.tensor([ordered.index(n) for n in classes]), persistent=False)
        self.register_buffer("to_data", torch.tensor([list(classes).index(n) for n in ordered]), persistent=False)

    def encode(self, labels: Tensor) -> Tensor:
        """Data-set labels [M] to the head's; -1 (no class) stays -1."""
        return torch.where(labels >= 0, self.to_head[labels.clamp(min=0)], labels)

    def decode(self, labels: Tensor) -> Tensor:
        """The head's labels [M] to the data set's."""
        return self.to_data[labels.long()]


def _class_names(task: Mapping | Sequence[str]) -> tuple[str, ...]:
    return tuple(task["class_names"] if isinstance(task, Mapping) else task)


def _merge(given: Mapping, defaults: dict, filled: dict, field: str) -> dict:
    """Defaults, overridden by what is given, and what the grid says; nobody may give the last."""
    for key in given:
        if key in filled:
            raise ConfigError(f"{field} sets {key}, expected no such key: it comes from model.grid")
        if key not in defaults:
            raise ConfigError(f"{field} has the unknown key {key!r}, expected one of its own{nearest(key, defaults)}")
    return {**defaults, **given, **filled}

"""The losses of mmdet3d's CenterHead, divided by what the whole batch of a data-parallel run holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet3d.models import CenterHead
from mmdet3d.models.utils import clip_sigmoid
from mmdet3d.registry import MODELS
from torch import Tensor

from bevkd.structures.ranks import rank_count, rank_sum

_BOX = ("reg", "height", "dim", "rot", "vel")  # in the order of CenterHead's box targets


@MODELS.register_module()
class BEVCenterHead(CenterHead):
    """CenterHead whose losses are those of the whole batch, however many processes share it.

    CenterHead divides by the objects of its own process, so that several processes minimise another loss than one
    does. Here the numbers of all tasks are summed over ranks in one reduction, for which the host does not wait. On one
    process the losses are CenterHead's. Box maps are read at the objects' cells, not joined and transposed as a whole
    first. Arguments, parameters and predictions are CenterHead's.
    """

    def loss_by_feat(
        self,
        preds_dicts: Sequence[list[dict[str, Tensor]]],
        batch_gt_instances_3d: Sequence[Any],
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """``task<k>.loss_heatmap`` and ``task<k>.loss_bbox``; heat maps become probabilities in place."""
        heats, boxes, cells, masks = self.get_targets(batch_gt_instances_3d)
        counts = torch.stack([torch.stack([h.eq(1).sum(), m.sum()]) for h, m in zip(heats, masks)])
        peaks, objects = rank_sum(counts).unbind(1)
        peaks, objects = peaks.clamp(min=1) / rank_count(), (objects + 1e-4) / rank_count()
        code_weights = boxes[0].new_tensor(self.train_cfg["code_weights"])
        losses = {}
        for task, levels in enumerate(preds_dicts):
            maps, known = levels[0], masks[task][..., None] * ~boxes[task].isnan()
            maps["heatmap"] = clip_sigmoid(maps["heatmap"])
            losses[f"task{task}.loss_heatmap"] = self.loss_cls(maps["heatmap"], heats[task], avg_factor=peaks[task])
            found = torch.cat([_at_cells(maps[name], cells[task]) for name in _BOX], 2)
            wanted = boxes[task].nan_to_num(nan=0.0)
            losses[f"task{task}.loss_bbox"] = self.loss_bbox(
                found, wanted, known * code_weights, avg_factor=objects[task]
            )
        return losses


def _at_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """[B, C, Y, X] at [B, M] flat cells: [B, M, C]."""
    return maps.flatten(2).gather(2, cells[:, None].expand(-1, maps.shape[1], -1)).transpose(1, 2)

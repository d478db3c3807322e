"""Overfit a detector on one frame and count which of its objects it then finds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from bevkd.structures import BEVGrid


@dataclass(frozen=True)
class Found:
    """How many of ``total`` objects were found, and how many boxes were predicted for that in all."""

    found: int
    total: int
    predicted: int
    centre: float
    yaw: float

    def __str__(self) -> str:
        return (
            f"{self.found} of {self.total} objects found ({self.found / self.total:.0%}) with {self.predicted} boxes, "
            f"mean centre error {self.centre:.2f} m, mean yaw error {self.yaw:.1f} deg"
        )


def one_batch(frame, pipeline: list[dict], modality: dict) -> dict:
    """The frame as a batch of one, as a data loader would hand it over."""
    return pseudo_collate([frame.dataset(pipeline, modality=modality)[0]])


def overfit(model: nn.Module, batch: dict, steps: int, lr: float) -> list[float]:
    """Train on one batch with AdamW under one cycle; returns the total loss of each step."""
    model.init_weights()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0, fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.2)
    data = model.data_preprocessor(batch, training=True)
    history = []
    for _ in range(steps):
        total, _ = model.parse_losses(model(**data, mode="loss"))
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 35)
        optimizer.step()
        cycle.step()
        history.append(float(total.detach()))
    return history


@torch.no_grad()
def count_found(
    model: nn.Module, batch: dict, frame, metres: float, degrees: float = math.inf, score: float = 0.3, points: int = 10
) -> Found:
    """Match predictions with the frame's objects that lie on the grid and hold at least ``points`` LiDAR points.

    A prediction counts for one object at most, of its own class; better scores choose first, the nearest object.
    """
    model.eval()
    predicted = model(**model.data_preprocessor(batch), mode="predict")[0].pred_instances_3d
    keep = predicted.scores_3d > score
    order = predicted.scores_3d[keep].argsort(descending=True)
    boxes, labels = predicted.bboxes_3d.tensor[keep][order], predicted.labels_3d[keep][order]
    truth, classes = objects(frame.info, model.grid, points)
    free = torch.ones(len(truth), dtype=torch.bool)
    centres, yaws = [], []
    for box, label in zip(boxes, labels):
        distance = (truth[:, :2] - box[:2]).norm(dim=1)
        turn = torch.rad2deg(torch.remainder(truth[:, 6] - box[6] + math.pi, 2 * math.pi) - math.pi).abs()
        distance[~free | (classes != label) | (turn > degrees)] = math.inf  # yaw counts in full turns, front is front
        if len(truth) and distance.min() <= metres:
            chosen = int(distance.argmin())
            free[chosen] = False
            centres.append(float(distance[chosen]))
            yaws.append(float(turn[chosen]))
    errors = (float(np.mean(values)) if values else math.nan for values in (centres, yaws))
    return Found(len(centres), len(truth), len(boxes), *errors)


def objects(info: dict, grid: BEVGrid, points: int) -> tuple[Tensor, Tensor]:
    """Boxes [M, 7] and labels [M] of an info's objects on the grid that hold at least ``points`` LiDAR points."""
    kept = [i for i in info["instances"] if i["num_lidar_pts"] >= points and i["bbox_label_3d"] >= 0]
    boxes = torch.tensor([i["bbox_3d"] for i in kept], dtype=torch.float32).reshape(-1, 7)
    labels = torch.tensor([i["bbox_label_3d"] for i in kept])
    inside = grid.contains(boxes[:, :2])
    return boxes[inside], labels[inside]

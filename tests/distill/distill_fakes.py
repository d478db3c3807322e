"""Two small detectors that look to the distiller like real ones, and ground truth for them."""

from types import SimpleNamespace

import torch
from torch import nn

from bevkd.structures import BEVGrid

GRID = BEVGrid((-6, 6), (-6, 6), 0.5)
BOXES = torch.tensor([[1.0, 2.0, 0.0, 3.0, 1.5, 1.0, 0.3, 0.0, 0.0], [-3.0, -2.5, 0.0, 2.0, 1.0, 1.0, -2.0, 0.5, 0.0]])


class FakeHead(nn.Module):
    """Two tasks in CenterHead's own wrapping."""

    def __init__(self, channels):
        super().__init__()
        sizes = {"heatmap": 2, "reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
        self.tasks = nn.ModuleList(
            nn.ModuleDict({k: nn.Conv2d(channels, n, 1) for k, n in sizes.items()}) for _ in range(2)
        )

    def forward(self, features):
        return tuple([{key: layer(features[0]) for key, layer in task.items()}] for task in self.tasks)


class FakeDetector(nn.Module):
    default_taps = {"low": "encoder:input", "high": "encoder", "head": "head"}

    def __init__(self, channels=4, grid=GRID):
        super().__init__()
        self.grid = grid
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.encoder = nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.BatchNorm2d(2 * channels))
        self.head = FakeHead(2 * channels)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        maps = self.head([self.encoder(self.stem(inputs["image"]))])
        if mode == "tensor":
            return maps
        for task in maps:
            task[0]["heatmap"].sigmoid_()  # in place, as mmdet3d's loss and decoder do
        if mode == "predict":
            return [task[0]["heatmap"].amax() for task in maps]
        return {"task0.loss_heatmap": maps[0][0]["heatmap"].mean(), "task0.accuracy": maps[0][0]["reg"].mean().detach()}


def sample_of(boxes):
    labels = torch.zeros(len(boxes), dtype=torch.long)
    return SimpleNamespace(gt_instances_3d=SimpleNamespace(bboxes_3d=boxes, labels_3d=labels), metainfo={})

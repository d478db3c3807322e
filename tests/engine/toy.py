"""A model and data set that train in milliseconds, with dropout, batch norm and augmentation: no mmdet3d needed."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset


@DATASETS.register_module()
class ToyData(Dataset):
    """Sample i is a noisy line; the noise comes from all three generators, or there is none.

    ``poison`` makes one sample NaN; ``deadly`` kills the process that loads one.
    """

    METAINFO = {"classes": ("line",)}

    def __init__(
        self, length: int = 12, poison: int | None = None, deadly: int | None = None, noise: bool = True
    ) -> None:
        self.length, self.poison, self.deadly, self.noise = length, poison, deadly, noise
        self.metainfo = dict(self.METAINFO)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        noise = random.random() + np.random.rand() + torch.rand(4)  # noqa: NPY002
        x = torch.full((4,), float(index)) / self.length + 0.1 * noise * self.noise
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == self.poison:
            x = x * float("nan")
        sample = BaseDataElement(metainfo={"token": f"token{index}"}, y=torch.tensor([float(index % 3)]))
        return {"inputs": x, "data_samples": sample}


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self, width: int = 8, dropout: float = 0.5, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, width), torch.nn.BatchNorm1d(width), torch.nn.Dropout(dropout), torch.nn.Linear(width, 1)
        )

    def forward(self, inputs: list, data_samples: list, mode: str = "tensor") -> dict | list:
        y = self.net(torch.stack(list(inputs)))
        if mode == "loss":
            return {"loss": (y - torch.stack([s.y for s in data_samples])).square().mean()}
        return list(y)


@METRICS.register_module()
class ToyMetric(BaseMetric):
    def process(self, data_batch: dict, data_samples: Sequence) -> None:
        self.results += [float(y) for y in data_samples]

    def compute_metrics(self, results: list) -> dict:
        torch.rand(3)  # a metric that moves the generators must not change the training after it
        return {"mean": sum((1 + place / 8) * y for place, y in enumerate(results)) / len(results)}  # order counts


@HOOKS.register_module()
class LossLog(Hook):
    """Appends every step's loss to ``losses.txt``, and ends the process after step ``at``.

    It is ended by the signal ``kill``, or by an error for 0; where torchrun restarts processes, the first time only;
    and on one rank alone where ``rank`` is given.
    """

    priority = "VERY_LOW"

    def __init__(
        self, at: int | None = None, kill: int = signal.SIGKILL, in_val: bool = False, rank: int | None = None
    ) -> None:
        self.at, self.kill, self.in_val, self.rank = at, kill, in_val, rank

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        name = "losses.txt" if runner.rank == 0 else f"losses_{runner.rank}.txt"
        with open(Path(runner.work_dir, name), "a") as file:
            lr = runner.optim_wrapper.get_lr()["lr"][0]
            file.write(f"{runner.iter + 1} {outputs['loss'].item().hex()} {lr:.8f}\n")
        chosen = self.rank in (None, runner.rank) and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if self.at == runner.iter + 1 and not self.in_val and chosen:
            if not self.kill:
                raise RuntimeError("the first failure")
            os.kill(os.getpid(), self.kill)

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.in_val and self.at is not None and self.at <= runner.iter and self.rank in (None, runner.rank):
            os.kill(os.getpid(), self.kill)


@HOOKS.register_module()
class KillOnce(Hook):
    """Kills the process after step ``at``, unless ``marker`` says that it has done so."""

    priority = "VERY_LOW"

    def __init__(self, at: int, marker: str) -> None:
        self.at, self.marker = at, Path(marker)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.at and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def toy_config(work_dir: str | Path, **changes) -> Config:
    """4 epochs of 4 steps with validation every second epoch; ``changes`` replace top-level keys."""
    cfg = {
        "model": {"type": "ToyModel"},
        "work_dir": str(work_dir),
        "train_dataloader": toy_loader(shuffle=True),
        "val_dataloader": toy_loader(shuffle=False),
        "val_evaluator": {"type": "ToyMetric"},
        "test_dataloader": toy_loader(shuffle=False),
        "test_evaluator": {"type": "ToyMetric"},
        "train_cfg": {"by_epoch": True, "max_epochs": 4, "val_interval": 2},
        "val_cfg": {},
        "test_cfg": {},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 0.01}},
        "param_scheduler": [{"type": "CosineAnnealingLR", "T_max": 16, "end": 16, "by_epoch": False}],
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        "custom_hooks": [{"type": "LossLog"}],
        "randomness": {"seed": 3},
        "custom_imports": {"imports": ["tests.engine.toy"]},
        **changes,
    }
    return Config(cfg)


def toy_loader(shuffle: bool, num_workers: int = 0, **dataset) -> dict:
    return {
        "batch_size": 3,
        "num_workers": num_workers,
        "sampler": {"type": "DefaultSampler", "shuffle": shuffle},
        "dataset": {"type": "ToyData", **dataset},
    }


def read_log(work_dir: str | Path, name: str = "losses.txt") -> dict[int, tuple[str, str]]:
    """Step to the last loss and learning rate written for it, the loss as an exact hexadecimal float."""
    lines = Path(work_dir, name).read_text().splitlines()
    return {int(line.split()[0]): tuple(line.split()[1:]) for line in lines}

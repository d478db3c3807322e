"""Samples, teachers and caches for the tests of cached teachers."""

# ruff: noqa: NPY002  (BEVAugment draws from numpy's global generator)

import copy
import hashlib
import math
from types import SimpleNamespace

import numpy as np
import torch
from distill_fakes import GRID, FakeDetector
from mmdet3d.structures import LiDARInstance3DBoxes
from torch import nn

from bevkd.datasets.transforms import BEVAugment
from bevkd.distill import LiveTeacher
from bevkd.distill.cache.key import NAME, CacheKey, grid_dict
from bevkd.distill.cache.records import DTYPES, dense_record, foreground_record, layout_of
from bevkd.distill.cache.shards import encode_shard

CPU = torch.device("cpu")


class Pointwise(FakeDetector):
    """A teacher that treats each cell alone, so that it is exactly equivariant to mirrors and quarter turns."""

    def __init__(self, channels=4, grid=GRID):
        super().__init__(channels, grid)
        self.stem = nn.Conv2d(1, channels, 1)
        self.encoder = nn.Sequential(nn.Conv2d(channels, 2 * channels, 1), nn.Tanh())


class Field(nn.Module):
    """A teacher whose maps are linear in where a cell lay BEFORE augmentation: exactly equivariant to any motion.

    Bilinear samples of a linear map are exact, so those of the moved map equal those of the map as it was.
    """

    default_taps = {"low": "low", "high": "high"}

    def __init__(self, grid=GRID):
        super().__init__()
        self.grid = grid
        self.low, self.high = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 5, 1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        inverses = [np.linalg.inv(s.metainfo.get("bev_matrix", np.eye(4))) for s in data_samples]
        at = self.grid.centres().double()
        before = [torch.einsum("ij,jyx->iyx", torch.from_numpy(i[:2, :2]), at) + torch.from_numpy(i[:2, 3:])[..., None]
                  for i in inverses]  # fmt: skip
        places = torch.stack(before).float()
        return self.low(places), self.high(places)


def samples_of(boxes, prefix="t"):
    return [
        SimpleNamespace(
            gt_instances_3d=SimpleNamespace(
                bboxes_3d=LiDARInstance3DBoxes(box, box_dim=9), labels_3d=torch.zeros(len(box), dtype=torch.long)
            ),
            metainfo={"token": f"{prefix}{index}"},
        )
        for index, box in enumerate(boxes)
    ]


def augmented(samples, mirror_x=False, mirror_y=False, angle=0.0, scale=1.0, shift=0.0):
    """The samples after BEVAugment, all moved alike; ``shift`` is its translation_std."""
    wanted = [mirror_x, mirror_y]
    seed = next(s for s in range(100) if (np.random.RandomState(s).rand(2) < 0.5).tolist() == wanted)
    moved = copy.deepcopy(samples)
    for sample in moved:
        np.random.seed(seed)
        augment = BEVAugment((angle, angle), (scale, scale), shift, flip=0.5)
        results = augment.transform({"gt_bboxes_3d": sample.gt_instances_3d.bboxes_3d})
        sample.metainfo["bev_matrix"] = results["bev_matrix"]
    return moved


def write_cache(folder, model, inputs, samples, mode="foreground", dtype="float32", shards=1, **changes):
    """Run a model over a batch and write its cache, as the tool does."""
    teacher = LiveTeacher(model)
    features = teacher(inputs, samples, CPU)
    key = CacheKey(
        mode=mode, dtype=dtype, teacher="teacher.py", checkpoint="teacher.pth", teacher_sha256="ab" * 32,
        grid=grid_dict(teacher.grid), taps=teacher.taps, layout=layout_of(features), classes=None,
        settings={"model": {"channels": 4}, "data": {}},
        ann_file="infos.pkl", ann_sha256=hashlib.sha256(b"infos").hexdigest(), samples=len(samples),
    )  # fmt: skip
    key = CacheKey(**{**vars(key), **changes})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(key.text())
    records = {}
    for index, sample in enumerate(samples):
        arguments = (features, index, sample.gt_instances_3d.bboxes_3d.tensor, DTYPES[dtype])
        record = dense_record(*arguments) if mode == "dense" else foreground_record(*arguments, teacher.grid)
        records[sample.metainfo["token"]] = record
    for number in range(shards):
        part = dict(list(records.items())[number::shards])
        (folder / f"shard_{number:06d}.safetensors").write_bytes(encode_shard(part, key.digest()))
    return folder


def quarter_turn(image):
    """What a map [B, C, Y, X] becomes when the world turns by pi / 2 counter-clockwise: (x, y) to (-y, x)."""
    return image.transpose(2, 3).flip(3)


QUARTER = math.pi / 2

"""A tiny LiDAR-to-camera distillation through the whole engine: drawn scenes, 50 steps, some seconds.

``python -m tests.engine.curve`` writes the pinned losses anew, after a change that is meant to change them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from torch.utils.data import Dataset

import bevkd.detectors
import bevkd.distill  # noqa: F401
from bevkd.datasets.constants import CLASSES
from bevkd.distill.models import build_model
from bevkd.engine import build_runner
from tests.detectors.detector_scenes import CAMERA, IMAGE, camera_config, detector_config, one_of_each, sample
from tests.engine.toy import read_log

STEPS = 50
PINNED = Path(__file__).with_name("loss_curve.json")


@DATASETS.register_module()
class DrawnScenes(Dataset):
    """Eight scenes of one to eight objects; points and images are noisy, and the noise is the augmentation."""

    metainfo = {"classes": CLASSES}

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        boxes, labels, cloud = one_of_each(index)
        chosen = torch.arange(index + 1)
        points = cloud[: 60 * (index + 1)] + 0.05 * torch.randn(60 * (index + 1), 5)
        base = torch.rand(6, 3, *IMAGE, generator=torch.Generator().manual_seed(index))
        images = 255 * (0.8 * base + 0.2 * torch.rand(6, 3, *IMAGE))
        return {"inputs": {"points": points, "img": images}, "data_samples": sample(boxes[chosen], labels[chosen])}


def curve_config(work_dir: Path, teacher: Path) -> Config:
    norm = {"mean": [127.5] * 3, "std": [60.0] * 3}
    student = camera_config() | {
        "camera_encoder": CAMERA,
        "data_preprocessor": {"type": "Det3DDataPreprocessor", **norm},
    }
    return Config(
        {
            "default_scope": "mmdet3d",
            "model": {
                "type": "Distiller",
                "student": student,
                "teacher": {"type": "LiveTeacher", "config": detector_config(), "checkpoint": str(teacher)},
                "methods": {"unidistill": {"type": "UniDistill"}},
            },
            "work_dir": str(work_dir),
            "train_dataloader": {
                "batch_size": 2,
                "num_workers": 0,
                "sampler": {"type": "DefaultSampler", "shuffle": True},
                "dataset": {"type": "DrawnScenes"},
            },
            "train_cfg": {"by_epoch": False, "max_iters": STEPS, "val_interval": 1000},
            "optim_wrapper": {
                "type": "OptimWrapper",
                "optimizer": {"type": "AdamW", "lr": 2e-3, "weight_decay": 0.01},
                "clip_grad": {"max_norm": 35, "norm_type": 2},
            },
            "param_scheduler": [{"type": "CosineAnnealingLR", "T_max": STEPS, "by_epoch": False}],
            "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1000, "by_epoch": False}},
            "custom_hooks": [{"type": "LossLog"}],
            "log_level": "WARNING",
            "randomness": {"seed": 0},
        }
    )


def write_teacher(path: Path) -> Path:
    torch.manual_seed(7)
    torch.save(build_model(detector_config(), "the teacher").state_dict(), path)
    return path


def loss_curve(folder: Path, work_dir: str) -> list[float]:
    """The 50 losses of one run."""
    teacher = folder / "teacher.pth"
    if not teacher.is_file():
        write_teacher(teacher)
    build_runner(curve_config(folder / work_dir, teacher)).train()
    return [float.fromhex(loss) for loss, _ in read_log(folder / work_dir).values()]


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        curve = loss_curve(Path(scratch), "run")
    PINNED.write_text(
        json.dumps({"torch": torch.__version__.split("+")[0], "losses": [float(f"{loss:.8g}") for loss in curve]})
        + "\n"
    )

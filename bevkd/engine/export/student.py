"""Take the student out of a distillation and write it down alone, in whole files or none."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from mmengine.config import Config
from torch import Tensor, nn

import bevkd
from bevkd.distill.models import build_model, read_model_config, student_of
from bevkd.engine.checkpoint import save_checkpoint, write_bytes, write_text
from bevkd.engine.errors import config_errors
from bevkd.engine.export.graph import Graph
from bevkd.engine.outputs import require_writable
from bevkd.engine.preflight import require_configured_classes
from bevkd.engine.testing import load_fitting
from bevkd.errors import CheckpointError, ConfigError, nearest
from bevkd.structures.checkpoint import load_state_dict
from bevkd.structures.sums import sha256
from bevkd.tasks.classification import ImageClassifier

FORMATS = ("checkpoint", "safetensors", "onnx")
NAME = "student"
# What a config needs to be tested with; the rest of it says how the student was trained.
_KEPT = (
    "default_scope", "custom_imports", "env_cfg", "log_processor", "log_level", "randomness", "visualizer",
    "default_hooks", "launcher", "data_root", "val_dataloader", "val_evaluator", "val_cfg",
    "test_dataloader", "test_evaluator", "test_cfg",
)  # fmt: skip


@dataclass(frozen=True)
class Student:
    """A student without its teacher.

    Attributes:
        config: to test it with, ``model`` being the student's own.
        model: with its weights, on the CPU, in eval mode.
        origin: ``config``, ``sha256`` of the checkpoint that it was taken from, ``bevkd_version``.
    """

    config: Config
    model: nn.Module
    origin: dict[str, str]


def load_student(cfg: Config, checkpoint: str | Path) -> Student:
    """The student of a distiller's config and checkpoint; of a plain model, the model itself.

    Raises:
        ConfigError: a config without a model.
        CheckpointError: an unreadable or altered file, one without a student, or one that does not fit.
    """
    own = Config({key: copy.deepcopy(cfg[key]) for key in _KEPT if key in cfg}, filename=cfg.filename)
    model = read_model_config(cfg.get("model"), f"'model' of {cfg.filename}")
    own.model = copy.deepcopy(student_of(model, f"'model' of {cfg.filename}") or model)
    with config_errors(str(cfg.filename)):
        model = build_model(copy.deepcopy(own.model), "the student")  # building may take keys out of the config
    _require_student(model, checkpoint)
    require_configured_classes(own, model)
    load_fitting(model, checkpoint)
    origin = {"config": str(cfg.filename), "sha256": sha256(checkpoint), "bevkd_version": bevkd.__version__}
    return Student(own, model.eval().requires_grad_(False), origin)


def _require_student(model: nn.Module, checkpoint: str | Path) -> None:
    wanted, found = model.state_dict().keys(), load_state_dict(checkpoint).keys()
    if not any(key.removeprefix(f"{NAME}.") in wanted for key in found):
        raise CheckpointError(
            f"checkpoint {checkpoint} holds no student: none of its {len(found)} keys ({', '.join(sorted(found)[:3])}) "
            f"belongs to a {type(model).__name__}, expected a distiller's checkpoint or the student's own"
        )


def export_student(
    cfg: Config,
    checkpoint: str | Path,
    out: str | Path,
    formats: Sequence[str] = FORMATS[:2],
    cameras: Callable[[], tuple[Any, tuple[int, int]]] | None = None,
    log: Callable[[str], None] = print,
) -> list[Path]:
    """Write the student alone: ``student.py``, its own config, and one file for each format.

    ``student.pth`` and ``student.safetensors`` hold the same weights under the names that the config's model has, and
    fit it strictly. ``student.onnx`` takes one sample to the head's raw maps, see
    :func:`bevkd.engine.export.graphs.make_graph`, or images to logits, see
    :func:`bevkd.engine.export.images.image_graph`. Everything is made, and the ONNX graph compared with torch, before
    the first file is written.

    Args:
        cfg: a distiller's config, or the student's.
        checkpoint: a distiller's, or the student's.
        out: folder, made where it is missing.
        formats: of :data:`FORMATS`.
        cameras: where a camera student's geometry comes from, see :func:`bevkd.engine.export.graphs.make_graph`; None
            takes the first test sample of ``cfg``.
        log: is given one line for each file.

    Returns:
        The files.

    Raises:
        ConfigError: an unknown format, a student without an ONNX form or one that differs from torch (an older
            ``student.onnx`` is removed then), or see :func:`load_student`.
        CheckpointError: see :func:`load_student`; no room on the disk.
    """
    wrong = [name for name in formats if name not in FORMATS]
    if wrong or not formats:
        raise ConfigError(f"the formats are {list(formats)}{nearest((wrong or [''])[0], FORMATS)}")
    require_writable(out, "--out")
    student, out = load_student(cfg, checkpoint), Path(out)
    graph = _onnx(student, out, cameras, log) if "onnx" in formats else None
    state = {key: value.detach().contiguous() for key, value in student.model.state_dict().items()}
    files = [out / f"{NAME}.py"]
    _write(files[0], lambda path: write_text(path, student.config.pretty_text))
    if "checkpoint" in formats:
        files.append(out / f"{NAME}.pth")
        save_checkpoint({"meta": dict(student.origin), "state_dict": state}, files[-1])
    if "safetensors" in formats:
        files.append(out / f"{NAME}.safetensors")
        content = safetensors.torch.save({k: v.clone() for k, v in state.items()}, {"format": "pt", **student.origin})
        _write(files[-1], lambda path: write_bytes(path, content))
    if graph is not None:
        files.append(out / f"{NAME}.onnx")
        _write(files[-1], lambda path: write_bytes(path, graph))
    for file in files:
        log(f"{file} ({file.stat().st_size / 1e6:.3g} MB)")
    return files


def _write(path: Path, write: Callable[[Path], None]) -> None:
    try:
        write(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror}; expected room for it") from error


def _onnx(student: Student, out: Path, cameras: Callable | None, log: Callable[[str], None]) -> bytes:
    from bevkd.engine.export.onnx_file import onnx_bytes, require_packages

    require_packages()
    try:
        graph = _graph(student, cameras)
        content, difference = onnx_bytes(graph, student.origin)
    except ConfigError:
        (out / f"{NAME}.onnx").unlink(missing_ok=True)  # of other weights than what lies beside it
        raise
    log(f"onnx: largest difference to torch {difference:.2g} over {len(graph.outputs)} maps")
    return content


def _graph(student: Student, cameras: Callable | None) -> Graph:
    if isinstance(student.model, ImageClassifier):
        from bevkd.engine.export.images import image_graph

        inputs = first_sample(student.config, "a test image")["inputs"]
        batch = student.model.data_preprocessor({"inputs": [inputs], "data_samples": None})
        return image_graph(student.model, batch["inputs"].shape[1:])
    from bevkd.engine.export.graphs import make_graph  # brings mmdet3d

    return make_graph(student.model, cameras or (lambda: sample_cameras(student.config)))


def first_sample(cfg: Config, expected: str) -> dict[str, Any]:
    """The first sample of a config's test data set.

    Args:
        cfg: the config.
        expected: what the sample is for, for the error sentence.

    Raises:
        ConfigError: no test data set in the config. DataError: see the data set.
    """
    from mmengine.registry import DATASETS, init_default_scope

    dataset = (cfg.get("test_dataloader") or {}).get("dataset")
    if not isinstance(dataset, Mapping):
        raise ConfigError(f"config {cfg.filename} has no test_dataloader.dataset, expected {expected}")
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    with config_errors(str(cfg.filename)):
        return DATASETS.build(copy.deepcopy(dataset))[0]


def sample_cameras(cfg: Config) -> tuple[Tensor, tuple[int, int]]:
    """``lidar2img`` [N, 4, 4] and (height, width) of the network's images, of the first test sample of a config.

    Raises:
        ConfigError: no test data set in the config. DataError: see the data set.
    """
    sample = first_sample(cfg, "--cameras with the geometry")
    matrices = sample["data_samples"].metainfo["lidar2img"]
    return torch.as_tensor(matrices), tuple(sample["inputs"]["img"].shape[-2:])


def file_cameras(path: str | Path) -> tuple[Tensor, tuple[int, int]]:
    """``lidar2img`` and image size from a JSON file ``{"lidar2img": [N, 4, 4], "image_size": [height, width]}``.

    Raises:
        ConfigError: another content.
    """
    try:
        content = json.loads(Path(path).read_text())
        matrices = torch.tensor(content["lidar2img"], dtype=torch.float64)
        height, width = map(int, content["image_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"cameras {path} cannot be used ({type(error).__name__}: {error}), expected JSON with lidar2img [N, 4, 4] "
            "and image_size [height, width]"
        ) from error
    if matrices.ndim != 3 or matrices.shape[1:] != (4, 4):
        raise ConfigError(f"cameras {path} has lidar2img of shape {tuple(matrices.shape)}, expected [N, 4, 4]")
    return matrices, (height, width)

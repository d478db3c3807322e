"""What distillation costs: a training step with each teacher source against the student's own step.

All kinds of step run in turn in one process on the same batches, so that a busy neighbour slows all of them alike.
Loading samples is not part of a step here.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from benchmarks.harness import once, peak_megabytes, threads
from benchmarks.run import machine
from bevkd.distill import Distiller
from bevkd.distill.models import build_model
from bevkd.engine import load_config, register_all
from bevkd.engine.checkpoint import save_checkpoint
from bevkd.engine.data_root import use_data_root
from bevkd.engine.sampling import seeded_loader
from bevkd.engine.teacher_cache import cache_teacher
from bevkd.structures.taps import record_taps
from bevkd.structures.targets import Targets

GOALS = {"live": 1.45, "cached_dense": 1.20, "cached_foreground": 1.10}  # times the student's own step
_STUDENT = "student"
_WARM_UP = 2


@dataclass
class StepCost:
    """Milliseconds of one kind of step, and medians over the student's own of the same turn."""

    wall_ms: float
    cpu_ms: float
    ratio: float
    cpu_ratio: float
    goal: float | None = None


def measure_steps(
    config: str, data_root: str, batches: int = 4, repeats: int = 10, count: int = 2, device: str = "cpu"
) -> dict[str, Any]:
    """Time the steps of the distillation recipe ``config`` and of its student alone.

    The teacher has random weights: how long it takes does not depend on them.

    Args:
        config: a recipe whose teacher is a LiveTeacher. data_root: nuScenes folder with infos.
        batches: how many different ones are used. repeats: turns. count: CPU threads.

    Returns:
        ``machine``, ``steps`` (kind -> :class:`StepCost` as a dict), ``loss_path`` (see :func:`loss_path`).
    """
    register_all()
    init_default_scope("mmdet3d")
    with TemporaryDirectory() as scratch, threads(count):
        cfg = _read(config, data_root, batches)
        sources = _sources(cfg, data_root, batches, Path(scratch))
        models = {kind: _trainable(cfg, source, torch.device(device)) for kind, source in sources.items()}
        data = _batches(cfg)
        found = _interleaved(models, data, repeats, torch.device(device))
        path = loss_path(models["live"][0], data[0], torch.device(device))
    report = machine(torch.device(device), {}, repeats)
    report |= {"config": config, "threads": count, "batch_size": cfg.train_dataloader.batch_size}
    return {"machine": report, "steps": {kind: asdict(cost) for kind, cost in found.items()}, "loss_path": path}


def _read(config: str, data_root: str, batches: int) -> Config:
    cfg = load_config(config)
    use_data_root(cfg, data_root)
    dataset = cfg.train_dataloader.dataset
    dataset.indices = list(range(batches * cfg.train_dataloader.batch_size))
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    return cfg


def _sources(cfg: Config, data_root: str, batches: int, folder: Path) -> dict[str, Mapping | None]:
    """Teacher configs by kind of step; the caches hold exactly the samples that are used."""
    live = dict(cfg.model.teacher)
    model = build_model(live["config"], "the teacher's config")
    checkpoint = folder / "teacher.pth"
    save_checkpoint({"state_dict": model.state_dict()}, checkpoint)
    live["checkpoint"] = str(checkpoint)
    teacher = _read(live["config"], data_root, batches)
    teacher.train_dataloader.dataset.indices = cfg.train_dataloader.dataset.indices
    for mode in ("dense", "foreground"):
        cache_teacher(teacher, checkpoint, folder / mode, mode=mode, taps=live.get("taps"), workers=0)
    cached = {f"cached_{mode}": {"type": f"Cached{mode.title()}Teacher", "cache": str(folder / mode)} for mode in
              ("dense", "foreground")}  # fmt: skip
    return {_STUDENT: None, "live": live, **cached}


def _trainable(cfg: Config, teacher: Mapping | None, device: torch.device) -> tuple[Any, Any]:
    from mmengine.optim import build_optim_wrapper

    model = build_model(cfg.model.student, "the student")
    if teacher is not None:
        rest = {key: value for key, value in cfg.model.items() if key not in ("type", "student", "teacher")}
        model = Distiller(model, dict(teacher), **copy.deepcopy(rest))
    model.init_weights()
    model.to(device).train()
    return model, build_optim_wrapper(model, cfg.optim_wrapper)


def _batches(cfg: Config) -> list[Any]:
    return list(Runner.build_dataloader(seeded_loader(cfg.train_dataloader), seed=0))


def _interleaved(
    models: Mapping[str, tuple], data: Sequence[Any], repeats: int, device: torch.device
) -> dict[str, StepCost]:
    samples: dict[str, list[tuple[float, float]]] = {kind: [] for kind in models}
    for turn in range(repeats + _WARM_UP):
        for kind, (model, optimizer) in models.items():
            batch = copy.deepcopy(data[turn % len(data)])
            taken = once(partial(model.train_step, batch, optimizer), device)
            if turn >= _WARM_UP:
                samples[kind].append(taken)
    own = samples[_STUDENT]
    costs = {}
    for kind, pairs in samples.items():
        wall, cpu = (statistics.median(1e3 * pair[i] for pair in pairs) for i in (0, 1))
        ratios = [statistics.median(p[i] / o[i] if o[i] else 0.0 for p, o in zip(pairs, own)) for i in (0, 1)]
        costs[kind] = StepCost(wall, cpu, *ratios, GOALS.get(kind))
    return costs


def loss_path(model: Distiller, batch: Any, device: torch.device) -> dict[str, float | None]:
    """Memory of the methods alone, forward and backward down to the student's taps.

    Returns:
        ``peak_mb`` above what was held before, the gradients of the student's maps among it, and ``maps_mb``, the
        size of all student maps that the methods read.
    """
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    theirs = model.teacher(data["inputs"], data["data_samples"], device)
    with record_taps(model.student, model.taps) as mine:
        model.student(data["inputs"], data["data_samples"], mode="loss")
    targets = Targets.from_data_samples(data["data_samples"], model.grid, device)
    read = {tap for method in model.methods.values() for tap in method.taps}
    mine = {tap: _leaves(value) for tap, value in mine.items() if tap in read}

    def run() -> None:
        for method in model.methods.values():
            losses = method(mine, theirs, targets)
            sum(value for name, value in losses.items() if not name.startswith("info/")).backward()

    run()  # the gradients that a first run allocates stay, as they do in training
    for leaf in _tensors(mine):
        leaf.grad = None
    maps = sum(tensor.nbytes for tensor in _tensors(mine)) / 2**20
    return {"peak_mb": peak_megabytes(run, device), "maps_mb": maps}


def _leaves(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_()
    if isinstance(value, Mapping):
        return {key: _leaves(part) for key, part in value.items()}
    return [_leaves(part) for part in value]


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value
    return [tensor for part in parts for tensor in _tensors(part)]


def table(report: Mapping[str, Any]) -> str:
    """The report in lines."""
    lines = [f"{'step':<18} {'wall ms':>9} {'cpu ms':>9} {'ratio':>7} {'cpu':>7}  goal"]
    for kind, cost in report["steps"].items():
        goal = cost["goal"]
        verdict = f"<= {goal:.2f}: {'reached' if cost['ratio'] <= goal else 'MISSED'}" if goal else ""
        numbers = f"{cost['wall_ms']:9.1f} {cost['cpu_ms']:9.1f} {cost['ratio']:7.3f} {cost['cpu_ratio']:7.3f}"
        lines.append(f"{kind:<18} {numbers}  {verdict}".rstrip())
    path = report["loss_path"]
    peak = "unknown" if path["peak_mb"] is None else f"{path['peak_mb']:.1f} MB"
    return "\n".join([*lines, f"loss path: peak {peak}, student maps that it reads {path['maps_mb']:.1f} MB"])

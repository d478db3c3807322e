"""From a config to a run: what every run has is added, what cannot work is refused before anything is built."""

from __future__ import annotations

import copy
import itertools
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config

from bevkd.engine.accumulation import AccumulationHook
from bevkd.engine.checkpoint_hook import AtomicCheckpointHook
from bevkd.engine.early_stopping import EarlyStoppingStateHook
from bevkd.engine.errors import config_errors
from bevkd.engine.evaluators import replace_stock_metrics
from bevkd.engine.hooks import NeutralValidationHook, NonFiniteLossHook, SummaryHook, TerminationHook
from bevkd.engine.outputs import require_writable, visualizer_folders
from bevkd.engine.preflight import check_settings, require_known_classes
from bevkd.engine.progress import ProgressHook
from bevkd.engine.runner import BEVRunner
from bevkd.engine.sharded_runner import ShardedRunner
from bevkd.engine.zero_loss import ZeroLossHook
from bevkd.errors import ConfigError
from bevkd.structures.config_types import type_name
from bevkd.structures.files import named
from bevkd.structures.quiet import quieten

_number = itertools.count()
_SAFE = ("NuScenesBEVDataset", "WaymoBEVDataset")


def build_runner(cfg: Config) -> BEVRunner:
    """Build the run that ``cfg`` describes, for bevkd's configs and mmdet3d's alike.

    Adds what every run has: TensorBoard and JSON scalars, whole checkpoints, the stop on SIGTERM and NaN, a summary.
    A top-level ``fsdp=dict(...)``, the arguments of :func:`bevkd.engine.sharding.shard_model`, spreads parameters over
    the processes of a data-parallel run; one process alone leaves it out.

    Raises:
        ConfigError: a wrong key or type, see :func:`~bevkd.engine.errors.config_errors`; an unwritable work_dir.
    """
    if cfg.get("default_scope") == "mmdet3d":
        from bevkd.engine import register_all

        register_all()
    quieten()
    cfg = copy.deepcopy(cfg)
    name = run_name(cfg.filename)
    cfg.setdefault("work_dir", str(Path("work_dirs", name)))
    require_writable(cfg.work_dir)
    for field, folder in visualizer_folders(cfg):
        require_writable(folder, field)
    # mmengine keeps loggers and message hubs by name for the life of the process.
    cfg.setdefault("experiment_name", f"{name}_{os.getpid()}_{next(_number)}")
    _prepare_hooks(cfg)
    _prepare_visualizer(cfg)
    replace_stock_metrics(cfg)
    if cfg.get("launcher") == "pytorch" and not torch.cuda.is_available() and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")  # mmengine would call CUDA whatever the backend
    _warn_of_a_shared_store()
    _refuse_amp_without_gpu(cfg)
    check_settings(cfg)
    require_known_classes(cfg)
    _check_infos(cfg)
    sharded = cfg.get("fsdp") is not None and cfg.get("launcher", "none") != "none"
    with config_errors(str(cfg.filename or name)), named(cfg.work_dir):
        return (ShardedRunner if sharded else BEVRunner).from_cfg(cfg)


def run_name(config: str | Path | None) -> str:
    """What a run is called after its config; recipes that each method has are told apart by its name.

    >>> run_name("configs/synthetic/fusion.py"), run_name("configs/methods/kd/small.py"), run_name(None)
    ('fusion', 'kd_small', 'run')
    """
    if not config:
        return "run"
    path = Path(config)
    return f"{path.parent.name}_{path.stem}" if path.parent.parent.name == "methods" else path.stem


def _prepare_hooks(cfg: Config) -> None:
    hooks = dict(cfg.get("default_hooks") or {})
    saver = dict(hooks.get("checkpoint") or {"type": "CheckpointHook", "interval": 1})
    if type_name(saver.get("type")) == "CheckpointHook":
        saver["type"] = AtomicCheckpointHook.__name__
    cfg.default_hooks = {**hooks, "checkpoint": saver}
    present = {type_name(hook.get("type")) for hook in cfg.get("custom_hooks") or [] if isinstance(hook, dict)}
    ours = (
        *(NeutralValidationHook, NonFiniteLossHook, ZeroLossHook, SummaryHook, TerminationHook, ProgressHook),
        *(AccumulationHook, EarlyStoppingStateHook),
    )
    cfg.custom_hooks = [
        *(cfg.get("custom_hooks") or []),
        *({"type": h.__name__} for h in ours if h.__name__ not in present),
    ]


def _prepare_visualizer(cfg: Config) -> None:
    visualizer = dict(cfg.get("visualizer") or {"type": "Visualizer"})
    backends = list(visualizer.get("vis_backends") or [])
    for kind in ("LocalVisBackend", "TensorboardVisBackend"):
        if not any(type_name(backend.get("type")) == kind for backend in backends):
            backends.append({"type": kind})
    visualizer.update(name=cfg.experiment_name, vis_backends=backends)
    cfg.visualizer = visualizer


def _check_infos(cfg: Config) -> None:
    """Refuse info files that hold more than data, or less than is asked for, for data sets that would read them anyway.

    bevkd's data sets read safely by themselves; mmdet3d's own do not.

    Raises:
        DataError: naming the file.
    """
    files: dict[Path, set[str]] = {}  # the sensors that are asked for
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        node = (cfg.get(loader) or {}).get("dataset")
        while isinstance(node, Mapping):
            if str(node.get("ann_file", "")).endswith(".pkl") and type_name(node.get("type")) not in _SAFE:
                asked = files.setdefault(Path(node.get("data_root") or "", node["ann_file"]), set())
                modality = node.get("modality") or {}
                asked.update(sensor for sensor in ("camera", "lidar") if modality.get(f"use_{sensor}"))
            node = node.get("dataset")
    if files:
        from bevkd.datasets import safe_pickle
        from bevkd.datasets.download import require_sensors

        for file in sorted(filter(Path.is_file, files)):
            content = safe_pickle.load(file)
            if isinstance(content, Mapping) and isinstance(content.get("metainfo"), Mapping):
                require_sensors(content["metainfo"], sorted(files[file]), file)


def _warn_of_a_shared_store() -> None:
    """By default torchrun keeps its store over restarts, where new processes may read the addresses of dead ones."""
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0))
    if restarts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and os.environ.get("RANK") == "0":
        print(
            "warning: torchrun --max-restarts shares one store between all attempts, so that a restart may fail to "
            "connect, expected TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in its environment",
            file=sys.stderr,
        )


def _refuse_amp_without_gpu(cfg: Config) -> None:
    if type_name((cfg.get("optim_wrapper") or {}).get("type")) == "AmpOptimWrapper" and not torch.cuda.is_available():
        raise ConfigError(
            "optim_wrapper.type is AmpOptimWrapper (--amp), which needs a GPU, and torch sees none; leave it out"
        )

"""Loaders and loops of a config that cannot work together, refused before anything is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bevkd.errors import ConfigError
from bevkd.structures.config_types import type_name

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_TOGETHER = (
    ("train_dataloader", "train_cfg", "optim_wrapper"),
    ("val_dataloader", "val_cfg", "val_evaluator"),
    ("test_dataloader", "test_cfg", "test_evaluator"),
)
_OF_WORKERS = ("persistent_workers", "prefetch_factor", "multiprocessing_context")
_OF_BATCH_SAMPLER = ("drop_last", "shuffle")


def without_worker_options(loader: Any) -> Any:
    """A loader's config without what torch refuses where there are no worker processes."""
    if not isinstance(loader, Mapping) or loader.get("num_workers"):
        return loader
    loader = loader.copy()
    for name in _OF_WORKERS:
        loader.pop(name, None)
    return loader


def check_settings(cfg: Mapping[str, Any]) -> None:
    """Refuse loaders and loops that cannot work.

    Args:
        cfg: the whole config.

    Raises:
        ConfigError: naming the key, what it is and what was expected.
    """
    for keys in _TOGETHER:
        missing = [key for key in keys if cfg.get(key) is None]
        if missing and len(missing) < len(keys):
            there = " and ".join(key for key in keys if key not in missing)
            raise ConfigError(f"the config has {there} but no {' and no '.join(missing)}, expected all three or none")
    for key in LOADERS:
        if isinstance(cfg.get(key), Mapping):
            _check_loader(key, cfg[key])
    if isinstance(cfg.get("train_cfg"), Mapping):
        _check_loop(cfg["train_cfg"], cfg.get("train_dataloader"))
    counts = (cfg.get("optim_wrapper") or {}).get("accumulative_counts", 1)
    _require_count("optim_wrapper.accumulative_counts", counts, 1)


def _check_loader(key: str, loader: Mapping[str, Any]) -> None:
    if loader.get("dataset") is None:
        raise ConfigError(f"{key} has no dataset, expected dataset=dict(type=...)")
    own = loader.get("batch_sampler") is not None
    if loader.get("sampler") is None and not own:
        hint = "; shuffle belongs there" if "shuffle" in loader else ""
        raise ConfigError(f"{key} has no sampler, expected sampler=dict(type='DefaultSampler', shuffle=...){hint}")
    wrong = [name for name in (_OF_BATCH_SAMPLER if own else ("shuffle",)) if name in loader]
    if wrong:
        place = "batch_sampler" if own else "sampler"
        raise ConfigError(f"{key}.{wrong[0]} cannot stand beside a {place}, expected it in {key}.{place}")
    if "batch_size" not in loader and not own:
        raise ConfigError(f"{key} has no batch_size, expected a whole number of at least 1")
    _require_count(f"{key}.batch_size", loader.get("batch_size", 1), 1)
    _require_count(f"{key}.num_workers", loader.get("num_workers", 0), 0)
    if key != LOADERS[0] and endless(loader):
        raise ConfigError(f"{key}.sampler is {_sampler(loader)}, which never ends, expected DefaultSampler")


def _check_loop(loop: Mapping[str, Any], loader: Any) -> None:
    kind = type_name(loop.get("type"))
    if kind not in ("", "EpochBasedTrainLoop", "IterBasedTrainLoop"):
        return  # another loop's own keys
    by_epoch = loop.get("by_epoch", kind != "IterBasedTrainLoop")
    wanted, other = ("max_epochs", "max_iters") if by_epoch else ("max_iters", "max_epochs")
    if other in loop or wanted not in loop:
        found = f"has {other}" if other in loop else f"lacks {wanted}"
        raise ConfigError(
            f"train_cfg counts {'epochs' if by_epoch else 'iterations'} (by_epoch={by_epoch}) and {found}, expected "
            f"{wanted} alone: dict(by_epoch=True, max_epochs=...) or dict(by_epoch=False, max_iters=...)"
        )
    _require_count(f"train_cfg.{wanted}", loop[wanted], 1)
    _require_count("train_cfg.val_interval", loop.get("val_interval", 1), 1)
    if by_epoch and isinstance(loader, Mapping) and endless(loader):
        raise ConfigError(
            f"train_dataloader.sampler is {_sampler(loader)}, which never ends, and train_cfg counts epochs: expected "
            "DefaultSampler, or train_cfg=dict(by_epoch=False, max_iters=...)"
        )


def endless(loader: Mapping[str, Any]) -> bool:
    """Whether a loader's sampler goes on without end, by its name."""
    return "Infinite" in _sampler(loader)


def _sampler(loader: Mapping[str, Any]) -> str:
    sampler = loader.get("sampler")
    return type_name(sampler.get("type")) if isinstance(sampler, Mapping) else ""


def _require_count(key: str, value: Any, least: int) -> None:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not whole or value != int(value) or value < least:
        raise ConfigError(f"{key} is {value!r}, expected a whole number of at least {least}")

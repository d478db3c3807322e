"""What of a teacher's config changes its features: part of a cache's key, and of a student's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bevkd.distill.models import student_of
from bevkd.errors import ConfigError
from bevkd.structures.settings import plain_settings

# Where weights come from, what only training or decoding reads, and what computes the same in another way.
_MODEL = (
    *("init_cfg", "pretrained", "train_cfg", "test_cfg", "bbox_coder", "loss*"),
    *("with_cp", "norm_eval", "frozen_stages"),
)
_DATA = (
    *("data_root", "ann_file", "data_prefix", "backend_args", "file_client_args"),
    *("test_mode", "serialize_data", "lazy_init", "max_refetch"),
    "version",  # of the folder's tables: the info file, whose hash is in the key, says it too
)


def model_settings(config: Any, field: str) -> dict[str, Any]:
    """The settings of a model, or of a distiller's student, that its features depend on."""
    settings: dict[str, Any] = plain_settings(student_of(config, field) or config, _MODEL)
    return settings


def feature_settings(cfg: Mapping[str, Any], name: str) -> dict[str, Any]:
    """``model`` and ``data``: all settings of a teacher's config that its cached features depend on.

    Args:
        cfg: the whole config. name: of its file, for error sentences.
    """
    return {
        "model": model_settings(cfg["model"], f"'model' of {name}"),
        "data": plain_settings(cached_data(cfg, name), _DATA),
    }


def cached_data(cfg: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config of the samples to cache: those of the training set, unrepeated, with the pipeline and sensors of the
    test set, which do not augment.

    Raises:
        ConfigError: the config has no such set.
    """
    nodes = []
    for loader in ("train_dataloader", "test_dataloader"):
        node = (cfg.get(loader) or {}).get("dataset")
        while isinstance(node, Mapping) and isinstance(node.get("dataset"), Mapping):
            node = node["dataset"]  # a wrapper that repeats or balances
        if not isinstance(node, Mapping):
            raise ConfigError(f"config {name} has no {loader}.dataset, expected the samples to cache")
        nodes.append(node)
    train, test = nodes
    like_test = {key: test[key] for key in ("pipeline", "modality", "previous") if key in test}
    return {**train, **like_test, "test_mode": False}

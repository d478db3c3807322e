"""``init_cfg=dict(type='Pretrained', checkpoint=..., prefix=...)``, read safely and fitted strictly.

Importing this module puts :class:`Pretrained` in the place of mmengine's initializer, which takes no checkpoint of a
training on current torch and passes over keys that do not fit; and the reader below in the place of mmengine's own for
files and http, which some image backbones call by themselves.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel, PretrainedInit
from mmengine.model.weight_init import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as zoo
from torch import nn

from bevkd.errors import CheckpointError, nearest
from bevkd.structures.checkpoint import fill_model, read_checkpoint, state_in, under

# Weights that files of image models lack by their nature: counters of torch before 1.0, and offsets of deformable
# convolutions, which start at zero.
_BORN_LATER = ("num_batches_tracked", "conv_offset.weight", "conv_offset.bias")
_COLLECTIONS = {
    "torchvision://": zoo.get_torchvision_models,
    "modelzoo://": zoo.get_torchvision_models,
    "open-mmlab://": zoo.get_external_models,
    "openmmlab://": zoo.get_external_models,
    "mmcls://": zoo.get_mmcls_models,
}
_OTHERWISE = "download it and give its path"


@WEIGHT_INITIALIZERS.register_module(force=True)
class Pretrained(PretrainedInit):
    """Starts a module from a checkpoint; every key of the module must be there with its shape.

    Args:
        checkpoint: a file in any format of :func:`bevkd.structures.checkpoint.read_checkpoint`, a URL, or a name such
            as ``torchvision://resnet50`` or ``open-mmlab://...``, which is looked up where mmengine does.
        prefix: take the keys below it, ``"lidar_encoder."`` or, out of a distiller, ``"student.lidar_encoder."``.
        map_location: mmengine's, without effect.

    Without a prefix the file may hold whole further parts, as the classifier's ``fc`` of an image network, unless the
    module is a model of its own. They are logged.

    Raises:
        CheckpointError: on the call: a file that is missing, unreadable or cannot be fetched; a prefix that no key
            has, with the one that fits; keys that are missing, unexpected or of another shape, listed.
    """

    def __call__(self, module: nn.Module) -> None:
        name, kind = self.checkpoint, type(module).__name__
        state = state_in(CheckpointLoader.load_checkpoint(str(name), map_location="cpu"), name)
        if all(key.startswith("module.") for key in state):
            state = under(state, "module.")  # saved from inside a data-parallel wrapper
        wanted = module.state_dict()
        if self.prefix is not None:
            prefix = self.prefix.rstrip(".") + "."
            chosen = under(state, prefix)
            if not chosen:
                raise CheckpointError(
                    f"checkpoint {name} has no key under {prefix!r}{_home(state, wanted, kind, prefix)}"
                )
        else:
            chosen = state if isinstance(module, BaseModel) else _without_other_parts(state, wanted, name)
            if wanted and not wanted.keys() & chosen.keys():
                raise CheckpointError(f"checkpoint {name} has no key of {kind}{_home(state, wanted, kind, '')}")
        late = {key: value for key, value in wanted.items() if key.endswith(_BORN_LATER)}
        if not any(key.endswith(_BORN_LATER) for key in chosen):
            chosen = {**late, **chosen}
        fill_model(module, chosen, name)
        print_log(f"{kind} starts from {name}", "current")
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=self._get_init_info())


def strictly_pretrained(model: nn.Module) -> None:
    """Let :class:`Pretrained` do what a config of Python objects asks of mmengine's class by itself."""
    for module in model.modules():
        given = getattr(module, "init_cfg", None)
        for init_cfg in given if isinstance(given, list) else [given]:
            if isinstance(init_cfg, dict) and init_cfg.get("type") is PretrainedInit:
                init_cfg["type"] = Pretrained.__name__


def _without_other_parts(state: Mapping[str, Any], wanted: Mapping[str, Any], name: str) -> dict[str, Any]:
    parts = {key.partition(".")[0] for key in wanted}
    others = sorted({key.partition(".")[0] for key in state} - parts)
    if others:
        print_log(f"checkpoint {name}: {', '.join(others)} left out, which the module does not have", "current")
    return {key: value for key, value in state.items() if key.partition(".")[0] in parts}


def _home(state: Mapping[str, Any], wanted: Mapping[str, Any], kind: str, given: str) -> str:
    """Where in a file a module's keys lie, for the error sentence; failing that, prefixes near the given one."""
    found = Counter(key.removesuffix(own) for own in wanted for key in state if f".{key}".endswith(f".{own}"))
    most = max(found.values(), default=0)
    if most > len(wanted) / 2:
        return f"; the keys of {kind} lie under {' or '.join(repr(p) for p in sorted(found) if found[p] == most)}"
    tops = {".".join(key.split(".")[:depth]) + "." for key in state for depth in (1, 2) if key.count(".") >= depth}
    return nearest(given, sorted(tops))


@CheckpointLoader.register_scheme(prefixes="", force=True)  # type: ignore[untyped-decorator]
def read_file(filename: str, map_location: Any = None) -> Any:
    """A local file, see :func:`bevkd.structures.checkpoint.read_checkpoint`; ``map_location`` has no effect."""
    scheme, there, _ = str(filename).partition("://")
    if there:
        raise CheckpointError(f"checkpoint {filename} has the scheme {scheme}://, which is not known; {_OTHERWISE}")
    return read_checkpoint(Path(filename).expanduser())


@CheckpointLoader.register_scheme(prefixes=("http://", "https://"), force=True)  # type: ignore[untyped-decorator]
def fetch(filename: str, map_location: Any = None) -> Any:
    """A file of the web, kept in torch's cache and read as :func:`read_file` does."""
    path = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(filename).path).name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(filename, str(path), progress=os.isatty(0))
        except Exception as error:  # urllib's, socket's, ssl's and http's have no base but Exception in common
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CheckpointError(f"checkpoint {filename} cannot be fetched ({reason}), {_OTHERWISE}") from error
    return read_checkpoint(path)


@CheckpointLoader.register_scheme(prefixes=tuple(_COLLECTIONS), force=True)  # type: ignore[untyped-decorator]
def fetch_named(filename: str, map_location: Any = None) -> Any:
    """A model of a collection by its name, fetched from where mmengine's tables say."""
    scheme = next(scheme for scheme in _COLLECTIONS if filename.startswith(scheme))
    name = filename.removeprefix(scheme)
    try:
        urls = _COLLECTIONS[scheme]()
    except ImportError as error:
        raise CheckpointError(
            f"checkpoint {filename} needs {error.name}, which is not installed; {_OTHERWISE}"
        ) from error
    name = zoo.get_deprecated_model_names().get(name, name)
    if name not in urls:
        raise CheckpointError(f"checkpoint {filename} is none of {scheme}{nearest(name, urls)}")
    content = CheckpointLoader.load_checkpoint(urls[name])
    return under(state_in(content, filename), "backbone.") if scheme == "mmcls://" else content

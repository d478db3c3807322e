"""Checkpoints read safely: nothing in them is executed, every byte is checked, and every key must fit."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from torch import Tensor, nn

from bevkd.errors import CheckpointError
from bevkd.structures.sparse_layout import fit_sparse_weights
from bevkd.structures.sums import check_sums

_SHOWN = 10
_UNSAFE = ("allowed global", "is blocked", "allowlisted", "unrecognized function")  # in torch's refusals
_METHODS = {
    HistoryBuffer: ("min", "max", "mean", "current"),
    OneCycleParamScheduler: ("_annealing_cos", "_annealing_linear"),
}


def _stored_method(owner: type, name: str) -> Any:
    """What ``getattr`` means inside a checkpoint: one of the few methods that mmengine stores, and nothing else."""
    if name not in _METHODS.get(owner, ()):
        raise pickle.UnpicklingError(f"getattr of {name!r} on {owner!r} is not an allowed global")
    return getattr(owner, name)


_DTYPES = [type(np.dtype(kind)) for kind in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")]

# Exactly what mmengine's checkpoints hold beyond tensors: log buffers, the numpy arrays and scalars in them, and, under
# the name of getattr, a lookup that knows only the methods above. NumPy 2 writes the same functions as numpy._core.
SAFE_GLOBALS: list[Any] = [
    HistoryBuffer,
    OneCycleParamScheduler,
    (_stored_method, "builtins.getattr"),
    np.ndarray,
    np.dtype,
    *_DTYPES,
    *(
        (function, f"numpy.{core}.multiarray.{function.__name__}")
        for function in (getattr(np.core.multiarray, name) for name in ("_reconstruct", "scalar"))
        for core in ("core", "_core")
    ),
]


def read_checkpoint(path: str | Path) -> Any:
    """Everything in a checkpoint file, on the CPU, with ``weights_only=True`` and every byte verified.

    Bytes are compared with the ``.sha256`` beside the file, or else with the checksums that a zip has inside. A
    ``.safetensors`` file gives its tensors by name.

    Raises:
        CheckpointError: naming the file and its kind of fault: missing, empty, altered, truncated, corrupt or unsafe.
    """
    path = Path(path)
    if not check_sums(path):
        _check_bytes(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    known = set(torch.serialization.get_safe_globals())  # those outlive the context below
    try:
        with torch.serialization.safe_globals([entry for entry in SAFE_GLOBALS if entry not in known]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        unsafe = any(sign in str(error) for sign in _UNSAFE)
        kind = "unsafe: it holds more than weights" if unsafe else "no checkpoint: its pickle cannot be read"
        raise CheckpointError(f"checkpoint {path} is {kind} ({_cause(error)})") from error
    except Exception as error:  # torch raises a dozen types here, from EOFError to RuntimeError of its zip reader
        raise CheckpointError(f"checkpoint {path} is corrupt ({type(error).__name__}: {_cause(error)})") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is truncated or no safetensors file ({error})") from error


def _check_bytes(path: Path) -> None:
    """Find what torch.load overlooks or reports obscurely: an empty or cut file and flipped bits."""
    size = path.stat().st_size
    if not size:
        raise CheckpointError(f"checkpoint {path} is empty, expected a file that torch.save wrote")
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return  # the format before torch 1.6, without checksums
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        raise CheckpointError(f"checkpoint {path} is truncated or corrupt after {size} bytes ({error})") from error
    if bad:
        raise CheckpointError(f"checkpoint {path} is corrupt: its member {bad} fails the checksum")


def _cause(error: Exception) -> str:
    """What was found, without the advice that torch wraps around it: the error that it replaced."""
    reason = " ".join(str(error.__context__ or error).split())
    return reason.split("Please use")[0].strip(" .")[:200]


def load_state_dict(path: str | Path) -> dict[str, Any]:
    """The weights of a checkpoint: its ``state_dict`` entry, or the file itself when it is a plain state dict.

    Raises:
        CheckpointError: see :func:`read_checkpoint`, or no state dict inside.
    """
    return state_in(read_checkpoint(path), path)


def state_in(content: Any, path: str | Path) -> dict[str, Any]:
    """The weights in what a checkpoint holds; ``path`` is for the error sentence, see :func:`load_state_dict`."""
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        found = sorted(map(str, content))[:_SHOWN] if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"checkpoint {path} holds {found}, expected a 'state_dict' or tensors by name")
    return state


def load_weights(
    model: nn.Module, path: str | Path, prefix: str | None = None, sparse_layout: str | None = None
) -> None:
    """Load a checkpoint into a model; every key and shape must fit, or nothing is loaded.

    Args:
        prefix: take only the keys that start with it, without it: ``"student."`` reads a bare student out of a
            distiller's checkpoint.
        sparse_layout: of the file's sparse convolutions, see :func:`fill_model`.

    Raises:
        CheckpointError: an unreadable file, or see :func:`fill_model`.
    """
    state = load_state_dict(path)
    if prefix and not (state := under(state, prefix)):
        raise CheckpointError(f"checkpoint {path} has no key under {prefix!r}, expected a model there")
    fill_model(model, state, path, sparse_layout)


def under(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries whose key starts with ``prefix``, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def fill_model(model: nn.Module, state: Mapping[str, Any], path: str | Path, sparse_layout: str | None = None) -> None:
    """Load a state dict into a model; every key and shape must fit, or nothing is loaded.

    Args:
        state: weights by name.
        path: where they are from, for the error sentence.
        sparse_layout: layout of the weights of sparse convolutions in ``state``; None recognises it, see
            :func:`bevkd.structures.sparse_layout.fit_sparse_weights`.

    Raises:
        CheckpointError: keys that are missing, unexpected or of another shape, listed; or a layout that is unclear.
    """
    wanted = model.state_dict()
    state = fit_sparse_weights(model, state, path, sparse_layout)
    shapes = [
        f"{key} {tuple(state[key].shape)} against {tuple(wanted[key].shape)}"
        for key in wanted.keys() & state.keys()
        if isinstance(wanted[key], Tensor) and getattr(state[key], "shape", None) != wanted[key].shape
    ]
    faults = {
        "missing": wanted.keys() - state.keys(),
        "unexpected": state.keys() - wanted.keys(),
        "of another shape than the model": shapes,
    }
    listed = [_list(kind, keys) for kind, keys in faults.items() if keys]
    if listed:
        raise CheckpointError(f"checkpoint {path} does not fit {type(model).__name__}: {'; '.join(listed)}")
    # Modules read in this record which version of them wrote the weights, and mmdet3d's sparse ones would turn them
    # round once more where there is none. Everything fits the model as it is by now.
    ordered: Any = OrderedDict(state)
    ordered._metadata = getattr(wanted, "_metadata")  # noqa: B009 (no attribute of a dict)
    model.load_state_dict(ordered, strict=True)


def _list(kind: str, keys: Any) -> str:
    keys = sorted(keys)
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:_SHOWN])}{more})"

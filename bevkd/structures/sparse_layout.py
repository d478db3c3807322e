"""Weights of sparse convolutions in the layouts of mmcv and of spconv 2.

mmcv, as spconv 1 before it, stores [kernel ..., in, out], spconv 2 stores [out, kernel ..., in]. The numbers are the
same: kernel places run in one order, z first, and a weight meets the same input at the same place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bevkd.errors import CheckpointError, ConfigError, nearest

LAYOUTS = ("mmcv", "spconv")
_OTHER = dict(zip(LAYOUTS, reversed(LAYOUTS)))
_HOMES = {"mmcv.ops.sparse_conv": "mmcv", "spconv.pytorch.conv": "spconv"}


def layout_of(layer: nn.Module) -> str | None:
    """``"mmcv"`` or ``"spconv"`` for a sparse convolution of that package, None for any other module."""
    for base in type(layer).__mro__:
        if base.__name__ == "SparseConvolution" and base.__module__ in _HOMES:
            return _HOMES[base.__module__]
    return None


def fit_sparse_weights(
    model: nn.Module, state: Mapping[str, Any], path: str | Path, layout: str | None = None
) -> dict[str, Any]:
    """A state dict whose sparse weights lie as the model's own layers keep them.

    A 3 x 3 x 3 layer from 5 to 16 channels is [3, 3, 3, 5, 16] to mmcv and [16, 3, 3, 3, 5] to spconv, which tells the
    layout of the whole file. Only where every sparse layer has one shape in both, such as [3, 3, 3, 3, 3], must it be
    told.

    Args:
        model: with or without sparse convolutions, of either package.
        state: weights by name; left as it is.
        path: where they are from, for the error sentence.
        layout: one of :data:`LAYOUTS`; None recognises it.

    Raises:
        ConfigError: another ``layout``.
        CheckpointError: the layers' shapes speak for different layouts, or for another than ``layout``, or for none.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(f"sparse_layout is {layout!r}, expected 'mmcv' or 'spconv'{nearest(layout, LAYOUTS)}")
    layers = {f"{name}.weight": layer for name, layer in model.named_modules() if layout_of(layer)}
    layers = {key: layer for key, layer in layers.items() if isinstance(state.get(key), Tensor)}
    found = layout or _recognise(layers, state, path)
    fitted = dict(state)
    for key, layer in layers.items():
        own, shapes = layout_of(layer), _shapes(layer)
        if tuple(state[key].shape) != shapes[found]:
            if layout is not None and tuple(state[key].shape) in shapes.values():
                other = f"{shapes[_OTHER[layout]]}, which is {_OTHER[layout]}'s layout"
                raise CheckpointError(f"checkpoint {path} has {key} {other}, expected {layout}'s as sparse_layout says")
            continue  # of no layout: listed with all that does not fit
        if own is not None and found != own:
            fitted[key] = _turned(state[key], own)
    return fitted


def _shapes(layer: Any) -> dict[str, tuple[int, ...]]:
    kernel, channels = tuple(layer.kernel_size), (layer.in_channels, layer.out_channels)
    return {"mmcv": (*kernel, *channels), "spconv": (channels[1], *kernel, channels[0])}


def _recognise(layers: Mapping[str, nn.Module], state: Mapping[str, Any], path: str | Path) -> str:
    votes: dict[str, str] = {}
    unclear = []
    for key, layer in layers.items():
        fits = [name for name, shape in _shapes(layer).items() if shape == tuple(state[key].shape)]
        if len(fits) == 1:
            votes.setdefault(fits[0], key)
        elif fits:
            unclear.append(key)
    if len(votes) > 1:
        told = " and ".join(f"{key} of {name}" for name, key in votes.items())
        raise CheckpointError(f"checkpoint {path} mixes layouts of sparse weights, {told}, expected one of them")
    if unclear and not votes:
        raise CheckpointError(
            f"checkpoint {path} has {unclear[0]} {tuple(state[unclear[0]].shape)}, which mmcv and spconv read "
            "differently, and no other sparse weight tells which it is, expected sparse_layout='mmcv' or 'spconv'"
        )
    return next(iter(votes), LAYOUTS[0])


def _turned(weight: Tensor, to: str) -> Tensor:
    last = weight.ndim - 1
    order = (last, *range(last)) if to == "spconv" else (*range(1, last + 1), 0)
    return weight.permute(order).contiguous()

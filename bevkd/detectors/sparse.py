"""spconv on machines with and without a GPU; an optional package, the only place that knows how to get it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bevkd.errors import ConfigError

with warnings.catch_warnings():  # its decorators of torch.cuda.amp are deprecated, which a user cannot change
    warnings.simplefilter("ignore", FutureWarning)
    try:
        from spconv.core import ConvAlgo
        from spconv.pytorch import core as spconv_core
        from spconv.pytorch import ops as spconv_ops
        from spconv.pytorch.conv import SparseConvolution
    except ImportError:
        spconv_ops = None


def require_spconv(who: str) -> None:
    """Make spconv ready for this machine and this torch.

    spconv asks CUDA for its current stream even where it then works on the CPU; a torch without CUDA raises at that,
    so the question is answered here. And it indexes with a list of tensors where newer versions of torch want a tuple.

    Raises:
        ConfigError: spconv is not installed.
    """
    if spconv_ops is None:
        raise ConfigError(
            f"{who} needs spconv, which is not installed, expected the extra: pip install 'bevkd[sparse]'"
        )
    if not torch.cuda.is_available():
        spconv_ops.get_current_stream = lambda: 0
    spconv_core.scatter_nd = _scatter_nd


def _scatter_nd(indices: Tensor, updates: Tensor, shape: Sequence[int]) -> Tensor:
    """Rows [P, C] written to their places [P, K] in a tensor of zeros of ``shape``, K sizes and C."""
    return updates.new_zeros(*shape).index_put(tuple(indices.long().T), updates)


def run_anywhere(model: nn.Module) -> None:
    """Let every sparse convolution of a model run where its input is: CPUs have ``ConvAlgo.Native`` only.

    Does nothing to a model without them; calling it again does nothing.
    """
    if spconv_ops is None:
        return
    layers = [layer for layer in model.modules() if isinstance(layer, SparseConvolution)]
    if layers:
        require_spconv(type(model).__name__)
    for layer in layers:
        if not hasattr(layer, "cuda_algo"):
            layer.cuda_algo = layer.algo
            layer.register_forward_pre_hook(_choose_algorithm)


def _choose_algorithm(layer: nn.Module, inputs: tuple) -> None:
    on_cpu = inputs[0].features.device.type == "cpu"
    layer.algo = ConvAlgo.Native if on_cpu else layer.cuda_algo


def share_neighbours(stage: nn.Module, key: str) -> None:
    """Let the submanifold convolutions of one stage, which all see the same sites, look their neighbours up once."""
    for layer in stage.modules():
        if isinstance(layer, SparseConvolution) and layer.subm:
            layer.indice_key = key

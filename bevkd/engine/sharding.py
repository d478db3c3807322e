"""Parameters, gradients and optimizer state spread over the processes: torch's ``fully_shard`` (FSDP2) for a run.

mmengine's FSDP wrapper stands on torch's first FSDP, which refuses machines without an accelerator and hides the model
behind flat parameters. ``fully_shard`` keeps the model, its names and its taps as they are, and works over gloo too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.distributed as dist
from mmengine.utils import apply_to
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from bevkd.errors import ConfigError, nearest


def shard_model(model: nn.Module, modules: Sequence[str] = ()) -> list[str]:
    """Spread the model's parameters over all processes, in place; every process must hold the same ones.

    Args:
        model: its weights are initialised and on their device.
        modules: patterns of module names, such as ``"student.camera_encoder.backbone.layer*"``. Each such module is
            gathered for its own forward and backward only, one at a time: name the big ones, whose forward is what
            runs their parameters. What remains is gathered for the whole step.

    Returns:
        Names of the scalar parameters, which have the shape (1,) from here on: ``fully_shard`` takes no scalars.

    Raises:
        ConfigError: a pattern that fits no module.
    """
    names = [name for name, _ in model.named_modules() if name]
    for pattern in modules:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"fsdp.modules has {pattern!r}, which fits no module{nearest(pattern, names)}")
    scalars = [name for name, parameter in model.named_parameters() if not parameter.dim()]
    for parameter in model.parameters():
        # Of all memory formats fully_shard takes this one alone.
        parameter.data = parameter.data.contiguous() if parameter.dim() else parameter.data.view(1)
    mesh = init_device_mesh(next(model.parameters()).device.type, (dist.get_world_size(),))
    chosen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in modules)]
    for name in reversed(chosen):  # inner modules before those around them
        fully_shard(model.get_submodule(name), mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.register_forward_pre_hook(_take_buffers_of_rank_0)
    return scalars


def gather_state(state: dict[str, Any], names: Sequence[str], scalars: Sequence[str]) -> dict[str, Any]:
    """A checkpoint's ``state_dict`` and ``optimizer`` with whole tensors; every process must call it.

    Args:
        names: of the optimizer's parameters, in its order. scalars: see :func:`shard_model`; they become such again.
    """
    state = apply_to(state, lambda value: isinstance(value, DTensor), lambda value: value.full_tensor())
    for name in scalars:
        state["state_dict"][name] = state["state_dict"][name].view(())
    for index, entry in state.get("optimizer", {}).get("state", {}).items():
        if names[index] in scalars:
            entry.update({key: value.view(()) for key, value in entry.items() if isinstance(value, torch.Tensor)})
    return state


def spread_optimizer_state(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A gathered state dict as ``optimizer``, whose parameters are spread, can load it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def spread(name: str, value: Any, parameter: torch.Tensor) -> Any:
        if name == "step" or not isinstance(value, torch.Tensor) or value.numel() != parameter.numel():
            return value
        value = value.to(parameter.device).view(parameter.shape)
        return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)

    states = {
        index: {name: spread(name, value, parameters[index]) for name, value in entry.items()}
        for index, entry in state["state"].items()
    }
    return {**state, "state": states}


def _take_buffers_of_rank_0(model: nn.Module, _inputs: tuple) -> None:
    """As DDP does before each training step: running statistics are rank 0's, which a checkpoint holds."""
    if model.training:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)

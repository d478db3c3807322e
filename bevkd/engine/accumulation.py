"""Gradients that wait for an optimizer's step: part of a run's state while it accumulates them over several steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from bevkd.errors import ConfigError

KEY = "accumulation"


def pending(model: nn.Module, optim_wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, Any] | None:
    """What a checkpoint keeps of gradients that no step has used yet; None where none wait. Every process calls it.

    Returns:
        ``counts``: optimizer name -> (backward passes so far, passes in one step), and ``gradients``: for each process
        its own by parameter name, which data-parallel processes join only when a step is due.
    """
    wrappers = _wrappers(optim_wrapper)
    if all(wrapper._accumulative_counts == 1 for wrapper in wrappers.values()):
        return None
    own = {name: _local(p.grad).cpu() for name, p in model.named_parameters() if p.grad is not None}
    counts = {name: (wrapper._inner_count, wrapper._accumulative_counts) for name, wrapper in wrappers.items()}
    return {"counts": counts, "gradients": all_gather_object(own) if get_world_size() > 1 else [own]}


@HOOKS.register_module()
class AccumulationHook(Hook):
    """Gives a resumed run the gradients and counts that its checkpoint holds."""

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._found: Mapping[str, Any] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._found = checkpoint.get(KEY)

    def before_train(self, runner: Runner) -> None:
        """Late: mmengine sets the counts just before, and without them a gradient would be scaled wrongly."""
        found, self._found = self._found, None
        wrappers = _wrappers(runner.optim_wrapper)
        if found is None:
            if any(wrapper._inner_count % wrapper._accumulative_counts for wrapper in wrappers.values()):
                runner.logger.warning(
                    "the checkpoint lies in an accumulation and holds no gradients: those of its last steps are lost"
                )
            return
        for name, (count, steps) in found["counts"].items():
            if name not in wrappers or wrappers[name]._accumulative_counts != steps:
                now = wrappers[name]._accumulative_counts if name in wrappers else "no such optimizer"
                raise ConfigError(
                    f"the checkpoint lies in the middle of an accumulation of {steps} steps and the config has "
                    f"accumulative_counts={now}, expected {steps}"
                )
            wrappers[name]._inner_count = count
        parameters = dict(getattr(runner.model, "module", runner.model).named_parameters())
        for name, gradient in found["gradients"][get_rank()].items():
            parameters[name].grad = _like(parameters[name], gradient)


def _wrappers(optim_wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, OptimWrapper]:
    return dict(optim_wrapper.items()) if isinstance(optim_wrapper, OptimWrapperDict) else {"optimizer": optim_wrapper}


def _local(gradient: Tensor) -> Tensor:
    """The process's own part of a gradient that is spread over all."""
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient


def _like(parameter: nn.Parameter, gradient: Tensor) -> Tensor:
    gradient = gradient.to(parameter.device)
    if isinstance(parameter, DTensor):
        mesh, placements = parameter.device_mesh, parameter.placements
        return DTensor.from_local(
            gradient, mesh, placements, run_check=False, shape=parameter.shape, stride=parameter.stride()
        )
    return gradient

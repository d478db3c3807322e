"""Parts of a model that do not train: no gradient, no step, and batch statistics that stay where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import nn

from bevkd.errors import ConfigError
from bevkd.structures.parts import find_parts


@HOOKS.register_module()
class FreezeHook(Hook):
    """Freezes parts of the model for the whole run: ``dict(type="FreezeHook", parts=("lidar_encoder",))``.

    The runner calls :meth:`freeze` when it builds the model, because a data-parallel wrapper must not wait for
    gradients that never come. The parts have no gradient and stay in eval mode whatever mode the model is in, so that
    neither an optimizer with weight decay, nor batch statistics, nor a moving average moves them. Weights that they
    should have come from ``load_from`` or ``init_cfg``.

    Args:
        parts: module paths; a distiller's student is found with and without ``student.``.

    Raises:
        ConfigError: no paths or, from :meth:`freeze`, one that names no module, with the nearest right ones.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = parts

    def freeze(self, model: nn.Module) -> list[str]:
        """Freeze the parts of ``model``; the paths of what was frozen."""
        found = find_parts(model, self.parts, "FreezeHook.parts")
        for part in found.values():
            _hold(part)
        return list(found)


def freeze_configured(model: nn.Module, hooks: Sequence[Any], optim_wrapper: Any) -> list[str]:
    """Freeze what a config says: the parts of each FreezeHook, and parameters with a learning rate of zero.

    ``paramwise_cfg=dict(custom_keys=dict(lidar_encoder=dict(lr_mult=0)))`` was the way to freeze before FreezeHook.
    Modules of which no parameter trains keep their batch statistics too.

    Returns:
        Paths of the frozen modules.

    Raises:
        ConfigError: see :class:`FreezeHook`, or nothing is left to train.
    """
    frozen = []
    for hook in hooks:
        kind = hook.get("type") if isinstance(hook, Mapping) else type(hook)
        if kind in (FreezeHook, FreezeHook.__name__):
            frozen += (HOOKS.build(hook) if isinstance(hook, Mapping) else hook).freeze(model)
    still = _still(model, _custom_keys(optim_wrapper))
    for parameter in still:
        parameter.requires_grad_(False)
    frozen += _hold_still(model, still, "")
    if frozen and not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"{', '.join(frozen)} are frozen, which leaves nothing to train; expected a smaller part")
    return frozen


@contextmanager
def still_listed(model: nn.Module, optim_wrapper: Any) -> Iterator[None]:
    """While the optimizer is built, parameters with a learning rate of zero are listed in it, as their config says.

    They have no gradient afterwards, so that no step moves them; their groups keep the rate that schedules scale.
    """
    still = [p for p in _still(model, _custom_keys(optim_wrapper)) if not p.requires_grad]
    for parameter in still:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in still:
            parameter.requires_grad_(False)


def _custom_keys(optim_wrapper: Any) -> Mapping[str, Mapping[str, Any]]:
    paramwise = optim_wrapper.get("paramwise_cfg") or {} if isinstance(optim_wrapper, Mapping) else {}
    return paramwise.get("custom_keys") or {}


def _still(model: nn.Module, custom_keys: Mapping[str, Mapping[str, Any]]) -> set[nn.Parameter]:
    """The parameters whose learning rate is multiplied by 0."""
    if not any(options.get("lr_mult") == 0 for options in custom_keys.values()):
        return set()
    by_length = sorted(sorted(custom_keys), key=len, reverse=True)  # as mmengine: the longest key that fits
    still = set()
    for name, parameter in model.named_parameters():
        key = next((key for key in by_length if key in name), None)
        if key is not None and custom_keys[key].get("lr_mult") == 0:
            still.add(parameter)
    return still


def _hold_still(module: nn.Module, still: set[nn.Parameter], path: str) -> Iterator[str]:
    """Hold the largest modules that have parameters, all of them ``still``."""
    parameters = set(module.parameters())
    if parameters and parameters <= still:
        _hold(module)
        yield path or "the model"
    elif parameters & still:
        for name, child in module.named_children():
            yield from _hold_still(child, still, f"{path}.{name}" if path else name)


def _hold(part: nn.Module) -> None:
    part.requires_grad_(False).eval()
    part.train = partial(_stay, part)  # what the model's own train() calls


def _stay(part: nn.Module, mode: bool = True) -> nn.Module:
    return part

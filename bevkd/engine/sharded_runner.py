"""The run of a model whose parameters are spread over its processes."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.device import get_device
from mmengine.registry import RUNNERS

from bevkd.engine.errors import config_errors
from bevkd.engine.runner import BEVRunner
from bevkd.engine.sharding import gather_state, shard_model, spread_optimizer_state
from bevkd.errors import ConfigError
from bevkd.structures.config_types import type_name
from bevkd.structures.parts import start_from


@RUNNERS.register_module()
class ShardedRunner(BEVRunner):
    """BEVRunner for a config with ``fsdp``, see :func:`bevkd.engine.sharding.shard_model`.

    Its checkpoints hold whole tensors, as those of any other run: one process can test them. The model is whole while
    its weights are drawn and loaded, and in tests; it is spread when training starts, before the optimizer is built.
    """

    def wrap_model(self, model_wrapper_cfg: dict | None, model: torch.nn.Module) -> torch.nn.Module:
        """The model on its device: training does not wrap it, and tests need no wrapper."""
        unknown = [key for key in self.cfg.fsdp if key != "modules"]
        if unknown:
            raise ConfigError(f"the config has fsdp.{unknown[0]}, expected fsdp=dict(modules=[...]) alone")
        if model_wrapper_cfg:
            raise ConfigError("the config has fsdp and model_wrapper_cfg, expected one of them")
        hooks = self.cfg.get("custom_hooks") or []
        if any(isinstance(hook, dict) and type_name(hook.get("type")) == "EMAHook" for hook in hooks):
            raise ConfigError(
                "the config has fsdp and an EMAHook, which copies whole parameters; leave one of them out"
            )
        return model.to(get_device())

    def _before_training(self) -> None:
        super()._before_training()
        with config_errors(self._config_name):
            super()._init_model_weights()
        if self._load_from is not None:
            start_from(self.model, self._load_from)
        self._scalars = shard_model(self.model, **self.cfg.fsdp)

    def _init_model_weights(self) -> None:
        """Done before the parameters were spread: initializers want them whole."""

    def _load_state(self, filename: Any, found: dict) -> None:
        if found:
            self.call_hook("after_load_checkpoint", checkpoint=found)
            found["optimizer"] = spread_optimizer_state(found["optimizer"], self.optim_wrapper.optimizer)

    def _state(self, save_optimizer: bool) -> dict[str, Any]:
        self.model.reshard()  # a validation leaves what it gathered last
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        groups = self.optim_wrapper.optimizer.param_groups
        ordered = [names[id(parameter)] for group in groups for parameter in group["params"]]
        return gather_state(super()._state(save_optimizer), ordered, self._scalars)

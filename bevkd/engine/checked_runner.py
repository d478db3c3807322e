"""mmengine's Runner that looks at what it has built before it takes a step."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from bevkd.engine import freeze, preflight
from bevkd.errors import ConfigError


class CheckedRunner(Runner):
    """Each part is compared with those before it as soon as it is built, see :mod:`bevkd.engine.preflight`.

    Whatever disagrees is refused in one sentence; what may be meant is a warning in the log.
    """

    def train(self) -> torch.nn.Module:
        """As in mmengine.

        Raises:
            ConfigError: a config without training, or see the checks.
        """
        if self._train_loop is None:
            raise ConfigError(
                f"config {self.cfg.filename} has no train_dataloader, train_cfg and optim_wrapper, expected "
                "settings to train with"
            )
        return super().train()

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> DataLoader:
        """As in mmengine; options of worker processes are left out where there are none."""
        return Runner.build_dataloader(preflight.without_worker_options(dataloader), *args, **kwargs)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine, and compare its data with the model."""
        loop = super().build_train_loop(loop)
        preflight.check_training_data(loop.dataloader, self._bare_model, self.cfg, self.logger.warning)
        begin, end = getattr(loop, "val_begin", 1), self._length(loop)
        if self._val_loop is not None and begin > end:
            self.logger.warning(f"train_cfg.val_begin is {begin} and training ends at {end}: there is no validation")
        return loop

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine, and compare its data with the model."""
        return self._checked("val_dataloader", super().build_val_loop(loop))

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine, and compare its data with the model."""
        return self._checked("test_dataloader", super().build_test_loop(loop))

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """As in mmengine, and see that it moves something."""
        with freeze.still_listed(self._bare_model, self.cfg.get("optim_wrapper")):
            built = super().build_optim_wrapper(optim_wrapper)
        if isinstance(built.param_groups, list):  # one optimizer
            preflight.require_movement(built.param_groups)
        counts, steps = getattr(built, "_accumulative_counts", 1), self.max_iters
        if counts > steps:
            self.logger.warning(f"optim_wrapper.accumulative_counts is {counts} in {steps} steps: weights move once")
        return built

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """As in mmengine, and compare it with the length of the run."""
        epochs = self.max_epochs if isinstance(self._train_loop, EpochBasedTrainLoop) else None
        said = preflight.check_schedules(scheduler, epochs, self.max_iters)
        if isinstance(groups := self.optim_wrapper.param_groups, list):
            said += preflight.check_ratios(scheduler, [group["lr"] for group in groups])
        if said:
            self.logger.warning("\n  ".join(said))
        return super().build_param_scheduler(scheduler)

    def load_or_resume(self) -> None:
        """As in mmengine, after a look at what the teacher needs, which is loaded by now."""
        if isinstance(self._train_loop, BaseLoop):
            preflight.check_teacher(self.train_dataloader, self._bare_model, self.logger.warning)
        super().load_or_resume()

    def _checked(self, key: str, loop: BaseLoop) -> BaseLoop:
        evaluator = getattr(loop, "evaluator", None)
        preflight.check_test_data(key, loop.dataloader, self._bare_model, evaluator, self.logger.warning)
        return loop

    @property
    def _bare_model(self) -> torch.nn.Module:
        return getattr(self.model, "module", self.model)

    @staticmethod
    def _length(loop: BaseLoop) -> float:
        epochs = isinstance(loop, EpochBasedTrainLoop)
        return getattr(loop, "_max_epochs" if epochs else "_max_iters", float("inf"))

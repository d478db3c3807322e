"""Training loops that can go on from any step, not only from the start of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from bevkd.engine.randomness import unchanged_randomness
from bevkd.errors import ConfigError


def start_pass(loader: DataLoader, epoch: int, skip: int) -> Iterator:
    """An iterator over one pass of ``loader`` without its first ``skip`` batches; draws no random number itself.

    Raises:
        ConfigError: batches to skip, but the config's own batch sampler cannot skip them.
    """
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    if skip:
        if not hasattr(loader.batch_sampler, "skip"):
            raise ConfigError(
                f"cannot resume {skip} steps into an epoch with the batch sampler "
                f"{type(loader.batch_sampler).__name__} of train_dataloader; resume from a checkpoint at an epoch's end"
            )
        loader.batch_sampler.skip = skip
    with unchanged_randomness():  # torch draws a base seed here
        return iter(loader)


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """Epochs as in mmengine, plus: a start in the middle of an epoch, and a validation that a kill cut off is done."""

    def run(self) -> torch.nn.Module:
        """Train until ``max_epochs``; see mmengine."""
        self.runner.call_hook("before_train")
        if self._epoch > 0 and self._iter == self._epoch * len(self.dataloader):
            self._validate_if_due(already=self.runner.message_hub.runtime_info.get("epoch_validated", 0))
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """One epoch from the step where the run stands."""
        done = self._iter - self._epoch * len(self.dataloader)
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for idx, data_batch in enumerate(start_pass(self.dataloader, self._epoch, done), start=done):
            self.run_iter(idx, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _validate_if_due(self, already: int = 0) -> None:
        self._decide_current_val_interval()
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is not None and self._epoch >= self.val_begin and due and self._epoch > already:
            self.runner.val_loop.run()


class _Passes:
    """Batches without end, pass after pass, from a given step on."""

    def __init__(self, loader: DataLoader, step: int) -> None:
        self.loader = loader
        endless = isinstance(getattr(loader.batch_sampler, "sampler", loader.sampler), InfiniteSampler)
        self.epoch, skip = (0, step) if endless else divmod(step, len(loader))
        self.iterator = start_pass(loader, self.epoch, skip)

    def __next__(self) -> Sequence[dict]:
        try:
            return next(self.iterator)
        except StopIteration:
            self.epoch += 1
            self.iterator = start_pass(self.loader, self.epoch, 0)
            return next(self.iterator)


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """Iterations as in mmengine; a resumed run skips what it has seen without loading it, and does a validation that a
    kill cut off.

    Args:
        runner: the runner.
        dataloader: a loader or its config.
        max_iters: training steps in all.
        val_begin: the first step after which validation may run.
        val_interval: steps between validations.
    """

    def __init__(
        self, runner: Runner, dataloader: Any, max_iters: int, val_begin: int = 1, val_interval: int = 1000
    ) -> None:
        # Not the parent's: it starts an iterator, and with it workers, before it is known where the run goes on.
        BaseLoop.__init__(self, runner, dataloader)
        self._max_iters, self._max_epochs = int(max_iters), 1
        self._epoch = self._iter = 0
        self.val_begin, self.val_interval = val_begin, val_interval
        self.stop_training = False
        self.runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, "metainfo", None)

    def run(self) -> torch.nn.Module:
        """Train until ``max_iters``; see mmengine."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.dataloader_iterator = _Passes(self.dataloader, self._iter)
        if self._iter > 0:
            self._validate_if_due(already=self.runner.message_hub.runtime_info.get("iter_validated", 0))
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate_if_due()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _validate_if_due(self, already: int = 0) -> None:
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        if self.runner.val_loop is not None and self._iter >= self.val_begin and due and self._iter > already:
            self.runner.val_loop.run()

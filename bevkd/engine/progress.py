"""A progress bar on a terminal; mmengine's log lines, which have an ETA too, everywhere else."""

from __future__ import annotations

import logging
import sys
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from bevkd.engine.hooks import numbers


@HOOKS.register_module()
class ProgressHook(Hook):
    """While a terminal shows the bar, log lines below WARNING go to the log file only."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self._bar: Any = None

    def before_train(self, runner: Runner) -> None:
        if not (sys.stdout.isatty() and is_main_process()):
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        eta = (TextColumn("eta"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
        self._bar = Progress(*columns, *eta)
        self._task = self._bar.add_task("train", total=runner.max_iters, completed=runner.iter, note="")
        self._quieten(runner, logging.WARNING)
        self._bar.start()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self._bar is not None:
            note = f"loss {numbers(outputs).get('loss', float('nan')):.3f}" if outputs else ""
            self._bar.update(self._task, completed=runner.iter + 1, note=note)

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        if self._bar is not None:
            shown = ", ".join(f"{k} {v:.4f}" for k, v in (metrics or {}).items() if isinstance(v, float))
            self._bar.console.print(f"epoch {runner.epoch}: {shown}", highlight=False)

    def after_train(self, runner: Runner) -> None:
        self.close(runner)

    def close(self, runner: Runner) -> None:
        """Take the bar away and let log lines through again."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._quieten(runner, logging.INFO)

    def _quieten(self, runner: Runner, level: int) -> None:
        for handler in runner.logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(level)

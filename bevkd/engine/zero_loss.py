"""Losses that are exactly 0 step after step are named: something is not taught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from bevkd.engine.hooks import numbers

_LOSS, _INFO, _SCHEDULE = "kd/", "info/", "info/schedule/"


@HOOKS.register_module()
class ZeroLossHook(Hook):
    """Warns once of each loss that was exactly 0 for ``steps`` steps in a row, or in all of a shorter training.

    A distillation loss whose schedule says 0 is meant to be 0.

    Args:
        steps: in a row before a warning.
        least: steps that a training must have to be judged as a whole.
    """

    def __init__(self, steps: int = 50, least: int = 5) -> None:
        self.steps, self.least = steps, least
        self._zeros: Counter[str] = Counter()
        self._taken = 0
        self._named: set[str] = set()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._taken += 1
        values = numbers(outputs)
        for name, value in values.items():
            if name.startswith(_INFO) or not (name.startswith(_LOSS) or "loss" in name):
                continue
            self._zeros[name] = self._zeros[name] + 1 if value == 0 and not _scheduled_off(name, values) else 0
            if self._zeros[name] == self.steps:
                self._warn(runner, name)

    def after_train(self, runner: Runner) -> None:
        for name, zeros in self._zeros.items():
            if zeros == self._taken >= self.least:
                self._warn(runner, name)

    def _warn(self, runner: Runner, name: str) -> None:
        if name in self._named:
            return
        self._named.add(name)
        reason = f"{'its weight, its taps and ' if name.startswith(_LOSS) else ''}whether it finds boxes"
        runner.logger.warning(
            f"{name} has been exactly 0 for {self._zeros[name]} steps: nothing is learnt from it; look at {reason}"
        )


def _scheduled_off(name: str, values: Mapping[str, float]) -> bool:
    """Whether the schedule of ``kd/<method>/<part>``, or that of the method, is 0."""
    method, _, part = name.removeprefix(_LOSS).partition("/")
    return 0 in (values.get(f"{_SCHEDULE}{method}"), values.get(f"{_SCHEDULE}{method}/{part}"))

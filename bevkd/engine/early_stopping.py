"""Early stopping that a resumed run goes on with: mmengine keeps its patience in no checkpoint."""

from __future__ import annotations

from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

KEY = "early_stopping"


@HOOKS.register_module()
class EarlyStoppingStateHook(Hook):
    """Keeps the best score and the validations since then of every EarlyStoppingHook in the checkpoint."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        states = [(hook.wait_count, float(hook.best_score)) for hook in _stoppers(runner)]
        if states:
            checkpoint[KEY] = states

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        for hook, (waited, best) in zip(_stoppers(runner), checkpoint.get(KEY, ())):
            hook.wait_count, hook.best_score = waited, best


def _stoppers(runner: Runner) -> list[EarlyStoppingHook]:
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]

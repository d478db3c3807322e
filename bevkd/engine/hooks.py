"""What a run does beside training: stop in order, stop on NaN, keep validation from moving the generators, sum up."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, broadcast, get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from bevkd.engine.checkpoint import write_pointer, write_text
from bevkd.engine.randomness import random_state, restore_random_state
from bevkd.errors import BevkdError

TERMINATED = 128 + signal.SIGTERM


class NonFiniteLossError(BevkdError):
    """The training loss became NaN or infinite."""


@HOOKS.register_module()
class TerminationHook(Hook):
    """On SIGTERM: finish the step, write a checkpoint, leave with exit code 143.

    With several processes the flag is shared each step, so that all stop after the same one.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def before_train(self, runner: Runner) -> None:
        if threading.current_thread() is threading.main_thread():
            owner = os.getpid()

            def ask(signum: int, frame: Any) -> None:
                if os.getpid() != owner:  # a forked data worker: die as asked
                    os._exit(TERMINATED)
                self.asked = True

            self._before = signal.signal(signal.SIGTERM, ask)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self._everyone_stops():
            self._save_and_leave(runner, epoch=runner.epoch, iteration=runner.iter + 1)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self._before is not None and self._everyone_stops():
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):  # while validation runs, the model holds its moving average
                    hook.after_val_epoch(runner)
            self._save_and_leave(runner, epoch=runner.epoch, iteration=runner.iter)

    def after_train(self, runner: Runner) -> None:
        self.close(runner)

    def close(self, runner: Runner) -> None:
        """Give SIGTERM back to whoever had it."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _everyone_stops(self) -> bool:
        if get_world_size() == 1:
            return self.asked
        flag = torch.tensor(float(self.asked), device="cuda" if torch.cuda.is_available() else "cpu")
        all_reduce(flag, op="max")
        return bool(flag)

    def _save_and_leave(self, runner: Runner, epoch: int, iteration: int) -> None:
        name = f"stopped_iter_{iteration}.pth"
        runner.save_checkpoint(runner.work_dir, name, meta={"epoch": epoch, "iter": iteration}, by_epoch=False)
        if is_main_process():
            write_pointer(runner.work_dir, Path(runner.work_dir, name))
        barrier()  # a process that leaves early would have its launcher end the one that still writes
        runner.logger.warning(f"SIGTERM: stopped after step {iteration}; go on with --resume (checkpoint {name})")
        raise SystemExit(TERMINATED)


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stops a run whose loss became NaN or infinite, before anything is saved, and names the samples of the batch."""

    priority = "VERY_HIGH"

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        wrong = {k: v for k, v in numbers(outputs).items() if not math.isfinite(v)}
        if not wrong:
            return
        tokens = list(_tokens(data_batch))
        report = {
            "iter": runner.iter + 1,
            "epoch": runner.epoch + 1,
            "losses": {k: str(v) for k, v in wrong.items()},
            "samples": tokens,
        }
        file = Path(runner.work_dir, "nonfinite_loss.json")
        write_text(file, json.dumps(report, indent=1))
        parts = ", ".join(f"{k} is {v}" for k, v in wrong.items())
        raise NonFiniteLossError(
            f"step {runner.iter + 1}: {parts}, expected finite losses; samples of the batch: "
            f"{', '.join(tokens) or 'unnamed'} ({file}); no checkpoint was written after it"
        )


def numbers(outputs: Mapping[str, Any] | None) -> dict[str, float]:
    """A step's logged values as floats."""
    return {k: float(v.detach() if isinstance(v, torch.Tensor) else v) for k, v in (outputs or {}).items()}


def _tokens(batch: Any) -> Iterator[str]:
    """Names of the samples in a batch: token, sample index or file, whichever the data set gives."""
    samples = batch.get("data_samples") if isinstance(batch, Mapping) else batch
    for sample in samples if isinstance(samples, list | tuple) else []:
        sample = sample.get("data_samples", sample) if isinstance(sample, Mapping) else sample
        meta = getattr(sample, "metainfo", sample)
        if isinstance(meta, Mapping):
            name = next(
                (meta[k] for k in ("token", "sample_token", "sample_idx", "lidar_path", "img_path") if k in meta), None
            )
            if name is not None:
                yield str(name)


@HOOKS.register_module()
class NeutralValidationHook(Hook):
    """Validation judges what is saved, and leaves the random generators as they were.

    A run that is resumed past a validation then trains on identically. Running statistics are those of rank 0.
    """

    priority = "VERY_HIGH"

    def before_val(self, runner: Runner) -> None:
        runner.training_randomness = random_state()
        if get_world_size() > 1:
            for buffer in runner.model.buffers():
                broadcast(buffer)

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        restore_random_state(runner.training_randomness)
        runner.training_randomness = None
        if isinstance(getattr(runner, "_train_loop", None), dict | type(None)):
            return
        runner.message_hub.update_info("epoch_validated", runner.epoch)
        runner.message_hub.update_info("iter_validated", runner.iter)


@HOOKS.register_module()
class SummaryHook(Hook):
    """Times every training step, data included, and writes ``summary.json`` into the work folder at the end.

    Keys: ``steps``, ``median_step_s``, ``median_data_s``, ``wall_s`` of this process, ``total_iters``, ``losses``
    (means over the last ten steps) and ``metrics`` of the last validation.
    """

    priority = "LOW"

    def before_train(self, runner: Runner) -> None:
        self._start = time.perf_counter()
        self._steps: list[float] = []
        self._loads: list[float] = []
        self._losses: list[dict] = []
        self._metrics: dict = {}

    def before_train_epoch(self, runner: Runner) -> None:
        self._last = time.perf_counter()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._loads.append(time.perf_counter() - self._last)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if outputs:
            self._losses = [*self._losses[-9:], numbers(outputs)]
        now = time.perf_counter()
        self._steps.append(now - self._last)
        self._last = now

    def before_val(self, runner: Runner) -> None:
        self._val_start = time.perf_counter()

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        if not hasattr(self, "_steps"):
            return
        self._metrics = {k: float(v) for k, v in (metrics or {}).items() if isinstance(v, int | float)}
        self._last = time.perf_counter()

    def after_train(self, runner: Runner) -> None:
        losses = {k: statistics.fmean(s[k] for s in self._losses if k in s) for k in (self._losses or [{}])[-1]}
        summary = {
            "steps": len(self._steps),
            "median_step_s": statistics.median(self._steps) if self._steps else None,
            "median_data_s": statistics.median(self._loads) if self._loads else None,
            "wall_s": time.perf_counter() - self._start,
            "total_iters": runner.iter,
            "losses": losses,
            "metrics": self._metrics,
        }
        if is_main_process():
            write_text(Path(runner.work_dir, "summary.json"), json.dumps(summary, indent=1))
        if self._steps:
            runner.logger.info(
                f"{summary['steps']} steps in {summary['wall_s']:.0f} s, median step {summary['median_step_s']:.3f} s "
                f"({summary['median_data_s']:.3f} s of it waiting for data)"
            )

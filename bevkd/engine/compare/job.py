"""One training of a comparison with its scores, as a process of its own that may be killed at any time.

A teacher that is trained already is scored alone.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from bevkd.engine.build import build_runner
from bevkd.engine.checkpoint import find_latest, write_text
from bevkd.engine.config import apply_flags, changed_lines, load_config, merge_options
from bevkd.engine.testing import score_checkpoint
from bevkd.errors import ConfigError, DataError
from bevkd.structures.sums import sha256

JOB, CONFIG, RESULT, PROGRESS, LOG = "job.json", "config.txt", "result.json", "progress.json", "log.txt"


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        name: unique in its comparison; the folder below the comparison's own.
        work_dir: that folder.
        config: recipe.
        seed: of weights, sample order and augmentation.
        options: changes of the recipe, as of ``--cfg-options``.
        data_root: folder that the recipe is pointed at; None leaves the recipe's own.
        unseen_root: folder with scenes on which the result is scored as well; None for none.
        teacher: the work folder of the job that trains the teacher.
        teacher_key: where the recipe names the teacher's checkpoint.
        checkpoint: weights that are there already, to be scored without any training; None trains.
    """

    name: str
    work_dir: str
    config: str
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    data_root: str | None = None
    unseen_root: str | None = None
    teacher: str | None = None
    teacher_key: str = "model.teacher.checkpoint"
    checkpoint: str | None = None

    def resolve(self) -> Config:
        """The recipe with everything that the job changes in it.

        Raises:
            ConfigError: see :func:`bevkd.engine.load_config`. DataError: no such data folder.
        """
        cfg = load_config(self.config)
        teacher = {self.teacher_key: self._teacher_checkpoint()} if self.teacher else {}
        merge_options(cfg, {**self.options, **teacher})
        apply_flags(cfg, work_dir=self.work_dir, data_root=self.data_root, seed=self.seed)
        return cfg

    def settings(self) -> str:
        """Everything that decides the job's result, a line ``dotted.key = value`` each."""
        content = {**self.resolve().to_dict(), "unseen_root": self.unseen_root}
        if self.teacher:
            content["teacher_sha256"] = sha256(self._teacher_checkpoint())
        if self.checkpoint:
            content |= {"checkpoint": self.checkpoint, "checkpoint_sha256": sha256(self.checkpoint)}
        return "\n".join(_lines(content)) + "\n"

    def _teacher_checkpoint(self) -> str:
        result = read_result(self.teacher)
        return result["checkpoint"] if result else str(Path(self.teacher, "checkpoint of a training to come"))


def _lines(node: Any, name: str = "") -> Iterator[str]:
    if not isinstance(node, Mapping | list | tuple) or not node:
        yield f"{name} = {node!r}"
        return
    for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        yield from _lines(value, f"{name}.{key}" if name else str(key))


def read_result(work_dir: str | Path) -> dict | None:
    """What a finished job found: ``seen`` and ``unseen`` scores by name, ``checkpoint``, ``step_s``, ``wall_s``.

    None for a job that is not finished.

    Raises:
        DataError: a result file that cannot be read.
    """
    file = Path(work_dir, RESULT)
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}), expected a job's result: remove it to score again") from None


def write_job(job: Job) -> None:
    """Write down what ``job`` is to do; a folder in which something else was begun is refused.

    Raises:
        ConfigError: see :func:`require_settings`.
    """
    text = require_settings(job)
    folder = Path(job.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, text)
    write_text(folder / JOB, json.dumps(asdict(job), indent=1))


def require_settings(job: Job) -> str:
    """The job's settings, which must be those that its folder was begun with, if it was.

    Raises:
        ConfigError: the folder holds a job with other settings, some of which are named.
    """
    folder = Path(job.work_dir)
    text = job.settings()
    begun = folder / CONFIG
    if begun.is_file():
        changes = changed_lines(_sorted_lines(begun.read_text()), _sorted_lines(text), shown=6)
        if changes:
            raise ConfigError(
                f"{folder} holds {'a finished' if read_result(folder) else 'a begun'} training with other settings "
                f"({'; '.join(line.strip() for line in changes)}), expected the same: remove the folder, or name "
                "another --out"
            )
    return text


def _sorted_lines(text: str) -> str:
    """A recipe whose keys were only put into another order is the same."""
    return "\n".join(sorted(text.splitlines()))


def run_job(folder: str | Path) -> dict:
    """Do, or go on with, the job that :func:`write_job` left in ``folder``; its result.

    Raises:
        DataError: no job there; ConfigError, CheckpointError: see training and testing.
    """
    try:
        job = Job(**json.loads(Path(folder, JOB).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{Path(folder, JOB)} cannot be read ({error}), expected a job of tools/compare.py") from None
    if (result := read_result(folder)) is not None:
        return result
    summary = _train(job) if job.checkpoint is None else {"metrics": score_checkpoint(job.resolve(), job.checkpoint)}
    checkpoint = job.checkpoint or str(find_latest(folder))
    unseen = None
    if job.unseen_root is not None:
        cfg = job.resolve()
        apply_flags(cfg, work_dir=str(Path(folder, "unseen")), data_root=job.unseen_root)
        unseen = score_checkpoint(cfg, checkpoint)
    result = {
        "seen": summary["metrics"],
        "unseen": unseen,
        "checkpoint": checkpoint,
        "step_s": summary.get("median_step_s"),
        "steps": summary.get("total_iters", 0),
        "wall_s": summary.get("wall_s", 0.0),
        "losses": summary.get("losses", {}),
    }
    write_text(Path(folder, RESULT), json.dumps(result, indent=1))
    return result


def _train(job: Job) -> dict:
    """Train to the end unless that is done; ``summary.json`` appears after the last validation."""
    summary = Path(job.work_dir, "summary.json")
    if not summary.is_file():
        cfg = job.resolve()
        apply_flags(cfg, resume="auto" if Path(job.work_dir, "last_checkpoint").exists() else None)
        cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), {"type": HeartbeatHook.__name__}]
        build_runner(cfg).train()
    return json.loads(summary.read_text())


@HOOKS.register_module()
class HeartbeatHook(Hook):
    """Leaves how far a training is in ``progress.json``, and ends it in order when whoever started it is gone."""

    priority = "LOW"

    def before_train(self, runner: Runner) -> None:
        self._parent, self._next = os.getppid(), 0.0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 2.0
        Path(runner.work_dir, PROGRESS).write_text(json.dumps({"done": (runner.iter + 1) / runner.max_iters}))
        if os.getppid() != self._parent:
            os.kill(os.getpid(), signal.SIGTERM)


def read_progress(work_dir: str | Path) -> float:
    """The share of a job's steps that are done, from 0 to 1."""
    try:
        return float(json.loads(Path(work_dir, PROGRESS).read_text())["done"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0

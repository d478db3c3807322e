"""Works through a comparison: each training in its own process, what is finished is never done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from bevkd.engine.checkpoint import remove_partials
from bevkd.engine.compare.fairness import require_fair
from bevkd.engine.compare.grid import Grid
from bevkd.engine.compare.job import LOG, Job, read_progress, read_result, require_settings, write_job
from bevkd.engine.compare.world import make_world
from bevkd.engine.hooks import TERMINATED
from bevkd.engine.lock import WorkDirLock
from bevkd.errors import BevkdError, ConfigError

_POLL = 0.5  # seconds
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class JobError(BevkdError):
    """Trainings of a comparison failed."""


@dataclass
class Running:
    """A job's process."""

    job: Job
    process: subprocess.Popen
    start: float

    def tail(self) -> str:
        """The last words of its log."""
        lines = Path(self.job.work_dir, LOG).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing was printed"


def start_job(job: Job, threads: int | None = None, log: IO | None = None) -> subprocess.Popen:
    """Start a job's process; ``log`` takes what it prints, None leaves that to this process's own output.

    Raises:
        ConfigError: see :func:`bevkd.engine.compare.job.write_job`.
    """
    write_job(job)
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(threads))} if threads else None
    command = [sys.executable, "-m", "bevkd.engine.compare", job.work_dir]
    # A session of its own: Ctrl-C reaches the comparison alone, which then ends its jobs in order.
    return subprocess.Popen(
        command, stdout=log, stderr=log and subprocess.STDOUT, env=environment, start_new_session=True
    )


def require_unchanged(grid: Grid, out: str | Path) -> None:
    """What is finished below ``out`` must have been trained with the settings that ``grid`` has now.

    Raises:
        ConfigError: naming the folder and what changed.
    """
    for job in grid.jobs(out):
        if read_result(job.work_dir) is not None:
            require_settings(job)


def run_grid(
    grid: Grid,
    out: str | Path,
    jobs: int = 1,
    threads: int | None = None,
    report: Callable[[], Any] = lambda: None,
) -> None:
    """Train and score everything of ``grid`` that is not finished yet below ``out``.

    A job that was killed goes on from its last checkpoint. A failed one does not stop those that need not wait for
    it. SIGTERM and Ctrl-C end the running ones after their step, with a checkpoint. Finished ones are taken as they
    are, see :func:`require_unchanged`.

    Args:
        jobs: trainings at a time. threads: of each; None leaves it to the libraries.
        report: called at the start and whenever a job is finished.

    Raises:
        ConfigError: an unfair arm, other settings than the folder was begun with, another run in it, ``jobs`` < 1.
        JobError: trainings that failed, once all others are done.
    """
    if jobs < 1 or (threads is not None and threads < 1):
        raise ConfigError(f"--jobs {jobs} and --threads {threads} must be at least 1")
    lock = WorkDirLock(out, "the comparison", "--out")
    lock.acquire()
    try:
        remove_partials(out)
        for world in (grid.world, grid.unseen):
            if world is not None:
                make_world(world.root, world.synthetic, world.maker)
        require_fair(grid, out)
        report()
        _work(grid.jobs(out), jobs, threads, report)
    finally:
        lock.release()


def _work(todo: Sequence[Job], jobs: int, threads: int | None, report: Callable[[], Any]) -> None:
    waiting = [job for job in todo if read_result(job.work_dir) is None]
    running: list[Running] = []
    failed: dict[str, str] = {}
    with _display(len(todo), len(todo) - len(waiting)) as show, _ending_in_order(running):
        while waiting or running:
            while len(running) < jobs and (job := _next_ready(waiting)) is not None:
                waiting.remove(job)
                running.append(_start(job, threads))
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                result = read_result(one.job.work_dir)
                if result is None:
                    failed[one.job.work_dir] = f"{one.job.name} left with code {one.process.returncode}: {one.tail()}"
                    show.failed(failed[one.job.work_dir])
                else:
                    show.finished(one, result)
                    report()
            blocked = [job for job in waiting if job.teacher in failed]
            failed.update({job.work_dir: f"{job.name} has no teacher" for job in blocked})
            waiting = [job for job in waiting if job not in blocked]
            show.update(running)
            time.sleep(_POLL)
    if failed:
        raise JobError(f"{len(failed)} trainings failed: {'; '.join(failed.values())}")


def _next_ready(waiting: Sequence[Job]) -> Job | None:
    return next((job for job in waiting if job.teacher is None or read_result(job.teacher) is not None), None)


def _start(job: Job, threads: int | None) -> Running:
    Path(job.work_dir).mkdir(parents=True, exist_ok=True)
    with open(Path(job.work_dir, LOG), "a") as log:
        return Running(job, start_job(job, threads, log), time.monotonic())


@contextmanager
def _ending_in_order(running: list[Running]) -> Iterator[None]:
    """On the way out, however that happens, no job is left behind; SIGTERM becomes a way out."""
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(TERMINATED))
    try:
        yield
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.wait()
        if before is not None:
            signal.signal(signal.SIGTERM, before)


class _Display:
    """A bar for the whole and one for each running job on a terminal; a line for each finished job everywhere."""

    def __init__(self, progress: Any, total: int, done: int) -> None:
        self.progress, self.total, self.done, self.begin = progress, total, done, done
        self.start = time.monotonic()
        self.whole = progress.add_task("comparison", total=total, completed=done)
        self.tasks: dict[str, Any] = {}

    def update(self, running: Sequence[Running]) -> None:
        shares = {one.job.name: read_progress(one.job.work_dir) for one in running}
        for name, share in shares.items():
            if name not in self.tasks:
                self.tasks[name] = self.progress.add_task(name, total=1.0)
            self.progress.update(self.tasks[name], completed=share)
        for name in self.tasks.keys() - shares.keys():
            self.progress.remove_task(self.tasks.pop(name))
        self.progress.update(self.whole, completed=self.done + sum(shares.values()))

    def finished(self, one: Running, result: dict) -> None:
        self.done += 1
        spent = time.monotonic() - self.start
        left = timedelta(seconds=round(spent / (self.done - self.begin) * (self.total - self.done)))
        scores = ", ".join(f"{key} {value:.4f}" for key, value in list(result["seen"].items())[:2])
        took = timedelta(seconds=round(time.monotonic() - one.start))
        self._say(f"[{self.done}/{self.total}] {one.job.name}: {scores} ({took}; about {left} left)")

    def failed(self, sentence: str) -> None:
        self._say(f"FAILED {sentence}")

    def _say(self, line: str) -> None:
        self.progress.console.print(
            f"{time.strftime('%H:%M:%S')} {line}", highlight=False, markup=False, soft_wrap=True
        )


@contextmanager
def _display(total: int, done: int) -> Iterator[_Display]:
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    eta = (TextColumn("eta"), TimeRemainingColumn())
    with Progress(*columns, *eta, speed_estimate_period=1800.0, disable=not sys.stdout.isatty()) as progress:
        yield _Display(progress, total, done)

"""Two processes as one gloo group: functions in forked ones, which import nothing again, and tools by torchrun."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

REPOSITORY = Path(__file__).resolve().parents[1]


def torchrun(tool: str, *words: Any, options: tuple = (), **variables: str) -> tuple[int, str]:
    """Run a tool as two processes under torchrun; exit code and all that was printed."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *options]
    return call(*launcher, REPOSITORY / "tools" / f"{tool}.py", *words, "--launcher", "pytorch", **variables)


def call(*command: Any, **variables: str) -> tuple[int, str]:
    """Run a command from the repository, which must not hang; exit code and all that was printed."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **variables}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    run = subprocess.Popen(list(map(str, command)), cwd=REPOSITORY, env=environment, start_new_session=True, **pipes)
    try:
        out, _ = run.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        pytest.fail(f"the processes hang: {run.communicate()[0]}")
    return run.returncode, out


def run_ranks(function: Callable[..., Any], folder: Path, *args: Any, ranks: int = 2, seconds: float = 120) -> list:
    """``function(rank, *args)`` on every rank; what each returned (tensors in builtin containers), in order."""
    assert rank_exits(function, folder, *args, ranks=ranks, seconds=seconds) == [0] * ranks
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def rank_exits(
    function: Callable[..., Any], folder: Path, *args: Any, ranks: int = 2, seconds: float = 120
) -> list[int]:
    """Exit codes of the ranks, negative for a signal; ranks that hang fail the test."""
    torch.set_num_threads(1)  # a child forked from a process whose OpenMP threads run would hang
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_rank, args=(r, ranks, folder, function, args)) for r in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(seconds)
    hanging = [rank for rank, process in enumerate(processes) if process.is_alive()]
    for rank in hanging:
        processes[rank].kill()
    if hanging:
        pytest.fail(f"ranks {hanging} hang")
    return [process.exitcode for process in processes]


def _rank(rank: int, ranks: int, folder: Path, function: Callable[..., Any], args: tuple) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    torch.save(function(rank, *args), folder / f"{rank}.pt")
    dist.destroy_process_group()

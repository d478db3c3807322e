"""Functions that two processes run as one gloo group; forked, so that nothing is imported again."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist


def run_ranks(function: Callable[..., Any], folder: Path, *args: Any, ranks: int = 2, seconds: float = 120) -> list:
    """``function(rank, *args)`` on every rank; what each returned (tensors in builtin containers), in order."""
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
    assert [process.exitcode for process in processes] == [0] * ranks
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def _rank(rank: int, ranks: int, folder: Path, function: Callable[..., Any], args: tuple) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    torch.save(function(rank, *args), folder / f"{rank}.pt")
    dist.destroy_process_group()

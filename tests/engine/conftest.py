"""Toy runs, quietly, in this process or in a forked one that may be killed."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # a child forked from a process whose OpenMP threads run would hang


@pytest.fixture
def in_child() -> Callable[..., int]:
    """Run a function in a forked process; returns its exit code, negative for a signal."""

    def run(function: Callable, *args) -> int:
        process = multiprocessing.get_context("fork").Process(target=_silently, args=(function, *args))
        process.start()
        process.join(60)
        if process.is_alive():
            process.kill()
            pytest.fail(f"{function.__name__} hangs")
        return process.exitcode

    return run


def _silently(function: Callable, *args) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    function(*args)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What the modules say through mmengine's print_log."""
    lines: list[str] = []
    for module in ("data_root", "sampling"):
        monkeypatch.setattr(f"bevkd.engine.{module}.print_log", lambda text, *args: lines.append(text))
    return lines

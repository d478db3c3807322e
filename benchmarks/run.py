"""Runs families of rows and gathers what a reader needs to judge the numbers: hardware, versions, copy rate."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import bevkd
from benchmarks.determinism import repeatable
from benchmarks.harness import Result, copy_rate, measure, threads
from bevkd.errors import ConfigError

_REPEATS = {"cpu": 20, "cuda": 200}
_PEERS = ("torch", "numba", "numpy", "spconv-cu120", "spconv-cu126", "conch")


@dataclass
class Report:
    """One run: ``machine`` describes it, ``results`` holds a list of rows per family."""

    machine: dict
    results: dict[str, list[Result]] = field(default_factory=dict)
    repeatable: dict[str, dict[str, bool]] = field(default_factory=dict)


def run_families(families: Sequence[str], device_name: str, counts: Sequence[int], repeats: int | None) -> Report:
    """Time every row of ``families`` and print each as it is done.

    Raises:
        ConfigError: a device that is not there, or a count that is not positive.
    """
    if device_name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device is cuda, but torch finds no GPU")
    repeats = _REPEATS[device_name] if repeats is None else repeats
    if repeats < 1 or min(counts) < 1:
        raise ConfigError(f"--repeats {repeats} and --threads {list(counts)} must be at least 1")
    device = torch.device(device_name)
    counts = counts if device_name == "cpu" else counts[:1]
    rates = {}
    for count in counts:
        with threads(count):
            rates[count] = copy_rate(device)
    report = Report(machine(device, rates, repeats))
    for family in families:
        module = import_module(f"benchmarks.rows.{family}")
        report.results[family] = []
        for row in module.rows(device):
            for count in counts:
                result = measure(row, count, repeats, rates[count], device)
                report.results[family].append(result)
                print(_line(result), file=sys.stderr, flush=True)
            report.repeatable.setdefault(family, {})[f"{row.op}, {row.case}"] = repeatable(row.candidates[0], device)
    return report


def _line(result: Result) -> str:
    parts = [f"{name} {timing.wall:.2f} ms" for name, timing in result.timings.items()]
    parts += [f"{name}: {reason}" for name, reason in result.failures.items()]
    return f"{result.op} ({result.case}) on {result.threads} thread(s): " + ", ".join(parts)


def machine(device: torch.device, rates: dict[int, float], repeats: int) -> dict:
    """What a reader needs to judge the numbers of this run."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": device.type,
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "bevkd": bevkd.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: found for name in _PEERS if (found := _version(name))},
        "copy_gb_per_s": {str(count): round(rate / 1e9, 2) for count, rate in rates.items()},
        "repeats": repeats,
        "command": " ".join(["python", *sys.argv]),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    name = names[0].partition(":")[2].strip() if names else platform.processor() or "unknown CPU"
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}, {len(names) or '?'} cores"


def _commit() -> str | None:
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

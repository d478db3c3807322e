"""Times candidates side by side: gated by correctness, interleaved, medians, ratios first.

A candidate that does not give the right result gets no time. All candidates of a row run in turn (A B C A B C ...) on
the same tensors in one process, so that a busy neighbour slows all of them alike.
"""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

OURS = "bevkd"
_WARM_UP = 2
# A candidate that has taken this long rests after its third sample: the slowest peer must not cost half an hour.
_SECONDS, _LEAST_SAMPLES = 6.0, 3


@dataclass
class Candidate:
    """One implementation: ``run()`` does the work, ``check(run())`` raises AssertionError when the result is wrong."""

    name: str
    run: Callable[[], Any]
    check: Callable[[Any], None]


@dataclass
class Row:
    """One line of the table.

    Attributes:
        op: name of the op; with ``case`` the key of its goals.
        case: shape and mode in words.
        floor_bytes: each input read once, each output written once.
        candidates: the first one is bevkd's.
    """

    op: str
    case: str
    floor_bytes: int
    candidates: list[Candidate]


@dataclass
class Timing:
    """Milliseconds. ``cpu`` is the process's CPU time over all threads: less disturbed than wall time on a busy box."""

    wall: float
    wall_min: float
    wall_max: float
    cpu: float
    repeats: int


@dataclass
class Result:
    """A measured row: per candidate a timing, or the reason why it has none."""

    op: str
    case: str
    device: str
    threads: int
    floor_bytes: int
    floor_ms: float
    timings: dict[str, Timing] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    peak_mb: float | None = None

    def ratio(self, peer: str, kind: str = "wall") -> float | None:
        """How many times longer the peer takes; None where one of the two has no time."""
        if peer not in self.timings or OURS not in self.timings:
            return None
        return getattr(self.timings[peer], kind) / getattr(self.timings[OURS], kind)

    def as_dict(self) -> dict:
        ratios = {name: round(self.ratio(name), 3) for name in self.timings if name != OURS and OURS in self.timings}
        return {**asdict(self), "ratio_of_medians": ratios}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run torch and numba on ``count`` threads."""
    import numba

    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(count)
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])


def copy_rate(device: torch.device, megabytes: int = 256, repeats: int = 15) -> float:
    """Bytes per second that ``copy_`` reads and writes now, the median of ``repeats``."""
    source = torch.rand(megabytes * 2**18, device=device)
    target = torch.empty_like(source)
    times = [once(lambda: target.copy_(source), device)[0] for _ in range(repeats)]
    return 2 * source.numel() * 4 / statistics.median(times)


def measure(row: Row, count: int, repeats: int, rate: float, device: torch.device) -> Result:
    """Check every candidate of a row, then time the right ones in turn on ``count`` threads."""
    result = Result(row.op, row.case, device.type, count, row.floor_bytes, row.floor_bytes / rate * 1e3)
    with threads(count):
        right = []
        for candidate in row.candidates:
            try:
                candidate.check(candidate.run())
                right.append(candidate)
            except AssertionError as error:
                result.failures[candidate.name] = str(error).strip().splitlines()[0] if str(error) else "wrong result"
        samples = _interleaved(right, repeats, device)
        for name, pairs in samples.items():
            wall, cpu = ([1e3 * value for value in column] for column in zip(*pairs))
            result.timings[name] = Timing(
                statistics.median(wall), min(wall), max(wall), statistics.median(cpu), len(wall)
            )
        if right and right[0].name == OURS:
            result.peak_mb = peak_megabytes(right[0].run, device)
    return result


def _interleaved(
    candidates: list[Candidate], repeats: int, device: torch.device
) -> dict[str, list[tuple[float, float]]]:
    samples: dict[str, list[tuple[float, float]]] = {candidate.name: [] for candidate in candidates}
    for number in range(repeats + _WARM_UP):
        for candidate in candidates:
            taken = samples[candidate.name]
            if len(taken) >= _LEAST_SAMPLES and sum(wall for wall, _ in taken) > _SECONDS:
                continue
            sample = once(candidate.run, device)
            if number >= _WARM_UP:
                taken.append(sample)
    return samples


def once(run: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """Seconds of wall time (on a GPU between two events) and of the process's CPU time for one call."""
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3, 0.0
    cpu, wall = time.process_time(), time.perf_counter()
    kept = run()
    passed = time.perf_counter() - wall, time.process_time() - cpu
    del kept  # freeing is not timed: it belongs to the caller's allocator
    return passed


def peak_megabytes(run: Callable[[], Any], device: torch.device) -> float | None:
    """Peak memory above what was held before the call: torch's on a GPU, the process's resident set on Linux."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # memory freed by earlier calls must not serve this one unseen
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = _status_kb("VmRSS")
        kept = run()
        peak = _status_kb("VmHWM")
    except OSError:
        return None
    del kept
    return max(0.0, (peak - before) / 1024)


def _status_kb(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {key}")

"""Data workers that never make a run hang: what they cannot hand over by shared memory goes through a pipe.

torch pickles a batch in a thread of the worker's queue. An error there, such as a /dev/shm that is full (Docker gives
containers 64 MB), loses the batch, and the run waits for it for ever. Here the worker pickles the batch itself, so that
an error reaches the run like that of any sample, and a tensor without room in shared memory is sent as bytes.
"""

from __future__ import annotations

import io
import logging
import multiprocessing.queues
import os
import pickle
import re
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from mmengine.logging import print_log
from torch.multiprocessing.reductions import reduce_storage
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from bevkd.errors import BevkdError
from bevkd.structures.quiet import quieten

SHARED = "/dev/shm"
_DIED = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (exited unexpectedly|is killed by signal: \w[\w ]*)")
_MARGIN = 1 << 20  # bytes of /dev/shm that batches leave free: every lock of a worker takes a page there
_CONTAINER = "--shm-size=8g or --ipc=host"


class WorkerError(BevkdError):
    """A process that loads data died, or could not be started."""


def guard_workers(loader: DataLoader) -> DataLoader:
    """Change a loader so that its workers hand over every batch or end; it yields the same batches.

    The price of a full /dev/shm is a copy of each batch through a pipe, which one warning tells. Batches of a loader
    without workers are not touched.

    Raises:
        WorkerError: /dev/shm has no room for the workers' locks.
    """
    if loader.num_workers and _free() < _MARGIN:
        raise WorkerError(
            f"{SHARED}{_size()} has no room for the locks of {loader.num_workers} data workers, expected 1 MiB; "
            f"what helps: num_workers=0, or for a container {_CONTAINER}"
        )
    loader.collate_fn = _Collate(loader.collate_fn)
    loader.worker_init_fn = _Start(loader.worker_init_fn)
    return loader


@contextmanager
def worker_errors() -> Iterator[None]:
    """Turn torch's errors about dead workers into one sentence.

    Raises:
        WorkerError: a worker was killed or ended by itself.
    """
    try:
        try:
            yield
        except (ConnectionError, EOFError) as error:  # a worker that dies may first be felt as a broken pipe
            if (death := _death_behind(error)) is None:
                raise
            raise RuntimeError(death) from error
    except RuntimeError as error:
        match = _DIED.search(f"{error.__cause__} {error}")  # the cause knows the signal
        if match is None:
            raise
        raise WorkerError(
            f"data worker {match[1]} {match[2].replace('is killed', 'was killed')}; expected it to load samples to the "
            f"end: a kill mostly means too little memory, so take fewer workers (num_workers) or a smaller batch; "
            f"num_workers=0 shows an error of its own"
        ) from error


def _death_behind(error: Exception) -> str | None:
    """The worker whose death broke the pipe that ``error`` tells of, in torch's words; None where none died.

    torch itself may have told it already, to a destructor that happened to run, whose errors nobody sees.
    """
    holders = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
    iterator = next((holder for holder in holders if isinstance(holder, _MultiProcessingDataLoaderIter)), None)
    deadline = time.monotonic() + 5.0
    while iterator is not None and time.monotonic() < deadline:
        for worker in iterator._workers:
            if worker.exitcode:
                killed = worker.exitcode < 0
                how = f"is killed by signal: {signal.strsignal(-worker.exitcode)}" if killed else "exited unexpectedly"
                return f"DataLoader worker (pid {worker.pid}) {how}"
        time.sleep(0.05)
    return None


class _Collate:
    """Calls ``collate`` and, in a worker, pickles the batch."""

    def __init__(self, collate: Callable) -> None:
        self.collate = collate

    def __call__(self, samples: list) -> Any:
        batch = self.collate(samples)
        return batch if get_worker_info() is None else _Packed(batch)


class _Start:
    """Calls ``init`` in a new worker, after making an error of its queue fatal: the run notices a death in seconds."""

    def __init__(self, init: Callable | None) -> None:
        self.init = init

    def __call__(self, worker: int) -> None:
        quieten()  # a spawned process has none of the run's filters
        multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_leave)
        if self.init is not None:
            self.init(worker)


def _leave(error: Exception, _item: Any) -> None:
    traceback.print_exception(error)
    os._exit(1)


class _Packed:
    """A pickled batch, which is the batch again where it is unpickled."""

    def __init__(self, batch: Any) -> None:
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, pickle.HIGHEST_PROTOCOL)
        pickler.dump(batch)
        self.content, self.piped = buffer.getvalue(), pickler.piped

    def __reduce__(self) -> tuple:
        return _unpack, (self.content, self.piped)


class _Pickler(ForkingPickler):
    """Pickles tensors into shared memory and, where that has no room, into the pickle itself.

    Attributes:
        piped: bytes of the latter.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.piped = 0
        self.dispatch_table[torch.UntypedStorage] = self._reduce

    def _reduce(self, storage: torch.UntypedStorage) -> tuple:
        if storage.device.type != "cpu" or not storage.nbytes():
            return reduce_storage(storage)
        try:
            if _free() - storage.nbytes() > _MARGIN:
                return reduce_storage(storage)
        except (RuntimeError, OSError):
            pass  # other workers took the room, or there are too many open files
        self.piped += storage.nbytes()
        content = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
        return _restore, (pickle.PickleBuffer(content),)


def _restore(content: bytearray) -> torch.UntypedStorage:
    return torch.frombuffer(content, dtype=torch.uint8).untyped_storage()


def _unpack(content: bytes, piped: int) -> Any:
    if piped:
        _warn_once(piped)
    return pickle.loads(content)


def _warn_once(piped: int) -> None:
    if not _warn_once.done:
        _warn_once.done = True
        print_log(
            f"{SHARED}{_size()} has no room for the waiting batches of the data workers ({piped / 2**20:.2g} MiB of "
            f"this one): they go through a pipe, which is slower; what helps: fewer workers "
            f"(num_workers), a smaller batch, or for a container {_CONTAINER}",
            "current",
            logging.WARNING,
        )


_warn_once.done = False


def _free() -> float:
    """Bytes that are free in /dev/shm; infinite on a system without it."""
    try:
        return shutil.disk_usage(SHARED).free
    except OSError:
        return float("inf")


def _size() -> str:
    if not os.path.isdir(SHARED):
        return ""
    usage = shutil.disk_usage(SHARED)
    return f" ({usage.total / 2**20:.3g} MiB, {usage.free / 2**20:.3g} free)"

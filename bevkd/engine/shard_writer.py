"""Writing a teacher cache a shard at a time, whole or not at all."""

from __future__ import annotations

import errno
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from torch import Tensor

from bevkd.distill.cache.shards import PATTERN, encode_shard
from bevkd.engine.checkpoint import write_bytes
from bevkd.errors import DataError


class ShardWriter:
    """Gathers samples and writes them a shard at a time, with rate and ETA: live on a terminal, else a line a shard.

    Args:
        out: the cache's folder, locked by the caller; shards there are kept.
        key: digest that each shard carries.
        total: number of samples to come.
        shard_bytes: a shard is written when it holds as much.
    """

    def __init__(self, out: Path, key: str, total: int, shard_bytes: int) -> None:
        self.out, self.key, self.total, self.shard_bytes = out, key, total, shard_bytes
        numbers = [int(path.stem.partition("_")[2]) for path in out.glob(PATTERN)]
        self.number = max(numbers, default=-1) + 1
        self.samples: dict[str, dict[str, Tensor]] = {}
        self.bytes, self.seen, self.start = 0, 0, time.monotonic()

    def add(self, token: str, record: dict[str, Tensor]) -> None:
        """Take one sample.

        Raises:
            DataError: see :meth:`flush`.
        """
        self.samples[token] = record
        self.bytes += nbytes(record)
        self.seen += 1
        if self.bytes >= self.shard_bytes:
            self.flush()
        elif sys.stdout.isatty():
            print(f"\r{self._progress()}", end="", flush=True)

    def flush(self) -> None:
        """Write what was gathered; the disk then holds the whole shard or nothing of it.

        Raises:
            DataError: a disk that is full or cannot be written.
        """
        if not self.samples:
            return
        path = self.out / PATTERN.replace("*", f"{self.number:06d}")
        try:
            write_bytes(path, encode_shard(self.samples, self.key))
        except OSError as error:
            free = shutil.disk_usage(self.out).free / 1e6
            room = f" ({self.bytes / 1e6:.3g} MB needed, {free:.3g} MB free)" if error.errno == errno.ENOSPC else ""
            raise DataError(
                f"{path} cannot be written: {error.strerror}{room}; the shards before it are whole, and the same "
                "command goes on from them"
            ) from error
        self.number, self.samples, self.bytes = self.number + 1, {}, 0
        print(f"\r{self._progress()}" if sys.stdout.isatty() else self._progress(), flush=True)

    def _progress(self) -> str:
        rate = self.seen / max(time.monotonic() - self.start, 1e-9)
        eta = timedelta(seconds=round((self.total - self.seen) / rate))
        return f"{self.seen} of {self.total} samples, {rate:.2g} a second, eta {eta}"


def nbytes(record: Mapping[str, Tensor]) -> int:
    """Bytes of one sample's parts."""
    return sum(part.nbytes for part in record.values())

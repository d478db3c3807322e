"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of ``path``, on the disk itself, when the block ends without error.

    Its folder is made. Until then the name holds the old file, and after an error nothing of the new one is left.

    Raises:
        OSError: a full or read-only disk; it names ``path``.
    """
    path = Path(path)
    partial = partial_name(path)
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def partial_name(path: Path) -> Path:
    """Where a process writes ``path`` until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


@contextmanager
def named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give an OSError that does not tell which file it is about, as one of a write, the name ``path``."""
    try:
        yield
    except OSError as error:
        unnamed = error.filename is None or str(error.filename) == str(partial_name(Path(path)))
        if unnamed and error.errno is not None:
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


def sync_folder(folder: Path) -> None:
    """Make renames durable. Some network file systems refuse to open folders: then they order renames themselves."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)

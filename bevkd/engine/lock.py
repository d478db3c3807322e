"""One run per folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path

from bevkd.errors import ConfigError

LOCK = ".bevkd.lock"
_GRACE = 10.0  # seconds: data workers of a killed run notice its death within about five


class WorkDirLock:
    """Holds ``work_dir`` against a second run, and names the first one's process and host when it is held.

    Args:
        work_dir: the folder. name, flag: what it and its option are called, for error sentences.

    The operating system drops the lock when its process ends in any way, so what a dead process left is taken over.

    Raises:
        ConfigError: from :meth:`acquire`: the folder is held by another run, cannot be made or is not writable.
    """

    def __init__(self, work_dir: str | Path, name: str = "work_dir", flag: str = "--work-dir") -> None:
        self.path = Path(work_dir) / LOCK
        self._name, self._flag = name, flag
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock, or refuse."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(
                f"{self._name} {self.path.parent} cannot be written: {error.strerror}; expected a writable folder"
            ) from error
        try:
            self._wait_for(handle)
        except BaseException:
            os.close(handle)
            raise
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """Give the folder back; harmless when it is not held."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)  # the file stays: removing it would let two runs lock two files of one name
            fcntl.flock(self._handle, fcntl.LOCK_UN)  # data workers share the handle, closing alone would not do
            os.close(self._handle)
            self._handle = None

    def _wait_for(self, handle: int) -> None:
        deadline = time.monotonic() + _GRACE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                owner = _owner(handle)
                if not _is_dead(owner) or time.monotonic() > deadline:
                    raise ConfigError(
                        f"{self._name} {self.path.parent} is in use by process {owner.get('pid', '?')} on "
                        f"{owner.get('host', '?')}; expected one run per folder: give another {self._flag}"
                    ) from None
                time.sleep(0.2)


def _owner(handle: int) -> dict:
    try:
        return json.loads(os.pread(handle, 4096, 0) or b"{}")
    except ValueError:
        return {}


def _is_dead(owner: dict) -> bool:
    """Whether the owner is certainly gone: only a process of this host can be looked up."""
    if owner.get("host") != socket.gethostname() or "pid" not in owner:
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False

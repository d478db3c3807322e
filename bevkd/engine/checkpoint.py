"""Checkpoints that survive a kill, a full disk and a flipped bit; never loaded unsafely.

A file is written beside its final name, flushed to disk and renamed, so that a name always holds a whole checkpoint.
``<name>.sha256`` (the format of ``sha256sum``) holds its content hash. While a name is being overwritten the list
holds the old and the new hash, so that a kill between the two renames leaves a pair that still agrees.
mmengine's pointer file ``last_checkpoint`` is kept, and replaced in the same way.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from bevkd.errors import FULL, CheckpointError
from bevkd.structures.checkpoint import read_checkpoint
from bevkd.structures.files import partial_name, sync_folder, whole_file
from bevkd.structures.sums import check_sums, recorded_sums, sums_file

_STORED = (bool, int, float, str, torch.Tensor, HistoryBuffer)
POINTER = "last_checkpoint"


class _HashingFile:
    """A file that hashes what is written to it, and keeps the error that torch's writer would hide."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.hash, self.size, self.error = file, hashlib.sha256(), 0, None

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        self.hash.update(view)
        self.size += view.nbytes
        if self.error is None:
            try:
                self.file.write(view)
            except OSError as error:  # go on counting: the caller reports how many bytes were needed
                self.error = error
        return view.nbytes

    def flush(self) -> None:
        if self.error is None:
            self.file.flush()


def save_checkpoint(checkpoint: Any, path: str | Path) -> str:
    """Write ``checkpoint`` so that ``path`` holds the old file or the whole new one at every moment.

    Returns:
        The sha256 of the file in hex.

    Raises:
        CheckpointError: the disk is full or not writable; the old file is intact and the partial one removed.
    """
    path = Path(path)
    partial = partial_name(path)
    try:
        with open(partial, "wb") as file:
            sink = _HashingFile(file)
            torch.save(checkpoint, sink)
            if sink.error is not None:
                raise sink.error
            file.flush()
            os.fsync(file.fileno())
        digest = sink.hash.hexdigest()
        earlier = _earlier_sums(path)
        _write_sums(path, [*earlier, digest])
        os.replace(partial, path)
        if earlier:
            _write_sums(path, [digest])
        sync_folder(path.parent)
    except OSError as error:
        if error.errno not in FULL:
            raise CheckpointError(
                f"checkpoint {path} cannot be written: {error.strerror}; the one before it is intact"
            ) from error
        partial.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free
        raise CheckpointError(
            f"checkpoint {path} needs {sink.size} bytes and {free} are free on its disk ({error.strerror}); "
            "expected room for it; the one before it is intact"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return digest


def require_room(folder: str | Path, model: torch.nn.Module) -> None:
    """Refuse to train where the disk cannot hold even the weights.

    Raises:
        CheckpointError: naming the folder, the bytes of the weights and those that are free.
    """
    needed = sum(parameter.nbytes for parameter in model.parameters())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            f"a checkpoint in {folder} needs more than {needed} bytes and {free} are free on its disk; expected room "
            "for it"
        )


def load_checkpoint(path: str | Path) -> dict:
    """Read a checkpoint that is a dict, see :func:`bevkd.structures.checkpoint.read_checkpoint`.

    Raises:
        CheckpointError: an unreadable file, or one that holds something else.
    """
    checkpoint = read_checkpoint(path)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"checkpoint {path} holds a {type(checkpoint).__name__}, expected a dict")
    return checkpoint


def find_latest(
    work_dir: str | Path, log: Callable[[str], None] = print, others: Iterable[str | Path] = ()
) -> Path | None:
    """The checkpoint to go on from: what ``last_checkpoint`` names or, when that is unusable, the newest valid one.

    Every file that is passed over is logged with its reason. None when the folder holds no valid checkpoint.

    Args:
        others: folders outside ``work_dir`` where the run keeps checkpoints too.
    """
    work_dir = Path(work_dir)
    tried: set[Path] = set()
    named = _pointed(work_dir, log)
    files = (path for folder in (work_dir, *others) for path in Path(folder).glob("*.pth") if path.is_file())
    newest = sorted(files, key=lambda p: p.stat().st_mtime_ns, reverse=True)
    for path in ([named] if named else []) + [p for p in newest if not p.name.startswith("best_")]:
        if path in tried:
            continue
        tried.add(path)
        try:
            check_sums(path) or read_checkpoint(path)
        except CheckpointError as error:
            log(f"{error}; looking for an older one")
            continue
        if path != named:
            log(f"{POINTER} names {named or 'nothing'}; going on from the newest valid checkpoint {path}")
        return path
    return None


def _pointed(work_dir: Path, log: Callable[[str], None]) -> Path | None:
    """What ``last_checkpoint`` names, a file or not; None where it names nothing."""
    pointer = work_dir / POINTER
    if not os.path.lexists(pointer):
        return None
    try:
        name = pointer.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        name, why = "", getattr(error, "strerror", None) or "binary data"
    else:
        why = "an empty file" if not name else "no printable text"
    if not name.isprintable() or not name:
        log(f"{pointer} cannot be read ({why}), expected the name of a checkpoint")
        return None
    own = work_dir / Path(name).name  # first: the folder may have been moved or copied as a whole
    return own if os.path.isfile(own) else Path(name)


def write_pointer(work_dir: str | Path, checkpoint: str | Path) -> None:
    """Make mmengine's ``last_checkpoint`` name ``checkpoint``, whole or not at all."""
    write_text(Path(work_dir) / POINTER, str(checkpoint))


def write_text(path: Path, text: str) -> None:
    """Replace a small text file so that its name always holds the old or the new text."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file so that its name always holds the old or the new content; OSError leaves the old one."""
    with whole_file(path) as file:
        file.write(content)


def remove_checkpoint(path: str | Path) -> None:
    """Remove a checkpoint and its hash file; missing ones are no error."""
    for file in (Path(path), sums_file(Path(path))):
        file.unlink(missing_ok=True)


def remove_partials(work_dir: str | Path) -> None:
    """Remove what a killed run was still writing. Call it only while holding the folder's lock."""
    for partial in Path(work_dir).glob(".*.partial"):
        partial.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """A copy in builtin containers, numbers and strings, for the run's description in a checkpoint.

    Tensors and mmengine's log buffers stay as they are; anything else becomes its text: reading would refuse it.
    """
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | set | deque):
        return [plain(part) for part in value]
    if isinstance(value, tuple):
        return tuple(plain(part) for part in value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if value is None or isinstance(value, _STORED) else str(value)


def scheduler_states(schedulers: list | dict) -> list | dict:
    """The states of mmengine's parameter schedulers, in the lists and dicts that hold these."""
    if isinstance(schedulers, dict):
        return {name: scheduler_states(part) for name, part in schedulers.items()}
    return [scheduler.state_dict() for scheduler in schedulers]


def _earlier_sums(path: Path) -> list[str]:
    """The digests of a file that is about to be replaced, whatever state its hash file is in."""
    try:
        return recorded_sums(path) if path.is_file() else []
    except CheckpointError:
        return []


def _write_sums(path: Path, digests: Iterable[str]) -> None:
    write_text(sums_file(path), "".join(f"{digest}  {path.name}\n" for digest in digests))

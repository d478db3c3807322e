"""Errors that a user can act on: one sentence naming the file or field, what was found and what was expected."""

import difflib
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk, a quota or the size that a process may write
_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)


class BevkdError(ValueError):
    """Bad input. Tools print its one sentence and leave with exit code 2."""


class DataError(BevkdError):
    """A data file, table, annotation or calibration cannot be used as it is."""


class ConfigError(BevkdError):
    """A config, flag or combination of parts does not fit."""


class CheckpointError(BevkdError):
    """A checkpoint is corrupt, unsafe or does not fit the model."""


def nearest(name: str, choices: Iterable[str], n: int = 3) -> str:
    """``"; nearest: a, b"`` for the choices closest to ``name``, or all of them when none is close.

    >>> nearest("lo", ["low", "high", "head"])
    '; nearest: low'
    """
    choices = list(choices)
    close = difflib.get_close_matches(name, choices, n=n, cutoff=0.5)
    if close:
        return f"; nearest: {', '.join(close)}"
    return f"; there is: {', '.join(choices)}" if choices else ""


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a tool's ``main`` and leave with its code: 0, or 2 after printing the sentence of a BevkdError.

    A process that torchrun started also leaves its traceback where torchrun looks for it: the summary then shows the
    first failure, which is otherwise buried under those of the processes that lost their partner.
    """
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        from torch.distributed.elastic.multiprocessing.errors import record

        main = record(main)
    try:
        sys.exit(main() or 0)
    except BevkdError as error:
        sentence = _sentence(error)
    except OSError as error:
        if (found := file_sentence(error)) is None:
            raise
        sentence = found
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def file_sentence(error: OSError) -> str | None:
    """One sentence about a file or folder that has no room or cannot be written; None for every other error."""
    if error.errno not in (*FULL, *_UNWRITABLE):
        return None
    name = error.filename2 or error.filename
    if error.errno not in FULL:
        return f"{name} cannot be written or read: {error.strerror}; expected a file or folder that can"
    if name is None:
        return f"a file cannot be written: {error.strerror}; expected room for it on its disk"
    folder = next((parent for parent in Path(os.path.abspath(name)).parents if parent.is_dir()), "/")
    free = shutil.disk_usage(folder).free
    return f"{name} cannot be written: {error.strerror} ({free} bytes free); expected room for it on its disk"


def _sentence(error: BevkdError) -> str:
    """The error's own sentence, also where a data worker wrapped it into the text of its traceback."""
    text = str(error).strip()
    if text.startswith("Caught ") and "Original Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return text

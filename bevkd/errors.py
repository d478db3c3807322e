"""Errors that a user can act on: one sentence naming the file or field, what was found and what was expected."""

import difflib
import os
import sys
from collections.abc import Callable, Iterable


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
        print(f"error: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)


def _sentence(error: BevkdError) -> str:
    """The error's own sentence, also where a data worker wrapped it into the text of its traceback."""
    text = str(error).strip()
    if text.startswith("Caught ") and "Original Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return text

"""The sha256 of a file, and the one that ``<name>.sha256`` beside it records in the format of ``sha256sum``."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from pathlib import Path

from bevkd.errors import CheckpointError

_DIGEST = re.compile("[0-9a-f]{64}")
_EXPECTED = "expected a line of sha256sum: 64 hexadecimal digits and a name"


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sums_file(path: Path) -> Path:
    """Where the hash of ``path`` is recorded."""
    return path.with_name(path.name + ".sha256")


def recorded_sums(path: Path) -> list[str]:
    """The digests that are recorded for ``path``, oldest first; none where there is no hash file.

    Raises:
        CheckpointError: a hash file that cannot be read or holds something else.
    """
    sums = sums_file(path)
    if not os.path.lexists(sums):
        return []
    try:
        lines = [line.split() for line in sums.read_text("utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise CheckpointError(f"{sums} cannot be read ({error.strerror}), {_EXPECTED}") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{sums} holds binary data, {_EXPECTED}") from error
    if not lines:
        raise CheckpointError(f"{sums} is empty, {_EXPECTED}")
    for digest, *_ in lines:
        if not _DIGEST.fullmatch(digest.lower()):
            raise CheckpointError(f"{sums} holds {digest[:80]!r}, {_EXPECTED}")
    # A list of many files counts by name; a file that was renamed together with its list has another name in it.
    own = [line[0].lower() for line in lines if Path(line[-1].lstrip("*")).name == path.name]
    return own or [line[0].lower() for line in lines]


def check_sums(path: str | Path) -> bool:
    """Compare a file with its recorded sha256; False when none is recorded.

    torch.load alone reads a tensor with a flipped bit without complaint, and so does safetensors.

    Raises:
        CheckpointError: no such file, or one that was cut short or altered, or an unusable hash file.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise CheckpointError(f"checkpoint {path} is missing, expected a file")
    known = recorded_sums(path)
    if known and (found := sha256(path)) not in known:
        raise CheckpointError(
            f"checkpoint {path} ({path.stat().st_size} bytes) has sha256 {found[:12]}, expected {known[-1][:12]} as "
            f"{sums_file(path).name} says; it was {_how(path)}"
        )
    return bool(known)


def _how(path: Path) -> str:
    with path.open("rb") as file:
        archive = file.read(2) == b"PK"
    return "cut short: the archive's end is missing" if archive and not zipfile.is_zipfile(path) else "altered"

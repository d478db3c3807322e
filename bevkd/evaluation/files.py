"""Result files that appear whole or not at all."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_whole(path: str | Path, chunks: Iterable[bytes]) -> Path:
    """Write ``chunks`` beside ``path`` and rename the file into place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(content: Any, path: str | Path) -> Path:
    """Write JSON to ``path``, which appears whole or not at all.

    Raises:
        ValueError: a number that is not finite, which JSON cannot hold.
    """
    return write_whole(path, [json.dumps(content, allow_nan=False).encode()])

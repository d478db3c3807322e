"""Result files that appear whole or not at all."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bevkd.structures.files import whole_file


def write_whole(path: str | Path, chunks: Iterable[bytes]) -> Path:
    """Write ``chunks`` to ``path``, which appears whole or not at all."""
    with whole_file(path) as file:
        file.writelines(chunks)
    return Path(path)


def write_json(content: Any, path: str | Path) -> Path:
    """Write JSON to ``path``, which appears whole or not at all.

    Raises:
        ValueError: a number that is not finite, which JSON cannot hold.
    """
    return write_whole(path, [json.dumps(content, allow_nan=False).encode()])

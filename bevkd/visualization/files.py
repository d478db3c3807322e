"""Text files of which a part is renewed."""

from __future__ import annotations

import os
from pathlib import Path

from bevkd.errors import DataError
from bevkd.structures.files import whole_file


def renew_section(path: str | os.PathLike, name: str, text: str) -> None:
    """Replace what stands between the lines ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` of a text file.

    Raises:
        DataError: the markers are missing or there twice.
    """
    path = Path(path)
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    old = path.read_text(encoding="utf-8")
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise DataError(f"{path} has no pair of markers {begin} and {end}")
    new = f"{old.partition(begin)[0]}{begin}\n{text.strip()}\n{end}{old.partition(end)[2]}"
    with whole_file(path) as file:
        file.write(new.encode())

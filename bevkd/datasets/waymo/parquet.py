"""One Parquet file of a Waymo v2 folder: checked when it is opened, then read row by row."""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bevkd.errors import DataError, nearest

from . import schema
from .schema import Component

_BUFFER = 1 << 20  # bytes read ahead of each column; without it a row group is in memory at once
_MICROSECONDS = (10**15, 10**16)  # the years 2001 to 2286
_LIST = (pa.types.is_list, pa.types.is_fixed_size_list, pa.types.is_large_list)
_KINDS = {
    "integer": pa.types.is_integer,
    "floating point": pa.types.is_floating,
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "bytes": lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
}


def segment_names(folder: Path) -> set[str]:
    """Names of the segments with a file in a component's folder; hidden files, as macOS leaves them, are none."""
    return {path.stem for path in folder.glob("*.parquet") if not path.name.startswith(".")}


class ComponentFile:
    """The table of one component and one segment.

    Opening checks what can be checked without the large columns: that the file is whole, has the columns and types of
    the component, speaks of this segment alone, in microseconds, and has no key twice.

    Args:
        root: folder that holds the components' folders.
        component: one of :mod:`bevkd.datasets.waymo.schema`.
        segment: the segment's context name, which is the name of the file.

    Attributes:
        keys: the key columns, by name without ``key.``.

    Raises:
        DataError: naming the file and the column.
    """

    def __init__(self, root: str | Path, component: Component, segment: str) -> None:
        self.path = Path(root) / component.name / f"{segment}.parquet"
        self.component = component
        if not self.path.is_file():
            raise DataError(f"{self.path}: missing; expected the component {component.name} of this segment")
        with self._explained():
            self._file = pq.ParquetFile(self.path, buffer_size=_BUFFER, page_checksum_verification=True)
        self._present = {field.name: field.type for field in self._file.schema_arrow}
        for field in component.schema:
            self._check_column(field)
        with self._explained():
            table = self._file.read([f"key.{name}" for name in component.keys])
        self.keys = {name: self._key(table.column(f"key.{name}")) for name in component.keys}
        self._check_keys(segment)

    @property
    def timestamps(self) -> np.ndarray:
        """``[rows]`` the frame of each row, microseconds."""
        return self.keys["frame_timestamp_micros"]

    def table(self, *columns: str) -> dict[str, list]:
        """Columns of the component in full, by their names without the component's title."""
        names = [self.component.column(c) for c in columns]
        with self._explained():
            found = self._file.read([name for name in names if name in self._present])
        rows = self._file.metadata.num_rows
        values = {c: found.column(n).to_pylist() if n in self._present else [None] * rows
                  for c, n in zip(columns, names)}  # fmt: skip
        for name, column in values.items():
            if name not in self.component.optional and None in column:
                raise DataError(f"{self.path}: row {column.index(None)}: {self.component.column(name)} is null")
        return values

    def rows(self, columns: Iterable[str], timestamps: Iterable[int] | None = None) -> Iterator[dict[str, Any]]:
        """Rows with their keys, lists as arrays, in the order of the file; only those of ``timestamps`` if given.

        One row is in memory at a time, whatever the size of the row groups; those without a wanted row are skipped.
        """
        names = {c: self.component.column(c) for c in columns if self.component.column(c) in self._present}
        wanted = None if timestamps is None else set(timestamps)
        first = 0
        for group in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(group).num_rows
            mine = range(first, first + count)
            first += count
            if wanted is not None and wanted.isdisjoint(self.timestamps[mine.start : mine.stop].tolist()):
                continue
            with self._explained():
                batches = self._file.iter_batches(1, [group], list(names.values()), use_threads=False)
                for row, batch in zip(mine, batches, strict=True):
                    if wanted is None or int(self.timestamps[row]) in wanted:
                        yield self._row(row, batch, names)

    def _row(self, row: int, batch: pa.RecordBatch, names: dict[str, str]) -> dict[str, Any]:
        values = {key: column[row] for key, column in self.keys.items()}
        for name, full in names.items():
            values[name] = _value(batch.column(full)[0])
            if values[name] is None and name not in self.component.optional:
                raise DataError(f"{self.path}: row {row}: {full} is null")
        return values

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{self.path}: truncated, damaged or no Parquet file ({reason})") from None

    def _check_column(self, field: pa.Field) -> None:
        found = self._present.get(field.name)
        if found is None:
            if field.name.partition("].")[2] in self.component.optional:
                return
            raise DataError(f"{self.path}: column {field.name} is missing{nearest(field.name, self._present)}")
        if _kind(found) != _kind(field.type):
            raise DataError(f"{self.path}: column {field.name} has type {found}, expected {field.type}")

    def _key(self, column: pa.ChunkedArray) -> np.ndarray:
        if column.null_count:
            raise DataError(f"{self.path}: a key column ({column.type}) holds null")
        return np.array(column.to_pylist())

    def _check_keys(self, segment: str) -> None:
        names = self.keys["segment_context_name"]
        if other := sorted(set(names.tolist()) - {segment}):
            raise DataError(f"{self.path}: {schema.SEGMENT} is {other[0]!r}, expected {segment!r} as the file's name")
        if "frame_timestamp_micros" in self.keys:
            low, high = _MICROSECONDS
            if (bad := (self.timestamps < low) | (self.timestamps >= high)).any():
                raise DataError(
                    f"{self.path}: {schema.TIMESTAMP} is {self.timestamps[bad][0]}, expected microseconds since 1970 "
                    "(sixteen digits)"
                )
        counts = Counter(zip(*(column.tolist() for column in self.keys.values())))
        if counts and (most := counts.most_common(1)[0])[1] > 1:
            key = dict(zip(self.keys, most[0]))
            key.pop("segment_context_name")
            raise DataError(f"{self.path}: the key {key} occurs {most[1]} times, expected once")


class FrameRows:
    """The rows of one component, taken frame by frame.

    Rows of other frames that come first in the file wait in memory: none where the file is sorted by frame, as
    Waymo's are.
    """

    def __init__(self, file: ComponentFile, columns: Iterable[str], timestamps: Iterable[int]) -> None:
        timestamps = list(timestamps)
        self._rows = file.rows(columns, timestamps)
        self._expected = Counter(file.timestamps.tolist())
        self._waiting: dict[int, list[dict]] = defaultdict(list)

    def take(self, timestamp: int) -> list[dict[str, Any]]:
        """All rows of one frame; each frame can be taken once."""
        while len(self._waiting[timestamp]) < self._expected[timestamp]:
            row = next(self._rows)
            self._waiting[int(row["frame_timestamp_micros"])].append(row)
        return self._waiting.pop(timestamp)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if any(test(kind) for test in _LIST):
        return f"list of {_kind(kind.value_type)}"
    return next((name for name, test in _KINDS.items() if test(kind)), str(kind))


def _value(scalar: pa.Scalar) -> Any:
    if isinstance(scalar, pa.ListScalar):
        return None if scalar.values is None else scalar.values.to_numpy(zero_copy_only=False)
    return scalar.as_py()

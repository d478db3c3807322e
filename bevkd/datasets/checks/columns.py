"""One field of an info file over all of its samples, as one array that knows where each value came from."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bevkd.errors import DataError


class InfoFile:
    """An info file's samples with its path, for errors that name both."""

    def __init__(self, path: str | Path, samples: Sequence[dict]) -> None:
        self.path, self.samples = path, samples

    def where(self, sample: int, field: str) -> str:
        """``<path>: sample <token>: <field>``."""
        return f"{self.path}: sample {self.samples[sample]['token']}: {field}"


class Column:
    """Values of one kind, M of them.

    Attributes:
        values: what :meth:`add` collected; after :meth:`matrices` or :meth:`numbers` an array.
        samples: ``[M]`` index of each value's sample. fields: ``[M]`` each value's name within its sample.
    """

    def __init__(self, file: InfoFile) -> None:
        self.file = file
        self.values: Any = []
        self.samples: Any = []
        self.fields: list[str] = []

    def __len__(self) -> int:
        return len(self.values)

    def add(self, sample: int, field: str, value: Any) -> None:
        """Append one value."""
        self.samples.append(sample)
        self.fields.append(field)
        self.values.append(value)

    def matrices(self, rows: int, columns: int) -> "Column":
        """Turn the values into float64 ``[M, rows, columns]``.

        Raises:
            DataError: one of them is no such matrix of finite numbers.
        """
        array = rectangle(self.values, rows, columns)
        if array is None or not np.isfinite(array).all():
            array = [
                as_matrix(value, (rows, columns), self.file.where(sample, field))
                for value, sample, field in zip(self.values, self.samples, self.fields)
            ]
        self.values = np.asarray(array).reshape(-1, rows, columns)
        self.samples = np.array(self.samples, dtype=np.int64)
        return self

    def numbers(self) -> "Column":
        """Turn the values into float64 ``[M]``.

        Raises:
            DataError: one of them is no finite number.
        """
        array = np.array(self.values)
        if len(array) and (array.dtype.kind not in "iuf" or array.ndim != 1 or not np.isfinite(array).all()):
            for sample, field, value in zip(self.samples, self.fields, self.values):
                if not _is_finite_number(value):
                    raise DataError(f"{self.file.where(sample, field)} is {value!r}, expected a finite number")
        self.values = array.astype(np.float64)
        self.samples = np.array(self.samples, dtype=np.int64)
        return self

    def refuse(self, bad: np.ndarray, text: str, **values: np.ndarray) -> None:
        """Raise for the first value that is ``bad``.

        Args:
            bad: ``[M]`` bool.
            text: what is wrong, after the place; it may name ``values``, arrays ``[M]``.

        Raises:
            DataError: one is bad.
        """
        if bad.any():
            first = int(np.argmax(bad))
            found = text.format(**{name: array[first] for name, array in values.items()})
            raise DataError(f"{self.where(first)}{found}")

    def where(self, row: int) -> str:
        """File, sample and field of a value."""
        return self.file.where(int(self.samples[row]), self.fields[row])


def require(record: Any, keys: tuple[str, ...], where: str) -> None:
    """Refuse a record without one of ``keys``.

    Raises:
        DataError: naming the key.
    """
    missing = [key for key in keys if not isinstance(record, dict) or key not in record]
    if missing:
        raise DataError(f"{where}: '{missing[0]}' is missing (mmdet3d schema 1.1)")


def as_matrix(value: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    """``value`` as float64 of ``shape``.

    Raises:
        DataError: not such a matrix, or not finite.
    """
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: not a {shape[0]}x{shape[1]} matrix of numbers") from None
    if matrix.shape != shape:
        raise DataError(f"{where}: shape {matrix.shape}, expected {shape}")
    if not np.isfinite(matrix).all():
        raise DataError(f"{where}: holds a value that is not finite")
    return matrix


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(np.isfinite(value))


def rectangle(values: list, *shape: int) -> np.ndarray | None:
    """``[M, *shape]`` float64 from lists of one or two levels, in a third of np.array's time; None if one differs."""
    try:
        if set(map(type, values)) - {list}:
            array = np.array(values, dtype=np.float64)
            return array if array.shape[1:] == shape else None
        for size in shape:
            if set(map(len, values)) - {size}:
                return None
            values = list(chain.from_iterable(values))
        return np.fromiter(values, np.float64, len(values)).reshape(-1, *shape)
    except (TypeError, ValueError):
        return None

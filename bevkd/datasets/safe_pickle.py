"""Read pickles that can hold data only: info files come from other people's machines, and a pickle can run any code.

Builtin containers, numbers and strings need no global at all; numpy arrays, scalars and dtypes (as mmdet3d's own info
files hold) are admitted by name, under the module paths of numpy 1 and numpy 2. Everything else is refused.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from bevkd.errors import DataError


def _latin1(text: str, encoding: str) -> bytes:
    """numpy's pickles of protocol 2 store bytes as text through ``_codecs.encode``; only that encoding is data."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "bytearray"): bytearray,
    ("builtins", "complex"): complex,
    ("__builtin__", "set"): set,
    ("_codecs", "encode"): _latin1,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
for _numpy_core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_numpy_core}.multiarray", "_reconstruct"] = np.core.multiarray._reconstruct
    _ALLOWED[f"{_numpy_core}.multiarray", "scalar"] = np.core.multiarray.scalar
    _ALLOWED[f"{_numpy_core}.numeric", "_frombuffer"] = np.core.numeric._frombuffer


class _Refused(Exception):
    """A global outside the list was asked for."""


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def load(path: str | Path) -> Any:
    """The object in the pickle file ``path``, built from builtin types and numpy arrays only.

    Raises:
        DataError: the file is missing, truncated or not a pickle, or it names any other global (which is the way a
            pickle runs code); the sentence names that global. Nothing of it has been called.
    """
    try:
        with open(path, "rb") as file:
            return _DataUnpickler(file).load()
    except _Refused as error:
        raise DataError(
            f"{path}: refused, because it asks for {error}; a data file holds only builtin types and numpy arrays"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a pickle file") from None
    except Exception as error:  # a damaged pickle raises almost anything: EOFError, KeyError, UnicodeDecodeError ...
        raise DataError(f"{path}: truncated or not a pickle file ({type(error).__name__}: {error})") from None

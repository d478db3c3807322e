"""Settings out of configs: in one form, so that two of them can be compared, and the first that differs be named."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_SHOWN = 120


def plain_settings(value: Any, without: Collection[str] = ()) -> Any:
    """A config in the types that JSON has; equal settings become equal, however a config writes them.

    Tuples become lists, a class and its name with or without a package (``mmdet.ResNet``) the bare name, and a key that
    is None or an empty dict counts as left out.

    >>> plain_settings(dict(type="mmdet.ResNet", out_indices=(1, 2), init_cfg=None))
    {'out_indices': [1, 2], 'type': 'ResNet'}

    Args:
        without: keys to leave out at every depth; ``"loss*"`` stands for all that begin so.
    """
    if isinstance(value, Mapping):
        kept = {str(key): part for key, part in sorted(value.items(), key=lambda item: str(item[0]))}
        kept = {key: part for key, part in kept.items() if not _is_among(key, without)}
        plain = {key: _kind(part) if key == "type" else plain_settings(part, without) for key, part in kept.items()}
        return {key: part for key, part in plain.items() if part is not None and part != {}}
    if isinstance(value, list | tuple):
        return [plain_settings(part, without) for part in value]
    if isinstance(value, type):
        return _kind(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def first_difference(ours: Any, theirs: Any, path: str = "") -> tuple[str, str, str] | None:
    """Dotted key and both values of the first setting in which two :func:`plain_settings` differ, or None."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        pairs = [(key, ours.get(key, "unset"), theirs.get(key, "unset")) for key in sorted({*ours, *theirs})]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(str(index), *pair) for index, pair in enumerate(zip(ours, theirs))]
    else:
        return None if ours == theirs else (path, _shown(ours), _shown(theirs))
    found = (first_difference(mine, other, f"{path}.{key}" if path else key) for key, mine, other in pairs)
    return next(filter(None, found), None)


def _kind(value: Any) -> str:
    return (value.__name__ if isinstance(value, type) else str(value)).rpartition(".")[2]


def _is_among(key: str, names: Collection[str]) -> bool:
    return any(key.startswith(name[:-1]) if name.endswith("*") else key == name for name in names)


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."

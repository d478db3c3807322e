"""The data of a comparison: a folder as it is, or one that is made when it is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from bevkd.errors import ConfigError

_INFOS = "nuscenes_infos_val.pkl"


def make_world(
    root: str | Path, synthetic: Mapping[str, Any] | None = None, maker: str | None = None, progress: bool = True
) -> Path:
    """A folder of data, a nuScenes one with its infos; what is missing is made, what is there is used again.

    Args:
        root: the folder.
        synthetic: arguments of :func:`bevkd.datasets.synthetic.create`; None takes the folder as it is.
        maker: dotted name of a function that writes another kind of folder when there is none, called with ``root``;
            such as ``bevkd.tasks.classification.samples.write_digits``.
        progress: show a bar while a synthetic folder is made.

    Raises:
        ConfigError: a synthetic folder that was made with other arguments, or no such ``maker``.
        DataError: see ``create`` and :func:`bevkd.datasets.infos.create_infos`.
    """
    root = Path(root)
    if maker is not None:
        if not root.is_dir() or not any(root.iterdir()):
            _function(maker)(root)
        return root
    if synthetic is not None:
        from bevkd.datasets.synthetic.create import MARKER, create

        marker = root / MARKER
        if not marker.is_file():
            create(root, progress=progress, **synthetic)
        _require_same(root, synthetic, json.loads(marker.read_text()))
    if not (root / _INFOS).is_file() and any(root.glob("v1.0-*")):
        from bevkd.datasets.infos import create_infos

        create_infos(root, next(path.name for path in sorted(root.glob("v1.0-*"))))
    return root


def _function(name: str) -> Callable[[Path], Any]:
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"maker names {name!r}, which cannot be found: {error}") from error
    if not callable(found):
        raise ConfigError(f"maker names {name!r}, a {type(found).__name__}, expected a function")
    return found


def _require_same(root: Path, wanted: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    from bevkd.datasets.synthetic.create import scene_names

    wanted = {key: value for key, value in wanted.items() if key in made}
    if "scenes" in wanted:
        wanted["scenes"] = scene_names(wanted["scenes"])
    for key, value in wanted.items():
        value = list(value) if isinstance(value, tuple) else value
        if made[key] != value:
            raise ConfigError(
                f"{root} is a synthetic set with {key} {made[key]!r}, expected {value!r}: remove it, or name another "
                "folder"
            )

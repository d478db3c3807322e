"""The data of a comparison: a nuScenes folder, or a synthetic world that is made when it is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bevkd.errors import ConfigError

_INFOS = "nuscenes_infos_val.pkl"


def make_world(root: str | Path, synthetic: Mapping[str, Any] | None = None, progress: bool = True) -> Path:
    """A nuScenes folder with its infos; what is missing of a synthetic one is made, a finished one is used again.

    Args:
        root: the folder.
        synthetic: arguments of :func:`bevkd.datasets.synthetic.create`; None takes the folder as it is.

    Raises:
        ConfigError: a synthetic folder that was made with other arguments. DataError: see ``create`` and
            :func:`bevkd.datasets.infos.create_infos`.
    """
    root = Path(root)
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

"""Splits of nuScenes: the official ones, and those of one's own in ``<version>/splits.json``."""

import json
from collections.abc import Collection
from pathlib import Path

from bevkd.errors import DataError, nearest

_OFFICIAL = {  # version -> name in the info file -> official split; made and scored where no split is named
    "v1.0-mini": {"train": "mini_train", "val": "mini_val"},
    "v1.0-trainval": {"train": "train", "val": "val"},
    "v1.0-test": {"test": "test"},
}
_VERSIONS = {  # official split: the version that it belongs to
    **dict.fromkeys(("mini_train", "mini_val"), "v1.0-mini"),
    **dict.fromkeys(("train", "val", "train_detect", "train_track"), "v1.0-trainval"),
    "test": "v1.0-test",
}


def official_splits(version: str) -> tuple[str, ...]:
    """The official splits of ``version`` that are taken where none is named; the last is the one to score.

    Raises:
        DataError: the version has none.
    """
    if version not in _OFFICIAL:
        raise DataError(
            f"version {version} has no official split; expected one of {', '.join(_OFFICIAL)}, or the name of a split "
            "of its splits.json"
        )
    return tuple(_OFFICIAL[version].values())


def is_official(split: str) -> bool:
    """Whether the devkit has the scenes of ``split`` itself."""
    return split in _VERSIONS


def info_name(split: str) -> str:
    """What the info file of ``split`` is called: ``nuscenes_infos_<name>.pkl``; mini_val and val share "val".

    >>> info_name("mini_val"), info_name("rainy")
    ('val', 'rainy')

    Raises:
        DataError: no name for a file.
    """
    if Path(split).name != split:
        raise DataError(f"split {split!r} cannot name an info file, expected a name without '/'")
    return next((name for names in _OFFICIAL.values() for name, other in names.items() if other == split), split)


def split_scenes(tables: Path, split: str, known: Collection[str]) -> list[str]:
    """Names of the scenes of ``split``, an official one or one of ``splits.json``, as nuscenes-devkit 1.2 reads them.

    Args:
        tables: The folder of the tables, ``<data root>/<version>``.
        known: Names of the scenes in the tables.

    Returns:
        The scenes of an official split that are known, or all scenes of one's own split.

    Raises:
        DataError: an unknown split, one of another version, or one without a known scene; a ``splits.json`` that is
            damaged, gives an official name to other scenes, or names a scene that is not in the tables.
    """
    from nuscenes.utils.splits import create_splits_scenes

    own = read_splits(tables / "splits.json")
    version = _VERSIONS.get(split)
    if version is None:
        return _own_scenes(tables, split, own, known)
    if not tables.name.endswith(version.removeprefix("v1.0-")):
        raise DataError(
            f"split {split} belongs to {version}, and the tables are {tables.name}; expected one of "
            f"{', '.join([*_names(tables.name), *own])}"
        )
    official = create_splits_scenes()[split]
    scenes = [name for name in official if name in known]
    if not scenes:
        raise DataError(f"{tables}: no scene of split {split}; expected e.g. {min(official)}")
    return scenes


def read_splits(path: Path) -> dict[str, list[str]]:
    """Name -> scene names of every split in ``splits.json``; none where there is no such file.

    Raises:
        DataError: not JSON, no object of lists of scene names, or an official name with other scenes, which the devkit
            would not read.
    """
    from nuscenes.utils.splits import create_splits_scenes

    if not path.is_file():
        return {}
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: truncated or not JSON ({error})") from None
    if not isinstance(splits, dict):
        raise DataError(f'{path}: a JSON {type(splits).__name__}, expected {{"name of a split": ["scene-0001", ...]}}')
    official = create_splits_scenes()
    for name, scenes in splits.items():
        if not isinstance(scenes, list) or not all(isinstance(scene, str) for scene in scenes):
            raise DataError(f"{path}: split {name} is {str(scenes)[:60]}, expected a list of scene names")
        if name in official and set(scenes) != set(official[name]):
            raise DataError(
                f"{path}: split {name} has an official split's name, whose {len(official[name])} scenes the devkit "
                "would take instead; give it another name"
            )
    return splits


def _own_scenes(tables: Path, split: str, own: dict[str, list[str]], known: Collection[str]) -> list[str]:
    """The scenes of a split of ``splits.json``, each once."""
    if split not in own:
        raise DataError(
            f"split {split} is neither an official one of {tables.name} nor in {tables / 'splits.json'}"
            f"{nearest(split, [*_names(tables.name), *own])}"
        )
    scenes = list(dict.fromkeys(own[split]))
    if not scenes:
        raise DataError(f"{tables / 'splits.json'}: split {split} is empty, expected at least one scene name")
    unknown = [scene for scene in scenes if scene not in known]
    if unknown:
        raise DataError(
            f"{tables / 'splits.json'}: {len(unknown)} of the {len(scenes)} scenes of split {split} are not in table "
            f"scene, the first is {unknown[0]}{nearest(unknown[0], sorted(known)[:1000])}"
        )
    return scenes


def _names(version: str) -> list[str]:
    return [name for name, other in _VERSIONS.items() if version.endswith(other.removeprefix("v1.0-"))]

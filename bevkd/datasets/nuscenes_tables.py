"""Opening a nuScenes folder with the unmodified devkit, with errors that name what is wrong."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevkd.errors import DataError, nearest

if TYPE_CHECKING:
    from nuscenes import NuScenes

TABLES = (
    "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose", "log", "scene",
    "sample", "sample_data", "sample_annotation", "map",
)  # fmt: skip

# table -> {field: table it points to}; prev and next may be empty
_REFERENCES: dict[str, dict[str, str]] = {
    "instance": {"category_token": "category", "first_annotation_token": "sample_annotation"},
    "calibrated_sensor": {"sensor_token": "sensor"},
    "scene": {"log_token": "log", "first_sample_token": "sample", "last_sample_token": "sample"},
    "sample": {"scene_token": "scene", "prev": "sample", "next": "sample"},
    "sample_data": {
        "sample_token": "sample",
        "ego_pose_token": "ego_pose",
        "calibrated_sensor_token": "calibrated_sensor",
        "prev": "sample_data",
        "next": "sample_data",
    },
    "sample_annotation": {
        "sample_token": "sample",
        "instance_token": "instance",
        "prev": "sample_annotation",
        "next": "sample_annotation",
    },
}


def open_nuscenes(root: str | Path, version: str) -> "NuScenes":
    """The devkit's ``NuScenes`` for ``root``/``version``, quietly; map masks, which nothing here draws, may be missing.

    Raises:
        DataError: no such folder or version, a missing, truncated or malformed table, a record without a field that
            others need, or a token that points nowhere.
    """
    from nuscenes import NuScenes

    class WithoutMaps(NuScenes):
        """The devkit asserts that each map's mask is there; a missing one is given the path of a file that is."""

        def __load_table__(self, table_name: str) -> list[dict[str, Any]]:
            records = super().__load_table__(table_name)
            for record in records if table_name == "map" else ():
                if not Path(self.dataroot, record["filename"]).exists():
                    record["filename"] = str(Path(self.table_root, "map.json").resolve())
            return records

    check_folder(Path(root), version)
    with explained(root, version), contextlib.redirect_stdout(io.StringIO()):
        try:
            nusc = WithoutMaps(version=version, dataroot=str(root), verbose=False)
        except (ValueError, TypeError) as error:  # JSONDecodeError and the like, which do not say which file
            for name in TABLES:
                read_table(Path(root) / version / f"{name}.json")
            raise DataError(f"{root}: tables of {version} cannot be read ({error})") from error
    for name in TABLES:
        tokens = {record["token"] for record in getattr(nusc, name)}
        if len(tokens) != len(getattr(nusc, name)):
            raise DataError(f"{Path(root) / version / name}.json: a token occurs twice; expected one record per token")
    return nusc


@contextlib.contextmanager
def explained(root: str | Path, version: str) -> Iterator[None]:
    """Turn the devkit's KeyError or AssertionError into a DataError that names table, index, field and token."""
    try:
        yield
    except (KeyError, AssertionError) as error:
        folder = Path(root) / version
        problem = find_broken_reference({name: read_table(folder / f"{name}.json") for name in TABLES})
        raise DataError(f"{folder}/{problem}" if problem else f"{folder}: {type(error).__name__} {error}") from error


def find_broken_reference(tables: dict[str, list[dict[str, Any]]]) -> str | None:
    """One sentence on the first record without a field, or with a token that is in no table; None when all is well."""
    known = {name: {record.get("token") for record in records} for name, records in tables.items()}
    for name, records in tables.items():
        for index, record in enumerate(records):
            if "token" not in record:
                return f"{name}.json: record {index} has no 'token'"
            for field, target in _REFERENCES.get(name, {}).items():
                if field not in record:
                    return f"{name}.json: record {index} (token {record['token']}) has no '{field}'"
                if record[field] and record[field] not in known[target]:
                    return (
                        f"{name}.json: record {index} (token {record['token']}): {field} {record[field]} is not in "
                        f"table {target}"
                    )
    return None


def check_folder(root: Path, version: str) -> Path:
    """The folder of the tables.

    Raises:
        DataError: no such folder or version, or a missing table.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected a nuScenes data root")
    folder = root / version
    if not folder.is_dir():
        versions = sorted(p.name for p in root.iterdir() if (p / "sample.json").is_file())
        hint = nearest(version, versions) if versions else "; it has no tables of any version"
        raise DataError(f"{root}: no tables of version {version}{hint}")
    missing = [name for name in TABLES if not (folder / f"{name}.json").is_file()]
    if missing:
        raise DataError(f"{folder}: table {missing[0]}.json is missing; expected the thirteen nuScenes tables")
    return folder


def read_table(path: Path) -> list[dict[str, Any]]:
    """The records of one table, or a DataError: truncated, not JSON or no list."""
    try:
        with open(path, encoding="utf-8") as file:
            records = json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: truncated or not JSON ({error})") from None
    if not isinstance(records, list):
        raise DataError(f"{path}: a JSON {type(records).__name__}, expected a list of records")
    return records

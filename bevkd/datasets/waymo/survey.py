"""What of a Waymo v2 split is on disk: which sensors, which segments are whole, and what has to be left out."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bevkd.errors import DataError

from . import schema
from .parquet import segment_names
from .schema import Component

LIDAR = (schema.LIDAR, schema.LIDAR_CALIBRATION, schema.LIDAR_POSE)
CAMERAS = (schema.CAMERA_IMAGE, schema.CAMERA_CALIBRATION)


@dataclass(frozen=True)
class Survey:
    """What can be converted of one split.

    Attributes:
        sensors: ``lidar``, ``camera_image`` or both: what frames hold besides labels.
        used: every component that is read.
        segments: names of those with a file of each, sorted.
        left_out: the other segments, by name, with the first component that each lacks.
    """

    folder: Path
    sensors: tuple[str, ...]
    used: tuple[Component, ...]
    segments: tuple[str, ...]
    left_out: dict[str, str]

    def complaint(self) -> str:
        """One sentence on the segments that are left out; empty without any."""
        if not self.left_out:
            return ""
        total = len(self.segments) + len(self.left_out)
        return f"{self.folder}: {len(self.left_out)} of {total} segments left out: {self._reasons()}"

    def _reasons(self) -> str:
        parts = []
        for component, count in Counter(self.left_out.values()).items():
            first = next(name for name, lacking in self.left_out.items() if lacking == component)
            partial = sorted(path.name for path in (self.folder / component).glob(f"{first}.parquet?*"))
            hint = f", whose download {partial[0]} is unfinished" if partial else ""
            parts.append(f"{count} without {component} (first {first}{hint})")
        return ", ".join(parts)


def holds_components(folder: Path) -> bool:
    """Whether ``folder`` looks like a split: a component's folder with at least one segment in it."""
    return any(segment_names(folder / name) for name in schema.COMPONENTS)


def survey(folder: Path, labelled: bool) -> Survey:
    """Look at the files' names of one split.

    A sensor whose main component (``lidar``, ``camera_image``) has no file is not used: LiDAR alone and cameras alone
    will do. Every other component of a used sensor must be there, ``vehicle_pose`` always, ``lidar_box`` where the
    split is ``labelled``.

    Raises:
        DataError: no file of a component that is needed, or no segment with all of them.
    """
    files = {name: segment_names(folder / name) for name in schema.COMPONENTS}
    _need(folder, files, schema.VEHICLE_POSE, "every frame needs")
    sensors = [part for part in (LIDAR, CAMERAS) if files[part[0].name]]
    if not sensors:
        raise DataError(f"{folder}: no *.parquet of the components lidar and camera_image, expected one of them")
    used = [schema.VEHICLE_POSE, *(component for part in sensors for component in part)]
    used += [schema.LIDAR_BOX] * labelled
    for component in used:
        _need(folder, files, component, "this split needs")
    if labelled and files[schema.LIDAR_CAMERA_SYNCED_BOX.name]:
        used.append(schema.LIDAR_CAMERA_SYNCED_BOX)
    everywhere = sorted(set().union(*(files[component.name] for component in used)))
    lacking = {name: next((c.name for c in used if name not in files[c.name]), None) for name in everywhere}
    whole = tuple(name for name in everywhere if lacking[name] is None)
    found = Survey(
        folder, tuple(part[0].name for part in sensors), tuple(used), whole,
        {name: component for name, component in lacking.items() if component},
    )  # fmt: skip
    if not whole:
        raise DataError(f"{found.complaint()}; expected one segment with a file of each component")
    return found


def _need(folder: Path, files: dict[str, set[str]], component: Component, reason: str) -> None:
    if not files[component.name]:
        raise DataError(f"{folder / component.name}: no segment; expected *.parquet of this component, which {reason}")

"""What of a nuScenes download is there: 300 GB in parts by scene and by sensor, of which many people have some."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevkd.errors import DataError

from .constants import CAMERAS

if TYPE_CHECKING:
    from nuscenes import NuScenes

CHANNELS = {"lidar": ("LIDAR_TOP",), "camera": CAMERAS}
"""Sensor -> its channels; the sensors that infos can hold."""

MAX_SWEEPS = 10
POINT_BYTES = 20  # 5 float32
_NAMED = 5  # scenes named in a line; the info file has all


class Sizes:
    """Sizes in bytes of files below ``root``, each looked up once; -1 for one that is missing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sizes: dict[str, int] = {}

    def __getitem__(self, filename: str) -> int:
        if filename not in self._sizes:
            try:
                self._sizes[filename] = (self.root / filename).stat().st_size
            except OSError:
                self._sizes[filename] = -1
        return self._sizes[filename]

    def problem(self, filename: str, sensor: str) -> str | None:
        """What is wrong with a file that table sample_data names, in one sentence; None when nothing is."""
        size = self[filename]
        if size < 0:
            expected = "a LiDAR sweep" if sensor == "lidar" else "an image"
            return f"{self.root / filename}: missing, but table sample_data names it; expected {expected}"
        if sensor == "lidar" and (size == 0 or size % POINT_BYTES):
            expected = f"a positive multiple of {POINT_BYTES} (5 float32 per point)"
            return f"{self.root / filename}: {size} bytes, expected {expected}"
        return f"{self.root / filename}: 0 bytes, expected an image" if size == 0 else None


@dataclass
class Download:
    """What infos are made of, and what was left out.

    Attributes:
        sizes: of the files.
        sensors: ``lidar`` and ``camera``, or one of them.
        max_sweeps: how many earlier sweeps of a key frame are looked for.
        with_sweeps: whether sweeps between key frames are there; key frames count as sweeps of later ones anyway.
        absent: names of the scenes of which no file is there.
        damaged: names of the scenes that are left out because a file of them is missing or truncated.
    """

    sizes: Sizes
    sensors: tuple[str, ...] = tuple(CHANNELS)
    max_sweeps: int = MAX_SWEEPS
    with_sweeps: bool = True
    absent: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def holds(self, filename: str) -> bool:
        """Whether a sweep belongs into the infos."""
        return self.with_sweeps or self.sizes[filename] >= 0

    def lines(self) -> Iterator[str]:
        """One line for each kind of thing that was left out."""
        for sensor in CHANNELS:
            if sensor not in self.sensors:
                yield f"left out: {sensor} (the infos hold {self.sensors[0]} alone)"
        if not self.with_sweeps:
            yield "left out: sweeps between key frames, of which no file is there"
        for scenes, why in ((self.absent, "of which no file is there"), (self.damaged, "with missing or broken files")):
            if scenes:
                more = f" and {len(scenes) - _NAMED} more" if len(scenes) > _NAMED else ""
                plural = "s" if len(scenes) > 1 else ""
                yield f"left out: {len(scenes)} scene{plural} {why}: {', '.join(scenes[:_NAMED])}{more}"

    def metainfo(self, scenes: Sequence[str]) -> dict[str, Any]:
        """For an info file: its ``sensors``, and what was ``left_out``, of its split's ``scenes`` too."""
        gone = {*self.absent, *self.damaged}
        left_out = {
            "sensors": [name for name in CHANNELS if name not in self.sensors],
            "sweeps": not self.with_sweeps,
            "scenes": [scene for scene in scenes if scene in gone],
        }
        return {"sensors": list(self.sensors), "left_out": {key: value for key, value in left_out.items() if value}}


def survey(
    nusc: "NuScenes",
    root: Path,
    scenes: Sequence[str],
    sensors: Sequence[str] | None = None,
    max_sweeps: int | None = None,
    skip_damaged: bool = False,
) -> Download:
    """Look which files of some scenes are there, and tell a part of the download from a damaged one.

    A sensor without a single file, sweeps without a single file, and a scene without a single key frame are parts that
    were not downloaded: they are left out. What is missing or truncated in between is damage, which is refused.

    Args:
        scenes: Names of the scenes that are asked for.
        sensors: ``lidar``, ``camera`` or both, which must be there then; None takes what is there.
        max_sweeps: How many earlier sweeps a key frame must have; None takes up to 10, or none where none are there.
        skip_damaged: Leave out a scene with a missing or truncated file.

    Raises:
        DataError: damage, in one sentence that names the option that permits it; a sensor that is asked for and not
            there; no scene or no sensor left; a sample without a record of a sensor in the tables.
    """
    if max_sweeps is not None and max_sweeps < 0:
        raise DataError(f"max_sweeps is {max_sweeps}, expected 0 or more")
    download = Download(Sizes(root), max_sweeps=MAX_SWEEPS if max_sweeps is None else max_sweeps)
    names = {scene["token"]: scene["name"] for scene in nusc.scene}
    samples: dict[str, list[dict]] = {scene: [] for scene in scenes}
    for sample in nusc.sample:
        if names[sample["scene_token"]] in samples:
            samples[names[sample["scene_token"]]].append(sample)
    there = _count(nusc, download.sizes, samples)
    download.sensors = _sensors(there, root, sensors)
    for scene, members in samples.items():
        if not any(there[scene, sensor] for sensor in download.sensors):
            download.absent.append(scene)
        elif problem := _key_frame_problem(nusc, download, members):
            if not skip_damaged:
                raise DataError(f"{problem}, or --skip-missing-scenes to leave out scenes such as {scene}")
            download.damaged.append(scene)
    if "lidar" in download.sensors:
        gone = {*download.absent, *download.damaged}
        whole = {scene: members for scene, members in samples.items() if scene not in gone}
        _look_for_sweeps(nusc, download, whole, max_sweeps is None, skip_damaged)
    return download


def require_sensors(metainfo: Mapping[str, Any], asked: Iterable[str], path: str | Path) -> None:
    """Refuse an info file that was made without a sensor that a data set is asked for.

    Raises:
        DataError: naming the file and the sensor.
    """
    held = metainfo.get("sensors", tuple(CHANNELS))
    for sensor in asked:
        if sensor not in held:
            raise DataError(
                f"{path}: made of {' and '.join(held)} alone, and the data set is asked for {sensor} data (its "
                f"pipeline); download it and make the infos again with --sensors lidar camera, or do without {sensor}"
            )


def sweeps_before(nusc: "NuScenes", lidar: dict, number: int) -> Iterator[dict]:
    """The ``number`` sample_data records before a LiDAR key frame, newest first; fewer where the scene begins."""
    while lidar["prev"] and number > 0:
        lidar = nusc.get("sample_data", lidar["prev"])
        number -= 1
        yield lidar


def _files(nusc: "NuScenes", sample: dict, sensor: str) -> Iterator[str]:
    for channel in CHANNELS[sensor]:
        if channel in sample["data"]:
            yield nusc.get("sample_data", sample["data"][channel])["filename"]


def _count(nusc: "NuScenes", sizes: Sizes, samples: dict[str, list[dict]]) -> Counter:
    """How many key frame files are there, by scene and sensor."""
    there: Counter = Counter()
    for scene, members in samples.items():
        for sensor in CHANNELS:
            there[scene, sensor] = sum(sizes[name] >= 0 for s in members for name in _files(nusc, s, sensor))
    return there


def _sensors(there: Counter, root: Path, asked: Sequence[str] | None) -> tuple[str, ...]:
    """Those that are asked for, or there."""
    found = {sensor for (_, sensor), number in there.items() if number}
    for sensor in asked or ():
        if sensor not in CHANNELS:
            raise DataError(f"sensor {sensor} is none that infos hold; expected {' or '.join(CHANNELS)}")
        if sensor not in found:
            folder = root / "samples" / CHANNELS[sensor][0]
            raise DataError(f"sensors names {sensor}, and no key frame of it is there; expected files in {folder}")
    if not found:
        raise DataError(
            f"{root}: none of the key frames that table sample_data names is there; expected files in samples"
        )
    return tuple(sensor for sensor in CHANNELS if sensor in (asked or found))


def _key_frame_problem(nusc: "NuScenes", download: Download, samples: list[dict]) -> str | None:
    """The first thing wrong with a scene's key frames, and which option looks past it; None when nothing is."""
    for sample in samples:
        for sensor in download.sensors:
            for channel in CHANNELS[sensor]:
                if channel not in sample["data"]:
                    raise DataError(f"sample {sample['token']}: no key frame of {channel} in table sample_data")
            for filename in _files(nusc, sample, sensor):
                if problem := download.sizes.problem(filename, sensor):
                    other = [name for name in download.sensors if name != sensor]
                    return f"{problem}; download it" + (f", or use --sensors {other[0]}" if other else "")
    return None


def _look_for_sweeps(
    nusc: "NuScenes", download: Download, samples: dict[str, list[dict]], any_number: bool, skip_damaged: bool
) -> None:
    """Set ``with_sweeps``, and find the scenes of which some sweeps are missing."""
    wanted = {scene: _sweep_files(nusc, members, download.max_sweeps) for scene, members in samples.items()}
    if any_number and not any(download.sizes[name] >= 0 for names in wanted.values() for name in names):
        download.with_sweeps = not any(wanted.values())
        return
    for scene, names in wanted.items():
        problem = next(filter(None, (download.sizes.problem(name, "lidar") for name in names)), None)
        if problem and not skip_damaged:
            raise DataError(f"{problem}; download it, or use --max-sweeps 0, or --skip-missing-scenes for such scenes")
        if problem:
            download.damaged.append(scene)


def _sweep_files(nusc: "NuScenes", samples: list[dict], number: int) -> list[str]:
    """Files between key frames among the ``number`` sweeps before each sample's key frame, each once."""
    files = {}
    for sample in samples:
        lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        records = sweeps_before(nusc, lidar, number)
        files.update((record["filename"], None) for record in records if not record["is_key_frame"])
    return list(files)

"""Write a synthetic nuScenes data set: the same seed gives the same bytes, and it appears whole or not at all."""

import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bevkd.datasets.synthetic.frames import Annotations, Scene, record_frame
from bevkd.datasets.synthetic.places import SCENES, TRAIN_SCENES, VAL_SCENES, lay_out
from bevkd.datasets.synthetic.rig import build_rig
from bevkd.datasets.synthetic.tables import build_tables, map_file
from bevkd.datasets.synthetic.world import World
from bevkd.errors import DataError, nearest

MARKER = "bevkd_synthetic.json"
AZIMUTHS = 1084
MULTIPLE = 16
START_US = 1_532_402_927_000_000
SCENE_PERIOD_US = 3_600_000_000
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TextColumn("ETA"),
    TimeRemainingColumn(),
)


@dataclass(frozen=True)
class Recipe:
    """Checked parameters of a set; written into the marker file."""

    seed: int
    frames: int
    sweeps: int
    image_size: tuple[int, int]
    scenes: tuple[str, ...]
    version: str
    azimuths: int

    def __post_init__(self) -> None:
        height, width = self.image_size
        if min(height, width) < 64 or height % MULTIPLE or width % MULTIPLE:
            raise DataError(
                f"image_size is {height}x{width}, expected height and width of at least 64, multiples of {MULTIPLE}"
            )
        if self.frames < 2:
            raise DataError(f"frames is {self.frames}, expected at least 2 (velocities need two key frames)")
        if not 0 <= self.sweeps <= 9:
            raise DataError(f"sweeps is {self.sweeps}, expected 0 to 9 between key frames (20 Hz)")
        if self.azimuths < 64:
            raise DataError(f"azimuths is {self.azimuths}, expected at least 64 steps per turn")
        if not self.version.startswith("v1.0-"):
            raise DataError(f"version is {self.version!r}, expected a nuScenes version such as 'v1.0-mini'")
        if self.seed < 0:
            raise DataError(f"seed is {self.seed}, expected a whole number from 0 up")


def scene_names(scenes: int | list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
    """All ten scenes (None), the first n training scenes and both of validation (n), or the ones named."""
    if scenes is None:
        scenes = len(TRAIN_SCENES)
    if isinstance(scenes, int):
        if not 1 <= scenes <= len(TRAIN_SCENES):
            raise DataError(f"scenes is {scenes}, expected 1 to {len(TRAIN_SCENES)} training scenes or scene names")
        return (*TRAIN_SCENES[:scenes], *VAL_SCENES)
    for name in scenes:
        if name not in SCENES:
            raise DataError(f"scenes names {name!r}, which is not an official mini scene{nearest(name, SCENES)}")
    if not scenes or len(set(scenes)) != len(scenes):
        raise DataError(f"scenes is {list(scenes)}, expected one or more different scene names")
    return tuple(scenes)


def create(
    root: str | Path,
    *,
    seed: int = 0,
    frames: int = 20,
    sweeps: int = 0,
    image_size: tuple[int, int] = (256, 704),
    scenes: int | list[str] | None = None,
    workers: int = 2,
    version: str = "v1.0-mini",
    azimuths: int = AZIMUTHS,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Make a synthetic world and write it to ``root`` as a genuine nuScenes folder.

    Args:
        root: the folder to create. An existing one is replaced only if it is a synthetic set and ``overwrite`` is set.
        seed: same seed and parameters, same bytes, whatever ``workers`` is.
        frames: key frames a scene, two a second.
        sweeps: LiDAR sweeps before each key frame but the first, 50 ms apart (0 to 9).
        image_size: (height, width) of camera images, multiples of 16.
        scenes: None for all ten mini scenes, n for the first n training scenes and both of validation, or names.
        workers: threads.
        azimuths: LiDAR steps per turn; 1084 gives about 30,000 points, as on nuScenes.
        progress: show a progress bar.
    Returns:
        The path of the folder.
    Raises:
        DataError: a parameter is out of range, ``root`` may not be replaced, or the disk is full.
    """
    recipe = Recipe(seed, frames, sweeps, tuple(image_size), scene_names(scenes), version, azimuths)
    if workers < 1:
        raise DataError(f"workers is {workers}, expected at least 1")
    root = Path(root).absolute()
    clear_leftovers(root)
    check_target(root, overwrite)
    building = root.with_name(f".{root.name}.building-{os.getpid()}")
    try:
        building.mkdir(parents=True)
        write_set(building, recipe, workers, progress)
        publish(building, root, overwrite)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"{root}: the disk is full; the unfinished set was removed") from error
        raise DataError(f"{root}: cannot write there ({error.strerror or error})") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return root


def check_target(root: Path, overwrite: bool) -> None:
    """Refuse a target that holds anything but a synthetic set that may be replaced."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    if not (root / MARKER).is_file():
        raise DataError(f"{root} exists and is not a synthetic set (no {MARKER} in it), expected a new or empty folder")
    if not overwrite:
        raise DataError(f"{root} already holds a synthetic set, expected a new folder or the overwrite flag")


def clear_leftovers(root: Path) -> None:
    """Remove what killed runs left beside ``root``; a set that one of them had only moved aside gets its name back."""
    for left in sorted(root.parent.glob(f".{root.name}.building-*")):
        number, _, aside = left.name.rpartition(".building-")[2].partition("-")
        if not number.isdigit() or alive(int(number)):
            continue
        if aside == "old" and not root.exists():
            left.rename(root)
        else:
            shutil.rmtree(left, ignore_errors=True)


def alive(process: int) -> bool:
    """Whether a process of that number runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def publish(building: Path, root: Path, overwrite: bool) -> None:
    """Give the finished set its name in one step; an older set is moved aside first and deleted last."""
    check_target(root, overwrite)
    old = building.with_name(f"{building.name}-old")
    if root.exists():
        root.rename(old)
    building.rename(root)
    shutil.rmtree(old, ignore_errors=True)


def write_set(folder: Path, recipe: Recipe, workers: int, progress: bool) -> None:
    """Write every file of the set into ``folder``."""
    with ThreadPoolExecutor(workers) as pool, Progress(*COLUMNS, disable=not progress) as bar:
        scenes = list(
            bar.track(
                pool.map(lambda name: build_scene(recipe, name), recipe.scenes),
                len(recipe.scenes),
                description="streets",
            )
        )
        for mount in scenes[0].mounts:
            (folder / "samples" / mount.channel).mkdir(parents=True)
        (folder / "sweeps" / scenes[0].mounts[0].channel).mkdir(parents=True)
        jobs = [(scene, frame) for scene in scenes for frame in range(recipe.frames)]

        def record(job: tuple[Scene, int]) -> Annotations:
            return record_frame(*job, folder, recipe.image_size, recipe.azimuths, recipe.seed)

        facts = list(bar.track(pool.map(record, jobs), len(jobs), description="key frames"))
    annotations = {(scene.world.name, frame): fact for (scene, frame), fact in zip(jobs, facts)}
    offsets, masks = lay_out([scene.world for scene in scenes])
    (folder / "maps").mkdir()
    for location, mask in masks.items():
        (folder / map_file(recipe.seed, location)).write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    (folder / recipe.version).mkdir()
    tables = build_tables(recipe.seed, scenes, offsets, recipe.image_size, annotations)
    for name, rows in tables.items():
        write_json(folder / recipe.version / f"{name}.json", rows)
    write_json(folder / MARKER, asdict(recipe))


def build_scene(recipe: Recipe, name: str) -> Scene:
    """The world and sensors of scene ``name``."""
    _, hand, kind, tone = SCENES[name]
    world = World.build(recipe.seed, name, kind, tone, hand, recipe.frames)
    start = START_US + list(SCENES).index(name) * SCENE_PERIOD_US
    return Scene(world, build_rig(recipe.seed, name, recipe.image_size), recipe.frames, recipe.sweeps, start)


def write_json(path: Path, value: list | dict) -> None:
    """Write JSON and wait until it is on the disk."""
    with path.open("w") as file:
        json.dump(value, file, indent=0)
        file.flush()
        os.fsync(file.fileno())

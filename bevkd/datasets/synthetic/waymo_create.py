"""Write a synthetic Waymo Open Dataset v2: the same seed gives the same bytes, and it appears whole or not at all."""

import errno
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import Progress

from bevkd.datasets.synthetic.create import (
    COLUMNS,
    MARKER,
    SCENE_PERIOD_US,
    check_target,
    clear_leftovers,
    publish,
    scene_names,
    write_json,
)  # fmt: skip
from bevkd.datasets.synthetic.motion import KEY_PERIOD
from bevkd.datasets.synthetic.places import SCENES, TRAIN_SCENES
from bevkd.datasets.synthetic.seeds import token
from bevkd.datasets.synthetic.waymo_frames import Drive, Row, as_columns, extrinsic_of, record_frame
from bevkd.datasets.synthetic.waymo_rig import PERIOD_US, REAL_SHORT, REAL_STEPS, build_rig
from bevkd.datasets.synthetic.world import World
from bevkd.datasets.waymo.schema import COMPONENTS, INTRINSICS
from bevkd.errors import DataError

START_US = 1_552_440_195_000_000
BEAMS = 64
GLOBAL_SHUTTER = 5
# Lists have the inner names of Waymo's own files.
PARQUET = {"compression": "zstd", "write_page_checksum": True, "use_compliant_nested_type": False}


@dataclass(frozen=True)
class WaymoRecipe:
    """Checked parameters of a set; written into the marker file."""

    seed: int
    frames: int
    image_size: tuple[int, int]
    scenes: tuple[str, ...]
    azimuths: int
    beams: int
    format: str = "waymo"

    def __post_init__(self) -> None:
        if min(self.image_size) < 48:
            raise DataError(f"image_size is {'x'.join(map(str, self.image_size))}, expected at least 48x48")
        for name, least in (("frames", 1), ("azimuths", 40), ("beams", 4), ("seed", 0)):
            if getattr(self, name) < least:
                raise DataError(f"{name} is {getattr(self, name)}, expected at least {least}")


def create_waymo(
    root: str | Path,
    *,
    seed: int = 0,
    frames: int = 20,
    image_size: tuple[int, int] = (320, 480),
    scenes: int | list[str] | None = None,
    workers: int = 2,
    azimuths: int = 1060,
    beams: int = BEAMS,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Make the synthetic world and write it to ``root`` as a genuine Waymo v2 folder.

    Each scene is a segment of ``frames`` frames, ten a second, seen by five LiDARs and five cameras: range images with
    two returns, the car's pose at every pixel of the LiDAR on the roof, elongation, no-label zones and projections to
    cameras; 3D boxes (also at the time of the camera that sees the object best) and 2D boxes. Cameras have no
    distortion and a global shutter, which each calibration says.

    Args:
        root: the folder to create, with ``training`` and ``validation``. An existing one is replaced only if it is a
            synthetic set and ``overwrite`` is set.
        seed: same seed and parameters, same bytes, whatever ``workers`` is.
        image_size: (height, width) of the images to the front; those to the sides have fewer rows, as Waymo's.
        scenes: None for all ten, n for the first n training scenes and both of validation, or names.
        workers: threads.
        azimuths: columns of the roof LiDAR's range image (Waymo: 2650); the other LiDARs' images are scaled alike.
        beams: its rows (Waymo: 64).
        progress: show a progress bar.

    Returns:
        The path of the folder.

    Raises:
        DataError: a parameter is out of range, ``root`` may not be replaced, or the disk is full.
    """
    recipe = WaymoRecipe(seed, frames, tuple(image_size), scene_names(scenes), azimuths, beams)
    if workers < 1:
        raise DataError(f"workers is {workers}, expected at least 1")
    root = Path(root).absolute()
    clear_leftovers(root)
    check_target(root, overwrite)
    building = root.with_name(f".{root.name}.building-{os.getpid()}")
    try:
        building.mkdir(parents=True)
        with ThreadPoolExecutor(workers) as pool, Progress(*COLUMNS, disable=not progress) as bar:
            task = bar.add_task("frames", total=len(recipe.scenes) * frames)
            for scene in recipe.scenes:
                folder = building / ("training" if scene in TRAIN_SCENES else "validation")
                write_segment(folder, build_drive(recipe, scene), frames, pool, lambda: bar.advance(task))
        write_json(building / MARKER, asdict(recipe))
        publish(building, root, overwrite)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"{root}: the disk is full; the unfinished set was removed") from error
        raise DataError(f"{root}: cannot write there ({error.strerror or error})") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return root


def build_drive(recipe: WaymoRecipe, scene: str) -> Drive:
    """The world, the car and the clock of one segment."""
    _, hand, kind, tone = SCENES[scene]
    seconds = recipe.frames * PERIOD_US * 1e-6
    world = World.build(recipe.seed, scene, kind, tone, hand, int(np.ceil(seconds / KEY_PERIOD)) + 1)
    start = START_US + list(SCENES).index(scene) * SCENE_PERIOD_US
    number = int(token(recipe.seed, "segment", scene)[:16], 16)
    second = start // 1_000_000 % 10_000
    segment = f"{number}_{second}_000_{second + 20}_000"
    rig = build_rig(recipe.seed, scene, recipe.image_size, recipe.beams)
    share = recipe.azimuths / REAL_STEPS
    short = tuple(max(round(size * share), 8) for size in REAL_SHORT)
    return Drive(world, rig, segment, start, recipe.seed, (recipe.beams, recipe.azimuths), short)


def write_segment(folder: Path, drive: Drive, frames: int, pool: ThreadPoolExecutor, step: Callable[[], None]) -> None:
    """Write every component of one segment; ``step`` is called after each frame."""
    writers = {}
    seen: dict[str, set] = {"lidar": set(), "camera": set()}
    try:
        for name, component in COMPONENTS.items():
            path = folder / name / f"{drive.segment}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            writers[name] = pq.ParquetWriter(path, component.schema, **PARQUET)
        for frame in pool.map(lambda frame: record_frame(drive, frame)[0], range(frames)):
            for name, rows in frame.items():
                _write(writers[name], name, rows)
            seen["lidar"] |= {(row["type"], row["laser_object_id"]) for row in frame["lidar_box"]}
            seen["camera"] |= {(row["type"], row["camera_object_id"]) for row in frame["camera_box"]}
            step()
        for name, rows in (*_calibrations(drive).items(), ("stats", _stats(drive, frames, seen))):
            _write(writers[name], name, rows)
    finally:
        for writer in writers.values():
            writer.close()


def _write(writer: pq.ParquetWriter, name: str, rows: list[Row]) -> None:
    component = COMPONENTS[name]
    if rows:
        writer.write_table(pa.Table.from_pydict(as_columns(component, rows), component.schema))


def _calibrations(drive: Drive) -> dict[str, list[Row]]:
    """Rows of the two components that have one row per sensor."""
    key = {"segment_context_name": drive.segment}
    lasers = [
        {
            **key,
            "laser_name": number,
            "extrinsic.transform": laser.extrinsic.ravel().tolist(),
            "beam_inclination.min": float(laser.inclination[0]),
            "beam_inclination.max": float(laser.inclination[1]),
            "beam_inclination.values": None if laser.values is None else laser.values.tolist(),
        }
        for number, laser in drive.rig.lasers.items()
    ]
    cameras = []
    for number, mount in drive.rig.cameras.items():
        k = mount.intrinsic
        numbers = (k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5, *[0.0] * 5)  # Waymo's pixel 0 begins at the edge
        cameras.append(
            {
                **key,
                "camera_name": number,
                **{f"intrinsic.{name}": float(value) for name, value in zip(INTRINSICS, numbers)},
                "extrinsic.transform": extrinsic_of(mount).ravel().tolist(),
                "height": drive.rig.sizes[number][0],
                "width": drive.rig.sizes[number][1],
                "rolling_shutter_direction": GLOBAL_SHUTTER,
            }
        )
    return {"lidar_calibration": lasers, "camera_calibration": cameras}


def _stats(drive: Drive, frames: int, seen: dict[str, set]) -> list[Row]:
    tone = drive.world.weather.tone
    counts = {}
    for sensor, objects in seen.items():
        types = sorted({kind for kind, _ in objects})
        numbers = [sum(kind == other for other, _ in objects) for kind in types]
        counts[f"{sensor}_object_counts.types"] = types or None  # null without objects, as Waymo has it
        counts[f"{sensor}_object_counts.counts"] = numbers or None
    place = {"time_of_day": "Dawn/Dusk" if tone in ("dusk", "golden") else "Day", "location": "location_other",
             "weather": "sunny"}  # fmt: skip
    return [
        {"segment_context_name": drive.segment, "frame_timestamp_micros": drive.stamp(frame), **place, **counts}
        for frame in range(frames)
    ]

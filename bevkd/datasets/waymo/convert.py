"""A Waymo v2 folder to point files, images and info files: by segments, resumable, nothing half-written."""

import errno
import multiprocessing
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bevkd.datasets import safe_pickle
from bevkd.datasets.infos import write_pickle
from bevkd.errors import DataError

from . import schema
from .infos import frame_info, image_file, metainfo, point_file, validate_waymo_infos
from .names import CAMERAS
from .segment import Segment, find_segments

SPLITS = {"training": "train", "validation": "val", "testing": "test"}
"""Folder of each split, and its name in the info file's."""

POINTS, IMAGES, PARTS = "points", "images", "infos"
_SOURCES = (
    schema.LIDAR, schema.LIDAR_CALIBRATION, schema.LIDAR_POSE, schema.CAMERA_IMAGE, schema.CAMERA_CALIBRATION,
    schema.VEHICLE_POSE, schema.LIDAR_BOX, schema.LIDAR_CAMERA_SYNCED_BOX,
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One segment to convert: every ``every``-th frame of ``root/split`` into ``out``."""

    root: Path
    out: Path
    split: str
    name: str
    every: int

    @property
    def part(self) -> Path:
        """Where its part of the infos is left."""
        return self.out / PARTS / self.split / f"{self.name}.pkl"

    def source(self) -> dict[str, Any]:
        """What its result depends on: size and time of change of each source file, and which frames are taken."""
        files = {
            component.name: self.root / self.split / component.name / f"{self.name}.parquet" for component in _SOURCES
        }
        stamps = {key: [file.stat().st_size, file.stat().st_mtime_ns] for key, file in files.items() if file.is_file()}
        return {"files": stamps, "every": self.every}

    def finished(self) -> list[dict[str, Any]] | None:
        """The infos that an earlier call made of the same source, or None."""
        if not (self.part.is_file() and all((self.out / kind / self.name).is_dir() for kind in (POINTS, IMAGES))):
            return None
        part = safe_pickle.load(self.part)
        return part["frames"] if part["source"] == self.source() else None


def convert(
    root: str | Path,
    out_dir: str | Path | None = None,
    splits: Iterable[str] | None = None,
    workers: int = 2,
    progress: bool = True,
    every: int = 1,
) -> dict[str, Path]:
    """Write points, images and ``waymo_infos_<split>.pkl`` for the splits in a folder.

    ``points/<segment>/<timestamp>.bin`` holds float32 ``[N, 6]`` of all LiDARs and both returns (``POINT_FEATURES``),
    ``images/<segment>/<timestamp>_<camera>.jpg`` the JPEG as it was. A finished segment leaves its part of the infos in
    ``infos/<split>``; a later call converts only segments without such a part, or whose source has changed since.

    Args:
        root: folder with ``training``, ``validation`` and ``testing``, or some of them; in each the components lidar,
            lidar_calibration, lidar_pose, camera_image, camera_calibration, vehicle_pose, lidar_box (not in
            ``testing``) and, if boxes for camera-only benchmarks are wanted, lidar_camera_synced_box.
        out_dir: where to write; ``root`` when None.
        splits: some of these names; all that are there when None. ``testing`` has no labels.
        workers: processes.
        progress: show a progress bar.
        every: take every so-many-th frame of a segment; frames come ten a second, and training on every fifth is
            customary. Scores are of all frames.

    Returns:
        The info files by split (train, val, test).

    Raises:
        DataError: no split, or one that cannot be read, naming file and column; a full disk. Segments that were
            finished before stay.
    """
    root, out = Path(root), Path(out_dir if out_dir is not None else root)
    found = [split for split in splits or SPLITS if splits or (root / split).is_dir()]
    if unknown := [split for split in found if split not in SPLITS]:
        raise DataError(f"split {unknown[0]!r} is unknown, expected some of {', '.join(SPLITS)}")
    if not found:
        raise DataError(
            f"{root}: no folder {', '.join(SPLITS)}, expected one of them with the components' folders in it"
        )
    for name, value in (("workers", workers), ("every", every)):
        if value < 1:
            raise DataError(f"{name} is {value}, expected at least 1")
    jobs = [Job(root, out, split, name, every) for split in found for name in find_segments(root / split)]
    try:
        _run([job for job in jobs if job.finished() is None], workers, progress, len(jobs))
        return {SPLITS[split]: _collect(out, split, [job for job in jobs if job.split == split]) for split in found}
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"{out}: the disk is full; finished segments stay, the same call goes on") from error
        raise DataError(f"{out}: cannot write there ({error.strerror or error})") from error


def _run(jobs: list[Job], workers: int, progress: bool, total: int) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("segments"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task("", total=total, completed=total - len(jobs))
        frames = 0
        for done in _results(jobs, workers):
            frames += done
            bar.update(task, advance=1, description=f"{frames} frames")


def _results(jobs: list[Job], workers: int) -> Iterable[int]:
    if workers == 1 or len(jobs) < 2:
        yield from (convert_segment(job) for job in jobs)
        return
    # Not by forking: the parent may hold threads of Arrow's.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(convert_segment, job) for job in jobs]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def convert_segment(job: Job) -> int:
    """Write one segment's points, images and part of the infos; returns the number of frames.

    Files are written beside their place and moved there when the segment is whole; the part of the infos comes last.
    """
    source, name = job.source(), job.name
    segment = Segment(job.root / job.split, name)
    components = ["lidar", "camera_image", *(["lidar_box"] if job.split != "testing" else [])]
    building = {kind: job.out / kind / f".{name}.building" for kind in (POINTS, IMAGES)}
    try:
        for folder in building.values():
            shutil.rmtree(folder, ignore_errors=True)  # of a killed run
            (folder / name).mkdir(parents=True)
        infos, previous = [], None
        for frame in segment.frames(segment.timestamps[:: job.every], components):
            points = frame.points()
            (building[POINTS] / point_file(name, frame.timestamp)).write_bytes(points.astype("<f4").tobytes())
            for camera, image in frame.images.items():
                (building[IMAGES] / image_file(name, frame.timestamp, CAMERAS[camera])).write_bytes(image.jpeg)
            infos.append(frame_info(frame, previous, len(points)))
            previous = frame.timestamp
        for kind, folder in building.items():
            shutil.rmtree(job.out / kind / name, ignore_errors=True)
            os.replace(folder / name, job.out / kind / name)
    finally:
        for folder in building.values():
            shutil.rmtree(folder, ignore_errors=True)
    job.part.parent.mkdir(parents=True, exist_ok=True)
    write_pickle({"source": source, "frames": infos}, job.part)
    return len(infos)


def _collect(out: Path, split: str, jobs: list[Job]) -> Path:
    frames = [info for job in jobs for info in job.finished() or ()]
    frames = [{"sample_idx": index, **info} for index, info in enumerate(frames)]
    path = out / f"waymo_infos_{SPLITS[split]}.pkl"
    infos = {"metainfo": metainfo(), "data_list": frames}
    validate_waymo_infos(infos, str(path))
    return write_pickle(infos, path)

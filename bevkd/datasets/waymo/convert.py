"""A Waymo v2 folder to point files, images and info files: by segments, resumable, nothing half-written."""

import errno
import multiprocessing
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from bevkd.datasets.infos import write_pickle
from bevkd.errors import DataError

from .infos import metainfo, validate_waymo_infos
from .jobs import Job, convert_segment
from .names import CAMERAS, SPLITS
from .survey import Survey, holds_components, survey

_MOST_DAMAGED = 10  # segments that cannot be read before the rest is not tried


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

    The sensors of a split are those whose files are there: LiDAR alone and cameras alone will do. A segment without a
    file of a component that others have, and a frame without a row of one of its sensors, are left out; a UserWarning
    for each split says how many, and which comes first. Hidden files, as macOS leaves them, are passed over.

    Args:
        root: folder with ``training``, ``validation``, ``testing`` and ``testing_location``, or some of them; in each
            the components vehicle_pose, lidar_box (not for testing), for LiDAR lidar, lidar_calibration and lidar_pose,
            for cameras camera_image and camera_calibration, and, if boxes for camera-only benchmarks are wanted,
            lidar_camera_synced_box.
        out_dir: where to write; ``root`` when None.
        splits: some of these names; all that are there when None. The testing splits have no labels.
        workers: processes.
        progress: show a progress bar.
        every: take every so-many-th frame of a segment; frames come ten a second, and training on every fifth is
            customary. Scores are of all frames.

    Returns:
        The info files by split (train, val, test, testing_location).

    Raises:
        DataError: no split, a component that is needed, or segments that cannot be read, naming file and column, after
            all others have been converted; a full disk. Segments that were finished before stay.
    """
    root, out = Path(root), Path(out_dir if out_dir is not None else root)
    for name, value in (("workers", workers), ("every", every)):
        if value < 1:
            raise DataError(f"{name} is {value}, expected at least 1")
    surveys = {split: survey(root / split, not split.startswith("testing")) for split in _splits(root, splits)}
    jobs = {
        split: [
            Job(root, out, split, name, every, found.sensors, tuple(c.name for c in found.used))
            for name in found.segments
        ]
        for split, found in surveys.items()
    }
    everything = [job for part in jobs.values() for job in part]
    try:
        _run([job for job in everything if job.finished() is None], workers, progress, len(everything))
        return {SPLITS[split]: _collect(out, jobs[split], found) for split, found in surveys.items()}
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"{out}: the disk is full; finished segments stay, the same call goes on") from error
        raise DataError(f"{out}: cannot write there ({error.strerror or error})") from error


def _splits(root: Path, wanted: Iterable[str] | None) -> list[str]:
    """The splits to convert; without a wish all that hold a component. What looks like one and is none is named."""
    if wanted is not None:
        wanted = list(wanted)
        if unknown := [split for split in wanted if split not in SPLITS]:
            raise DataError(f"split {unknown[0]!r} is unknown, expected some of {', '.join(SPLITS)}")
        return wanted
    found = [split for split in SPLITS if holds_components(root / split)]
    if not found:
        parent = f"; its own components belong into such a folder: give {root.parent}" if holds_components(root) else ""
        raise DataError(
            f"{root}: no folder {', '.join(SPLITS)}, expected one of them with the components' folders in it{parent}"
        )
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name not in found):
        if folder.name in SPLITS:
            warnings.warn(f"{folder}: no component with a *.parquet in it, left out", stacklevel=3)
        elif holds_components(folder):
            warnings.warn(f"{folder}: holds components, but is none of {', '.join(SPLITS)}, left out", stacklevel=3)
    return found


def _run(jobs: list[Job], workers: int, progress: bool, total: int) -> None:
    """Convert all that can be read.

    Raises:
        DataError: some could not; it names the first.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("segments"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
               TimeRemainingColumn())  # fmt: skip
    damaged = []
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task("", total=total, completed=total - len(jobs))
        frames = 0
        for done in _results(jobs, workers):
            if isinstance(done, DataError):
                damaged.append(done)
                if len(damaged) == _MOST_DAMAGED:
                    break
                continue
            frames += done
            bar.update(task, advance=1, description=f"{frames} frames")
    if damaged:
        others = f"; so are {len(damaged) - 1} other segments, the next: {damaged[1]}" if len(damaged) > 1 else ""
        rest = "later ones were not tried" if len(damaged) == _MOST_DAMAGED else "all others are converted"
        raise DataError(f"{damaged[0]}{others}; {rest}: download the file again, or delete it to leave its segment out")


def _results(jobs: list[Job], workers: int) -> Iterator[int | DataError]:
    """The number of frames of each job, or why its segment cannot be read."""
    if workers == 1 or len(jobs) < 2:
        yield from map(_attempt, jobs)
        return
    # Not by forking: the parent may hold threads of Arrow's.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_attempt, job) for job in jobs]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _attempt(job: Job) -> int | DataError:
    try:
        return convert_segment(job)
    except DataError as error:
        return error


def _collect(out: Path, jobs: list[Job], found: Survey) -> Path:
    """Join the parts of a split's infos."""
    parts = [job.finished() for job in jobs]
    if None in parts:
        raise DataError(f"{found.folder}: segment {jobs[parts.index(None)].name} was changed while it was converted")
    frames = [info for part in parts for info in part["frames"]]
    frames = [{"sample_idx": index, **info} for index, info in enumerate(frames)]
    left_out = [(job.name, time, what) for job, part in zip(jobs, parts) for time, what in part["left_out"].items()]
    for complaint in (found.complaint(), _complaint(found.folder, len(frames), left_out)):
        if complaint:
            warnings.warn(complaint, stacklevel=3)
    path = out / f"waymo_infos_{SPLITS[found.folder.name]}.pkl"
    infos = {"metainfo": metainfo(), "data_list": frames}
    validate_waymo_infos(infos, str(path), tuple(CAMERAS.values()) if "camera_image" in found.sensors else ())
    return write_pickle(infos, path)


def _complaint(folder: Path, kept: int, left_out: list[tuple[str, int, str]]) -> str:
    """One sentence on the frames that are left out; empty without any."""
    if not left_out:
        return ""
    parts = []
    for what, count in Counter(what for _, _, what in left_out).items():
        name, time = next((name, time) for name, time, other in left_out if other == what)
        parts.append(f"{count} without {what} (first {time} of {name})")
    return f"{folder}: {len(left_out)} of {kept + len(left_out)} frames left out: {', '.join(parts)}"

"""The conversion of one segment: points, images and its part of the infos, whole or not at all."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bevkd.datasets import safe_pickle
from bevkd.datasets.infos import write_pickle

from . import schema
from .infos import frame_info, image_file, point_file
from .names import CAMERAS
from .segment import Segment

POINTS, IMAGES, PARTS = "points", "images", "infos"
_KINDS = {schema.LIDAR.name: POINTS, schema.CAMERA_IMAGE.name: IMAGES}


@dataclass(frozen=True)
class Job:
    """One segment to convert: every ``every``-th frame of ``root/split`` into ``out``.

    ``sensors`` are the components ``lidar`` and ``camera_image`` or one of them, ``used`` all components that are read.
    """

    root: Path
    out: Path
    split: str
    name: str
    every: int
    sensors: tuple[str, ...]
    used: tuple[str, ...]

    @property
    def part(self) -> Path:
        """Where its part of the infos is left."""
        return self.out / PARTS / self.split / f"{self.name}.pkl"

    @property
    def kinds(self) -> list[str]:
        """The folders that it fills: points, images or both."""
        return [_KINDS[sensor] for sensor in self.sensors]

    def source(self) -> dict[str, Any]:
        """What its result depends on: size and time of change of each source file, and which frames are taken."""
        files = {component: self.root / self.split / component / f"{self.name}.parquet" for component in self.used}
        stamps = {key: [file.stat().st_size, file.stat().st_mtime_ns] for key, file in files.items() if file.is_file()}
        return {"files": stamps, "every": self.every}

    def finished(self) -> dict[str, Any] | None:
        """The part that an earlier call made of the same source, or None: ``frames``, and ``left_out`` by timestamp."""
        if not (self.part.is_file() and all((self.out / kind / self.name).is_dir() for kind in self.kinds)):
            return None
        part = safe_pickle.load(self.part)
        return part if part["source"] == self.source() and "left_out" in part else None


def convert_segment(job: Job) -> int:
    """Write one segment's points, images and part of the infos; returns the number of frames.

    Files are written beside their place and moved there when the segment is whole; the part of the infos comes last.
    A frame without a row of one of its sensors is left out: a detector cannot do without a camera of its own.
    """
    source, name = job.source(), job.name
    segment = Segment(job.root / job.split, name)
    components = [*job.sensors, *[c for c in (schema.LIDAR_BOX.name,) if c in job.used]]
    chosen, incomplete = segment.timestamps[:: job.every], segment.incomplete(job.sensors)
    building = {kind: job.out / kind / f".{name}.building" for kind in job.kinds}
    try:
        for folder in building.values():
            shutil.rmtree(folder, ignore_errors=True)  # of a killed run
            (folder / name).mkdir(parents=True)
        infos, previous = [], None
        for frame in segment.frames([time for time in chosen if time not in incomplete], components):
            count = 0
            if POINTS in building:
                points = frame.points()
                (building[POINTS] / point_file(name, frame.timestamp)).write_bytes(points.astype("<f4").tobytes())
                count = len(points)
            for camera, image in frame.images.items():
                (building[IMAGES] / image_file(name, frame.timestamp, CAMERAS[camera])).write_bytes(image.jpeg)
            infos.append(frame_info(frame, previous, count))
            previous = frame.timestamp
        for kind, folder in building.items():
            shutil.rmtree(job.out / kind / name, ignore_errors=True)
            os.replace(folder / name, job.out / kind / name)
    finally:
        for folder in building.values():
            shutil.rmtree(folder, ignore_errors=True)
    job.part.parent.mkdir(parents=True, exist_ok=True)
    left_out = {time: incomplete[time] for time in chosen if time in incomplete}
    write_pickle({"source": source, "frames": infos, "left_out": left_out}, job.part)
    return len(infos)

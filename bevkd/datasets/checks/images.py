"""Are the images of an info file's samples complete, in time, in place and in agreement with the LiDAR?"""

from typing import Any

import numpy as np

from bevkd.errors import DataError

from .boxes import Boxes
from .cameras import check_intrinsics, check_upright, check_views
from .columns import Column, InfoFile, require
from .lidar import KeyFrames
from .poses import TOP_SPEED, TOP_TURN, check_agreement, check_rigid, inverse, spread
from .times import check_lags

_KEYS = ("img_path", "cam2img", "lidar2cam")
_UNKNOWN_LAG = 0.1  # seconds by which an image without a time is at most apart from its key frame
_VIEWS = 64  # samples whose boxes are projected
_SHARE = 0.01  # of a projection matrix' largest number


def check_images(file: InfoFile, cameras: tuple[str, ...], key: KeyFrames, boxes: Boxes) -> None:
    """Check the images of ``cameras``, which every sample must have.

    Raises:
        DataError: naming sample and field.
    """
    if not cameras:
        return
    lidar2cam, cam2img, times, records = Column(file), Column(file), Column(file), []
    timed, sizes = [], []
    fields, stamps, poses, matrices = (
        {name: f"images.{name}{key}" for name in cameras} for key in ("", ".timestamp", ".lidar2cam", ".cam2img")
    )
    for index, info in enumerate(file.samples):
        images = info.get("images") or {}
        for name, field in fields.items():
            if name not in images:
                where = f"{file.path}: sample {info['token']}"
                raise DataError(f"{where}: camera {name} is missing; there is: {', '.join(images) or 'none'}")
            record = images[name]
            try:
                pose, intrinsics, _ = record["lidar2cam"], record["cam2img"], record["img_path"]
            except (KeyError, TypeError):
                require(record, _KEYS, file.where(index, field))
                raise
            if "timestamp" in record:
                times.add(index, stamps[name], record["timestamp"])
                timed.append(len(records))
            lidar2cam.add(index, poses[name], pose)
            cam2img.add(index, matrices[name], intrinsics)
            sizes.append(_size(record, file, index, field))
            records.append(record)
    lags = np.full(len(records), _UNKNOWN_LAG)
    lags[timed] = np.abs(check_lags(times, key.times, key.second))
    sizes = np.array(sizes, dtype=np.float64)
    check_rigid(lidar2cam, mount=True)
    check_intrinsics(cam2img, sizes)
    chosen = spread(len(file.samples))
    rows = np.nonzero(np.isin(lidar2cam.samples, chosen))[0]
    _check_projections(lidar2cam, cam2img, records, rows)
    confirmed = _check_mounts(lidar2cam, records, rows, lags, key)
    check_upright(lidar2cam, confirmed)
    looked_at = chosen[spread(len(chosen), _VIEWS)]
    centres = {index: boxes.centres(index) for index in looked_at.tolist()}
    check_views(lidar2cam, rows[np.isin(lidar2cam.samples[rows], looked_at)], cam2img.values, sizes, centres)


def _size(record: dict, file: InfoFile, index: int, field: str) -> tuple[float, float]:
    """Stated height and width of an image; both or neither."""
    height, width = record.get("height"), record.get("width")
    if type(height) is int and type(width) is int and height > 0 and width > 0:
        return height, width
    if height is None and width is None:
        return np.nan, np.nan
    for name, value in (("height", height), ("width", width)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value <= 0:
            raise DataError(f"{file.where(index, field)}.{name} is {value!r}, expected a whole number of pixels")
    return int(height), int(width)


def _check_projections(lidar2cam: Column, cam2img: Column, records: list[dict], rows: np.ndarray) -> None:
    """``lidar2img``, where a record has it, is ``cam2img @ lidar2cam``."""
    with_it = [row for row in rows if records[row].get("lidar2img") is not None]
    column = Column(lidar2cam.file)
    for row in with_it:
        field = lidar2cam.fields[row].replace("lidar2cam", "lidar2img")
        column.add(int(lidar2cam.samples[row]), field, [list(line) for line in records[row]["lidar2img"]][:3])
    found = column.matrices(3, 4).values
    product = cam2img.values[with_it] @ lidar2cam.values[with_it][:, :3]
    largest = np.abs(product).max(axis=(1, 2), initial=0)
    off = np.abs(found - product).max(axis=(1, 2), initial=0)
    column.refuse(off > _SHARE * largest, " differs from cam2img @ lidar2cam by {off:.4g}, expected the same", off=off)


def _check_mounts(
    lidar2cam: Column, records: list[dict], rows: np.ndarray, lags: np.ndarray, key: KeyFrames
) -> np.ndarray:
    """``lidar2cam`` is ``inv(cam2ego) @ lidar2ego``, but for the vehicle's motion between both sensors' times.

    Returns:
        ``[M]`` bool: what ``cam2ego`` confirms; cameras of samples that were not looked at are taken to be alike.
    """
    mounted: list[Any] = [row for row in rows if "cam2ego" in records[row]]
    cam2ego = Column(lidar2cam.file)
    for row in mounted:
        field = lidar2cam.fields[row].replace("lidar2cam", "cam2ego")
        cam2ego.add(int(lidar2cam.samples[row]), field, records[row]["cam2ego"])
    others = inverse(key.lidar2ego[lidar2cam.samples[mounted]]) @ check_rigid(cam2ego, mount=True)
    lag = np.minimum(lags[mounted], 1.0)
    turn, distance = np.radians(2.0) + TOP_TURN * lag, 0.2 + TOP_SPEED * lag
    formula = "inv(cam2ego) @ lidar2ego"
    check_agreement(lidar2cam, np.array(mounted, int), others, turn, distance, formula)
    return np.array(["cam2ego" in record for record in records])

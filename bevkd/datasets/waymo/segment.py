"""One segment of a Waymo v2 folder, streamed frame by frame."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bevkd.datasets.validate import check_pose
from bevkd.errors import DataError, nearest

from . import schema
from .frames import CameraCalibration, CameraImage, Frame, Stats, check_range_image
from .labels import read_camera_boxes, read_lidar_boxes
from .names import CAMERAS, LASERS
from .parquet import ComponentFile, FrameRows, segment_names
from .range_images import LaserCalibration

FRAME_COMPONENTS = ("lidar", "camera_image", "lidar_box", "camera_box", "stats")


def find_segments(root: str | Path) -> list[str]:
    """Context names of the segments in a folder, sorted: those with a file of component vehicle_pose.

    Raises:
        DataError: no such folder, or no segment in it.
    """
    folder = Path(root) / schema.VEHICLE_POSE.name
    names = sorted(segment_names(folder))
    if not names:
        raise DataError(f"{folder}: no segment; expected *.parquet of the component {schema.VEHICLE_POSE.name}")
    return names


class Segment:
    """A drive of some 20 seconds.

    Opening reads and checks calibrations and poses; everything else is read by :meth:`frames`, sensor data a frame at a
    time. Components that nobody asks for need not be there, nor the calibrations of sensors that nobody asks for.

    Args:
        root: folder of one split, which holds one folder per component.
        name: the segment's context name.

    Attributes:
        timestamps: of the frames, in order of time, microseconds.
        poses: ``[4, 4]`` world from vehicle, by timestamp.
        lasers: calibrations by LiDAR. cameras: by camera. Empty where the segment has no such file.

    Raises:
        DataError: a missing or damaged component, an unknown sensor, a pose or calibration that is none, or timestamps
            that are no microseconds, naming file and column.
    """

    def __init__(self, root: str | Path, name: str) -> None:
        self.root, self.name = Path(root), name
        poses = self._open(schema.VEHICLE_POSE)
        matrices = poses.table("world_from_vehicle.transform")["world_from_vehicle.transform"]
        self.poses = {
            int(t): _pose(m, f"{poses.path}: frame {t}: world_from_vehicle.transform")
            for t, m in zip(poses.timestamps, matrices)
        }
        if not self.poses:
            raise DataError(f"{poses.path}: no frame; expected at least one")
        self.timestamps = sorted(self.poses)
        self.lasers = self._lasers()
        self.cameras = self._cameras()

    def frames(
        self, timestamps: Iterable[int] | None = None, components: Collection[str] = FRAME_COMPONENTS
    ) -> Iterator[Frame]:
        """Frames in order of time.

        Memory holds one frame, whatever the segment's length (about 60 MB at Waymo's full size).

        Args:
            timestamps: only these; row groups without any of them are not read.
            components: what frames should hold, out of ``FRAME_COMPONENTS`` and ``lidar_camera_projection``. ``lidar``
                brings lidar_pose along, ``lidar_box`` lidar_camera_synced_box where that folder exists.

        Raises:
            DataError: an unknown timestamp or component; a frame without one of its sensors' rows, a damaged range
                image, a box that is not finite, an unknown type or difficulty, naming file and column.
        """
        known = (*FRAME_COMPONENTS, schema.LIDAR_CAMERA_PROJECTION.name)
        if unknown := [name for name in components if name not in known]:
            raise DataError(f"component {unknown[0]!r} is none of a frame's{nearest(unknown[0], known)}")
        chosen = self.timestamps if timestamps is None else sorted(timestamps)
        if unknown := [timestamp for timestamp in chosen if timestamp not in self.poses]:
            hint = nearest(str(unknown[0]), map(str, self.timestamps))
            raise DataError(f"segment {self.name} has no frame {unknown[0]}{hint}")
        readers = {component.name: self._reader(component, chosen) for component in _streamed(components)}
        place = (self.root, self.name, self.timestamps)
        boxes = read_lidar_boxes(*place) if schema.LIDAR_BOX.name in components else {}
        flat = read_camera_boxes(*place) if schema.CAMERA_BOX.name in components else {}
        stats = self._stats() if schema.STATS.name in components else {}
        for timestamp in chosen:
            parts = {name: read(timestamp) for name, read in readers.items()}
            yield Frame(
                self.name,
                timestamp,
                self.poses[timestamp],
                self.lasers,
                self.cameras,
                parts.get(schema.LIDAR.name, {}),
                {laser: pose for laser, (pose, _) in parts.get(schema.LIDAR_POSE.name, {}).items()},
                parts.get(schema.LIDAR_CAMERA_PROJECTION.name, {}),
                parts.get(schema.CAMERA_IMAGE.name, {}),
                boxes.get(timestamp),
                flat.get(timestamp, {}),
                stats.get(timestamp),
            )

    def incomplete(self, components: Collection[str]) -> dict[int, str]:
        """The frames that lack a row of one of their sensors, and what each lacks first ("camera_image of CAM_FRONT").

        Only key columns are read.

        Args:
            components: see :meth:`frames`.
        """
        lacking: dict[int, str] = {}
        for component in _streamed(components):
            file, (key, kinds) = self._open(component), _sensor_key(component)
            found = set(zip(file.timestamps.tolist(), file.keys[key].tolist()))
            for sensor in self._expected(component):
                for timestamp in self.timestamps:
                    if (timestamp, sensor) not in found:
                        lacking.setdefault(timestamp, f"{component.name} of {kinds[sensor]}")
        return lacking

    def _open(self, component: schema.Component) -> ComponentFile:
        return ComponentFile(self.root, component, self.name)

    def _has(self, component: schema.Component) -> bool:
        return (self.root / component.name / f"{self.name}.parquet").is_file()

    def _calibrated(self, component: schema.Component) -> dict[int, Any]:
        """The calibrations of the sensors that a component is about."""
        camera = component is schema.CAMERA_IMAGE
        found = self.cameras if camera else self.lasers
        if not found:
            self._open(schema.CAMERA_CALIBRATION if camera else schema.LIDAR_CALIBRATION)  # says that it is missing
        return found

    def _expected(self, component: schema.Component) -> tuple[int, ...]:
        """The sensors of which each frame has a row. Only the LiDAR on the roof has a pose at each pixel."""
        return (1,) if component is schema.LIDAR_POSE else tuple(self._calibrated(component))

    def _reader(self, component: schema.Component, timestamps: list[int]) -> Any:
        """A function from a timestamp to what the component holds of that frame, by sensor."""
        file = self._open(component)
        rows = FrameRows(file, component.columns, timestamps)
        expected, calibrated = self._expected(component), self._calibrated(component)
        key, kinds = _sensor_key(component)

        def read(timestamp: int) -> dict[int, Any]:
            found = {int(row[key]): row for row in rows.take(timestamp)}
            if missing := [sensor for sensor in expected if sensor not in found]:
                sensor = f"{kinds[missing[0]]} ({key} {missing[0]})"
                raise DataError(f"{file.path}: frame {timestamp} has no row of {sensor}")
            if unknown := [sensor for sensor in found if sensor not in calibrated]:
                raise DataError(f"{file.path}: frame {timestamp}: {key} {unknown[0]} has no calibration")
            where = f"{file.path}: frame {timestamp}"
            if component is schema.CAMERA_IMAGE:
                return {sensor: _image(row, f"{where}: {CAMERAS[sensor]}") for sensor, row in sorted(found.items())}
            return {
                laser: _returns(row, component.channels, f"{where}: laser {LASERS[laser]}")
                for laser, row in sorted(found.items())
            }

        return read

    def _lasers(self) -> dict[int, LaserCalibration]:
        if not self._has(schema.LIDAR_CALIBRATION):
            return {}
        file = self._open(schema.LIDAR_CALIBRATION)
        columns = file.table(*schema.LIDAR_CALIBRATION.columns)
        lasers = {}
        for row, laser in enumerate(_sensors(file, "laser_name", LASERS)):
            where = f"{file.path}: laser {LASERS[laser]}"
            bounds = columns["beam_inclination.min"][row], columns["beam_inclination.max"][row]
            values = columns["beam_inclination.values"][row]
            angles = np.array(values or bounds, dtype=np.float64)
            if not (np.diff(angles) > 0).all() or np.abs(angles).max() > np.pi:  # False for NaN too
                raise DataError(
                    f"{where}: beam_inclination is {angles.round(3).tolist()[:4]}, expected radians, rising"
                )
            pose = _pose(columns["extrinsic.transform"][row], f"{where}: extrinsic.transform")
            lasers[laser] = LaserCalibration(laser, pose, bounds, angles if values else None)
        return lasers

    def _cameras(self) -> dict[int, CameraCalibration]:
        if not self._has(schema.CAMERA_CALIBRATION):
            return {}
        file = self._open(schema.CAMERA_CALIBRATION)
        columns = file.table(*schema.CAMERA_CALIBRATION.columns)
        cameras = {}
        for row, camera in enumerate(_sensors(file, "camera_name", CAMERAS)):
            where = f"{file.path}: camera {CAMERAS[camera]}"
            intrinsic = np.array([columns[f"intrinsic.{name}"][row] for name in schema.INTRINSICS])
            if not (np.isfinite(intrinsic).all() and (intrinsic[:2] > 0).all()):
                raise DataError(f"{where}: intrinsic is {intrinsic.tolist()}, expected finite numbers, f_u and f_v > 0")
            size = columns["height"][row], columns["width"][row]
            if min(size) <= 0:
                raise DataError(f"{where}: height and width are {size}, expected pixels")
            pose = _pose(columns["extrinsic.transform"][row], f"{where}: extrinsic.transform")
            shutter = columns["rolling_shutter_direction"][row]
            cameras[camera] = CameraCalibration(camera, intrinsic, pose, size, shutter)
        return cameras

    def _stats(self) -> dict[int, Stats]:
        file = self._open(schema.STATS)
        columns = file.table(*schema.STATS.columns)
        stats = {}
        for row, timestamp in enumerate(file.timestamps.tolist()):
            counts = [
                dict(zip(columns[f"{sensor}_object_counts.types"][row] or [],
                         columns[f"{sensor}_object_counts.counts"][row] or []))
                for sensor in ("lidar", "camera")
            ]  # fmt: skip
            place = [columns[name][row] for name in ("time_of_day", "location", "weather")]
            stats[timestamp] = Stats(*place, *counts)
        if missing := [t for t in self.timestamps if t not in stats]:
            raise DataError(f"{file.path}: no row of frame {missing[0]}, which vehicle_pose has")
        return stats


def _streamed(components: Collection[str]) -> list[schema.Component]:
    """The components with a row for each frame and sensor that frames of ``components`` are made of."""
    chosen = [c for c in (schema.LIDAR, schema.LIDAR_CAMERA_PROJECTION, schema.CAMERA_IMAGE) if c.name in components]
    return chosen + [schema.LIDAR_POSE] * (schema.LIDAR in chosen)


def _sensor_key(component: schema.Component) -> tuple[str, dict[int, str]]:
    return ("camera_name", CAMERAS) if component is schema.CAMERA_IMAGE else ("laser_name", LASERS)


def _sensors(file: ComponentFile, key: str, known: dict[int, str]) -> list[int]:
    sensors = file.keys[key].tolist()
    for sensor in sensors:
        if sensor not in known:
            raise DataError(f"{file.path}: key.{key} is {sensor}, expected one of {sorted(known)}")
    if missing := sorted(set(known) - set(sensors)):
        raise DataError(f"{file.path}: no row of {known[missing[0]]} (key.{key} {missing[0]})")
    return sensors


def _pose(values: Any, where: str) -> np.ndarray:
    if len(values) != 16:
        raise DataError(f"{where}: {len(values)} numbers, expected 16 of a 4x4 matrix")
    return check_pose(np.asarray(values, dtype=np.float64).reshape(4, 4), where)


def _returns(row: dict[str, Any], depth: int, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    images = []
    for number in (1, 2):
        values, shape = (row.get(f"range_image_return{number}.{part}") for part in ("values", "shape"))
        if values is None or shape is None:
            images.append(None)
        else:
            images.append(check_range_image(values, shape, depth, f"{where}: range_image_return{number}"))
    return tuple(images)


def _image(row: dict[str, Any], where: str) -> CameraImage:
    time = row["pose_timestamp"]
    if not 1e9 <= time < 1e10:
        raise DataError(f"{where}: pose_timestamp is {time}, expected seconds since 1970 (ten digits)")
    if not row["image"].startswith(b"\xff\xd8"):
        raise DataError(f"{where}: image has {len(row['image'])} bytes that do not begin as a JPEG does")
    velocity = [row[f"velocity.{kind}_velocity.{axis}"] for kind in ("linear", "angular") for axis in "xyz"]
    shutter = ("shutter", "camera_trigger_time", "camera_readout_done_time")
    return CameraImage(
        row["image"],
        _pose(row["pose.transform"], f"{where}: pose.transform"),
        time,
        np.array(velocity),
        tuple(row[f"rolling_shutter_params.{name}"] for name in shutter),
    )

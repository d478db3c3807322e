"""The components of a Waymo v2 folder as the official package (``waymo_open_dataset.v2``) defines them.

A component is a folder of one Parquet file per segment. Its key columns are named ``key.*``, all others
``[<title>].*``. Reading and the synthetic writer share these tables.
"""

from dataclasses import dataclass

import pyarrow as pa

_KEYS = {
    "segment_context_name": pa.string(),
    "frame_timestamp_micros": pa.int64(),
    "laser_name": pa.int8(),
    "camera_name": pa.int8(),
    "laser_object_id": pa.string(),
    "camera_object_id": pa.string(),
}
_SEGMENT, _FRAME = ("segment_context_name",), ("segment_context_name", "frame_timestamp_micros")
SEGMENT, TIMESTAMP, LASER, CAMERA = (f"key.{name}" for name in list(_KEYS)[:4])
LASER_OBJECT, CAMERA_OBJECT = "key.laser_object_id", "key.camera_object_id"

_DOUBLE, _INT8 = pa.float64(), pa.int8()
_POSE = pa.list_(pa.float64(), 16)


@dataclass(frozen=True)
class Component:
    """One kind of table: ``name`` of its folder, ``title`` in its column names, ``keys`` and ``columns`` by name.

    Columns in ``optional`` may be null, or be missing from a file. Range images have ``channels`` numbers a pixel.
    """

    name: str
    title: str
    keys: tuple[str, ...]
    columns: dict[str, pa.DataType]
    optional: tuple[str, ...] = ()
    channels: int = 0

    def column(self, name: str) -> str:
        """Full name of a column."""
        return f"[{self.title}].{name}"

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of a file, column for column that of the official package."""
        keys = [(f"key.{name}", _KEYS[name]) for name in self.keys]
        return pa.schema(keys + [(self.column(name), kind) for name, kind in self.columns.items()])


def _vector(name: str, axes: str = "xyz", kind: pa.DataType = _DOUBLE) -> dict[str, pa.DataType]:
    return {f"{name}.{axis}": kind for axis in axes}


def _range_images(*returns: int) -> dict[str, pa.DataType]:
    parts = {"values": pa.list_(pa.float32()), "shape": pa.list_(pa.int32(), 3)}
    return {f"range_image_return{n}.{part}": kind for n in returns for part, kind in parts.items()}


def _box3d(name: str) -> dict[str, pa.DataType]:
    return {**_vector(f"{name}.center"), **_vector(f"{name}.size"), f"{name}.heading": _DOUBLE}


_COUNTS = {f"{sensor}_object_counts.{part}": pa.list_(kind) for sensor in ("lidar", "camera")
           for part, kind in (("types", _INT8), ("counts", pa.int32()))}  # fmt: skip
_DIFFICULTY = {"difficulty_level.detection": _INT8, "difficulty_level.tracking": _INT8}
_MOTION = {**_vector("speed"), **_vector("acceleration")}
_SECOND = ("range_image_return2.values", "range_image_return2.shape")

LIDAR = Component("lidar", "LiDARComponent", (*_FRAME, "laser_name"), _range_images(1, 2), _SECOND, channels=4)
LIDAR_CALIBRATION = Component(
    "lidar_calibration",
    "LiDARCalibrationComponent",
    (*_SEGMENT, "laser_name"),
    {
        "extrinsic.transform": _POSE,
        "beam_inclination.min": _DOUBLE,
        "beam_inclination.max": _DOUBLE,
        "beam_inclination.values": pa.list_(_DOUBLE),
    },
    ("beam_inclination.values",),
)
LIDAR_CAMERA_PROJECTION = Component(
    "lidar_camera_projection",
    "LiDARCameraProjectionComponent",
    (*_FRAME, "laser_name"),
    _range_images(1, 2),
    _SECOND,
    channels=6,
)
LIDAR_POSE = Component("lidar_pose", "LiDARPoseComponent", (*_FRAME, "laser_name"), _range_images(1), channels=6)
CAMERA_IMAGE = Component(
    "camera_image",
    "CameraImageComponent",
    (*_FRAME, "camera_name"),
    {
        "image": pa.binary(),
        "pose.transform": _POSE,
        **_vector("velocity.linear_velocity", kind=pa.float32()),
        **_vector("velocity.angular_velocity"),
        "pose_timestamp": _DOUBLE,
        "rolling_shutter_params.shutter": _DOUBLE,
        "rolling_shutter_params.camera_trigger_time": _DOUBLE,
        "rolling_shutter_params.camera_readout_done_time": _DOUBLE,
    },
)
INTRINSICS = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
CAMERA_CALIBRATION = Component(
    "camera_calibration",
    "CameraCalibrationComponent",
    (*_SEGMENT, "camera_name"),
    {
        **{f"intrinsic.{name}": _DOUBLE for name in INTRINSICS},
        "extrinsic.transform": _POSE,
        "width": pa.int32(),
        "height": pa.int32(),
        "rolling_shutter_direction": _INT8,
    },
)
LIDAR_BOX = Component(
    "lidar_box",
    "LiDARBoxComponent",
    (*_FRAME, "laser_object_id"),
    {
        **_box3d("box"),
        "type": _INT8,
        "num_lidar_points_in_box": pa.int64(),
        "num_top_lidar_points_in_box": pa.int64(),
        **_MOTION,
        **_DIFFICULTY,
    },
    (*_MOTION, *_DIFFICULTY),
)
LIDAR_CAMERA_SYNCED_BOX = Component(
    "lidar_camera_synced_box",
    "LiDARCameraSyncedBoxComponent",
    (*_FRAME, "laser_object_id"),
    {"most_visible_camera_name": _INT8, **_box3d("camera_synced_box")},
)
CAMERA_BOX = Component(
    "camera_box",
    "CameraBoxComponent",
    (*_FRAME, "camera_name", "camera_object_id"),
    {**_vector("box.center", "xy"), **_vector("box.size", "xy"), "type": _INT8, **_DIFFICULTY},
    tuple(_DIFFICULTY),
)
VEHICLE_POSE = Component("vehicle_pose", "VehiclePoseComponent", _FRAME, {"world_from_vehicle.transform": _POSE})
STATS = Component(
    "stats",
    "StatsComponent",
    _FRAME,
    {"time_of_day": pa.string(), "location": pa.string(), "weather": pa.string(), **_COUNTS},
    tuple(_COUNTS),
)
COMPONENTS = {
    component.name: component
    for component in (
        LIDAR, LIDAR_CALIBRATION, LIDAR_CAMERA_PROJECTION, LIDAR_POSE, CAMERA_IMAGE, CAMERA_CALIBRATION, LIDAR_BOX,
        LIDAR_CAMERA_SYNCED_BOX, CAMERA_BOX, VEHICLE_POSE, STATS,
    )
}  # fmt: skip

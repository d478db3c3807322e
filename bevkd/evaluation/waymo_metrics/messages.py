"""Waymo's protobuf messages, as far as detections need them: a schema in Python instead of generated code.

Names and numbers are those of ``label.proto``, ``protos/metrics.proto`` and ``protos/submission.proto`` of the Waymo
Open Dataset, fields that are left out are skipped when reading. Enumerations are open here, so that a number that Waymo
does not define is seen instead of read as 0.
"""

import mmap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from bevkd.errors import DataError

PACKAGE = "waymo.open_dataset"
# Field by field: name:type=number, a * after the type for repeated, (value) for a default.
MESSAGES = {
    "Label.Box": "center_x:double=1 center_y:double=2 center_z:double=3 width:double=4 length:double=5"
    " height:double=6 heading:double=7",
    "Label.Metadata": "speed_x:double=1 speed_y:double=2 accel_x:double=3 accel_y:double=4 speed_z:double=5"
    " accel_z:double=6",
    "Label": "box:Label.Box=1 metadata:Label.Metadata=2 type:Label.Type=3 id:string=4"
    " detection_difficulty_level:Label.DifficultyLevel=5 tracking_difficulty_level:Label.DifficultyLevel=6"
    " num_lidar_points_in_box:int32=7 most_visible_camera_name:string=11 camera_synced_box:Label.Box=12"
    " num_top_lidar_points_in_box:int32=13",
    "Polygon2dProto": "x:double*=1 y:double*=2 id:string=3",
    "CameraName": "",
    "Object": "object:Label=1 score:float(1.0)=2 overlap_with_nlz:bool=3 context_name:string=4"
    " frame_timestamp_micros:int64=5 camera_name:CameraName.Name=6",
    "NoLabelZoneObject": "zone:Polygon2dProto=1 context_name:string=2 frame_timestamp_micros:int64=3",
    "Objects": "objects:Object*=1 no_label_zone_objects:NoLabelZoneObject*=2",
    "Submission": "task:Submission.Task=1 unique_method_name:string=2 authors:string*=3 affiliation:string=4"
    " description:string=5 method_link:string=6 number_past_frames_exclude_current:int32=9"
    " number_future_frames_exclude_current:int32=10 inference_results:Objects=11"
    " sensor_type:Submission.SensorType=12 account_name:string=13 object_types:Label.Type*=14"
    " latency_second:float=15 docker_image_source:string=16",
}
ENUMS = {
    "Label.Box.Type": "TYPE_UNKNOWN TYPE_3D TYPE_2D TYPE_AA_2D",
    "Label.Type": "TYPE_UNKNOWN TYPE_VEHICLE TYPE_PEDESTRIAN TYPE_SIGN TYPE_CYCLIST",
    "Label.DifficultyLevel": "UNKNOWN LEVEL_1 LEVEL_2",
    "CameraName.Name": "UNKNOWN FRONT FRONT_LEFT FRONT_RIGHT SIDE_LEFT SIDE_RIGHT REAR_LEFT REAR REAR_RIGHT",
    "Submission.Task": "UNKNOWN DETECTION_2D DETECTION_3D TRACKING_2D TRACKING_3D DOMAIN_ADAPTATION"
    " CAMERA_ONLY_DETECTION_3D",
    "Submission.SensorType": "INVALID LIDAR_ALL LIDAR_TOP CAMERA_ALL CAMERA_LIDAR_TOP CAMERA_LIDAR_ALL",
}
TYPES = tuple(ENUMS["Label.Type"].split())
LEVELS = tuple(ENUMS["Label.DifficultyLevel"].split())[1:]
BOX_FIELDS = ("center_x", "center_y", "center_z", "length", "width", "height", "heading")
"""Fields of ``Label.Box`` in the order of our columns."""
_CHUNK = 4096  # objects parsed at a time


@cache
def message(name: str) -> Any:
    """The class of a message, e.g. ``message("Object")``. Its own pool: Waymo's generated code may be loaded too."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="bevkd/waymo.proto", package=PACKAGE, syntax="editions", edition=descriptor_pb2.EDITION_2023
    )
    file.options.features.repeated_field_encoding = descriptor_pb2.FeatureSet.EXPANDED
    made: dict[str, Any] = {}
    for name in sorted(MESSAGES):  # an outer message before those within it
        outer, _, short = name.rpartition(".")
        made[name] = (made[outer].nested_type if outer else file.message_type).add(name=short)
    for name, fields in MESSAGES.items():
        for field in fields.split():
            _add_field(made[name], field)
    for name, values in ENUMS.items():
        outer, _, short = name.rpartition(".")
        enum = made[outer].enum_type.add(name=short)
        for number, value in enumerate(values.split()):
            enum.value.add(name=value, number=number)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(to: descriptor_pb2.DescriptorProto, text: str) -> None:
    """Add the field that ``text`` describes, see :data:`MESSAGES`."""
    head, number = text.split("=")
    name, kind = head.split(":")
    kind, _, default = kind.rstrip(")").partition("(")
    field = descriptor_pb2.FieldDescriptorProto
    added = to.field.add(name=name, number=int(number), label=field.LABEL_OPTIONAL)
    if kind.endswith("*"):
        added.label, kind = field.LABEL_REPEATED, kind[:-1]
    if default:
        added.default_value = default
    if kind in MESSAGES or kind in ENUMS:
        added.type = field.TYPE_MESSAGE if kind in MESSAGES else field.TYPE_ENUM
        added.type_name = f".{PACKAGE}.{kind}"
    else:
        added.type = field.Type.Value(f"TYPE_{kind.upper()}")


def read_chunks(path: str | Path) -> Iterator[Any]:
    """``Objects`` messages of at most 4096 entries each, which together are the file's.

    Raises:
        DataError: the file is missing, empty, truncated, or holds something else.
    """
    path = Path(path)
    expected = "expected a serialized waymo.open_dataset.Objects"
    try:
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {expected}") from None
    except ValueError:
        raise DataError(f"{path}: is empty; {expected}") from None
    with content:
        for start, end, count in _slices(content, path, expected):
            try:
                yield message("Objects").FromString(content[start:end])
            except DecodeError:
                raise DataError(
                    f"{path}: objects {count} and following are damaged (bytes {start} to {end}); {expected}"
                ) from None


def _slices(content: mmap.mmap, path: Path, expected: str) -> Iterator[tuple[int, int, int]]:
    """(start, end, number of entries before) of runs of whole entries."""
    size, position, start, count = len(content), 0, 0, 0
    while position < size:
        tag = content[position]
        if tag not in (0x0A, 0x12):  # fields 1 and 2, both with a length
            raise DataError(f"{path}: byte {position} begins no object; {expected}")
        length, shift, cursor = 0, 0, position + 1
        while cursor < size and shift < 35:
            byte = content[cursor]
            length |= (byte & 0x7F) << shift
            cursor, shift = cursor + 1, shift + 7
            if byte < 0x80:
                break
        else:
            length = size
        if cursor + length > size:
            raise DataError(f"{path}: truncated within object {count} (byte {position} of {size}); {expected}")
        position, count = cursor + length, count + 1
        if count % _CHUNK == 0:
            yield start, position, count - _CHUNK
            start = position
    if start < size:
        yield start, size, count - count % _CHUNK

"""Read a Waymo v2 folder with the official package: a script for that package's own environment, never imported.

    python official_v2.py FOLDER OUT.npz

FOLDER holds one folder per component. Every file must have the official schema, every row must make an official object
and give its columns back. OUT.npz gets the number of rows of each component (``rows/NAME``), and the points that the
official conversion makes of each range image (``points/SEGMENT/TIMESTAMP/LASER/RETURN``, [N, 3] in the vehicle frame).
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import pyarrow.parquet as pq
from waymo_open_dataset import v2


def rows_of(path: Path, component: type) -> list:
    """The file's rows as official objects."""
    table = pq.read_table(path)
    expected = component.schema()
    differing = [
        f"{name}: {table.schema.field(name).type if name in table.column_names else 'missing'}, expected {kind}"
        for name, kind in zip(expected.names, expected.types)
        if name not in table.column_names or not same_type(table.schema.field(name).type, kind)
    ]
    extra = sorted(set(table.column_names) - set(expected.names))
    if differing or extra:
        raise SystemExit(f"{path}: {'; '.join(differing + [f'{name}: not official' for name in extra])}")
    objects = []
    for _, row in table.to_pandas().iterrows():
        made = component.from_dict(row.to_dict())
        for name, value in made.to_flatten_dict().items():
            if not same_value(value, row[name]):
                raise SystemExit(f"{path}: {name} is {row[name]!r:.60} and came back as {value!r:.60}")
        objects.append(made)
    return objects


def same_type(found, expected) -> bool:
    """Equal but for the name that a list gives its items."""
    if hasattr(expected, "value_type") and hasattr(found, "value_type"):
        sizes = (getattr(found, "list_size", None), getattr(expected, "list_size", None))
        return sizes[0] == sizes[1] and found.value_type == expected.value_type
    return found == expected


def same_value(one, other) -> bool:
    if one is None or other is None:
        return one is other or bool(np.all(other != other))
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype.kind == "f" or other.dtype.kind == "f":
        return np.array_equal(one, other, equal_nan=True)
    return np.array_equal(one, other)


def main(folder: Path, out: Path) -> None:
    components = {tag: component for component, tag in v2.TAG_BY_COMPONENT.items()}
    unknown = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in components)
    if unknown:
        raise SystemExit(f"{folder}: {unknown[0]} is no official component")
    arrays, objects = {}, {}
    for path in sorted(folder.glob("*/*.parquet")):
        found = rows_of(path, components[path.parent.name])
        arrays[f"rows/{path.parent.name}"] = arrays.get(f"rows/{path.parent.name}", 0) + len(found)
        if path.parent.name in ("lidar", "lidar_pose", "lidar_calibration", "vehicle_pose"):
            objects.setdefault(path.stem, {})[path.parent.name] = found
    for segment, tables in objects.items():
        arrays |= points_of(segment, tables)
    np.savez(out, **arrays)


def points_of(segment: str, tables: dict) -> dict:
    calibrations = {c.key.laser_name: c for c in tables["lidar_calibration"]}
    frames = {c.key.frame_timestamp_micros: c for c in tables["vehicle_pose"]}
    poses = {(c.key.frame_timestamp_micros, c.key.laser_name): c for c in tables["lidar_pose"]}
    points = {}
    for lidar in tables["lidar"]:
        time, laser = lidar.key.frame_timestamp_micros, lidar.key.laser_name
        pose = poses.get((time, laser))
        for number, image in enumerate((lidar.range_image_return1, lidar.range_image_return2), 1):
            if image is None or image.values is None:
                continue
            moved = (pose.range_image_return1, frames[time]) if pose else ()
            found = v2.convert_range_image_to_point_cloud(image, calibrations[laser], *moved)
            points[f"points/{segment}/{time}/{laser}/{number}"] = found.numpy()
    return points


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

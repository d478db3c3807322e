"""Run the official Waymo metrics: a script for the official package's own environment, never imported by bevkd.

    python official_run.py write SCENES.npz FOLDER      columns -> official Objects files NAME.pd.bin, NAME.gt.bin
    python official_run.py fit FOLDER                   such pairs of other origin, cut down to what the op takes
    python official_run.py evaluate FOLDER              every such pair -> FOLDER/official.npz
    python official_run.py describe FOLDER              the two configs as text, the messages' fields as JSON

The ground truth is prepared as the official command line tools document it: objects without LiDAR points are left out,
an unset or unknown difficulty is LEVEL_2 up to five points and LEVEL_1 beyond. For the camera-only (LET) metrics the
points are those of the top LiDAR, objects that no camera sees are left out and the camera-synced box is the truth.
"""

import json
import os
import sys
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
from google.protobuf import text_format
from waymo_open_dataset import dataset_pb2, label_pb2
from waymo_open_dataset.protos import breakdown_pb2, metrics_pb2, submission_pb2

BOX_FIELDS = ("center_x", "center_y", "center_z", "length", "width", "height", "heading")
FEW_POINTS = 5
SENSOR = (1.43, 0.0, 2.18)
CAMERA_AZIMUTHS, HALF_FIELD_OF_VIEW = (0.0, 45.0, -45.0, 90.0, -90.0), 25.2  # degrees, cameras 1 to 5


def make_config(let: bool) -> metrics_pb2.Config:
    """The configuration of the official command line tool for LiDAR or, with ``let``, for camera-only detections."""
    breakdown = breakdown_pb2.Breakdown
    config = metrics_pb2.Config(
        matcher_type=metrics_pb2.MatcherProto.TYPE_HUNGARIAN,
        box_type=label_pb2.Label.Box.TYPE_3D,
        iou_thresholds=[0.0, 0.5, 0.3, 0.3, 0.3] if let else [0.0, 0.7, 0.5, 0.5, 0.5],
        score_cutoffs=[0.01 * i for i in range(100)] + [1.0],
    )
    levels = [label_pb2.Label.LEVEL_2] if let else [label_pb2.Label.LEVEL_1, label_pb2.Label.LEVEL_2]
    for generator in [breakdown.OBJECT_TYPE, breakdown.RANGE] + [breakdown.CAMERA] * let:
        config.breakdown_generator_ids.append(generator)
        config.difficulties.add().levels.extend(levels)
    if let:
        settings = config.let_metric_config
        settings.enabled = True
        settings.align_type = settings.TYPE_RANGE_ALIGNED
        settings.longitudinal_tolerance_percentage = 0.1
        settings.min_longitudinal_tolerance_meter = 0.5
        settings.sensor_location.x, settings.sensor_location.y, settings.sensor_location.z = SENSOR
    return config


def set_box(message, values) -> None:
    for field, value in zip(BOX_FIELDS, values):
        setattr(message, field, float(value))


def write(archive: Path, folder: Path) -> None:
    columns = np.load(archive)
    for name in sorted({key.partition("/")[0] for key in columns.files}):
        for side in ("pd", "gt"):
            prefix = f"{name}/{side}."
            table = {k.removeprefix(prefix): columns[k] for k in columns.files if k.startswith(prefix)}
            objects = metrics_pb2.Objects()
            for row in range(len(table["box"])):
                fill(objects.objects.add(), {k: v[row] for k, v in table.items()})
            (folder / f"{name}.{side}.bin").write_bytes(objects.SerializeToString())


def fill(target: metrics_pb2.Object, row: dict) -> None:
    target.context_name, target.frame_timestamp_micros = str(row["context"]), int(row["time"])
    label = target.object
    set_box(label.box, row["box"])
    label.type = int(row["type"])
    if "score" in row:
        target.score = float(row["score"])
        if row["nlz"]:
            target.overlap_with_nlz = True
        return
    label.num_lidar_points_in_box = int(row["points"])
    label.num_top_lidar_points_in_box = int(row["top_points"])
    if row["difficulty"] >= 0:
        label.detection_difficulty_level = int(row["difficulty"])
    if row["camera"]:
        label.most_visible_camera_name = dataset_pb2.CameraName.Name.Name(int(row["camera"]))
    set_box(label.camera_synced_box, row["synced_box"])


def kept_truth(target: metrics_pb2.Object, let: bool) -> bool:
    """Prepare one true object in place; False where the official tool leaves it out."""
    label = target.object
    points = label.num_top_lidar_points_in_box if let else label.num_lidar_points_in_box
    if points <= 0:
        return False
    if label.detection_difficulty_level == label_pb2.Label.UNKNOWN:
        few = points <= FEW_POINTS
        label.detection_difficulty_level = label_pb2.Label.LEVEL_2 if few else label_pb2.Label.LEVEL_1
    if let:
        if not label.most_visible_camera_name:
            return False
        label.box.CopyFrom(label.camera_synced_box)
    return True


def tensors(objects: list, frames: dict) -> dict:
    box = [[getattr(o.object.box, field) for field in BOX_FIELDS] for o in objects]
    return {
        "bbox": np.array(box, np.float32).reshape(len(objects), 7),
        "type": np.array([o.object.type for o in objects], np.uint8),
        "frame_id": np.array([frames[frame_key(o)] for o in objects], np.int64),
    }


def frame_key(target: metrics_pb2.Object) -> tuple:
    return f"{target.context_name}_{target.camera_name}", target.frame_timestamp_micros


def run_op(predictions: list, truths: list, let: bool) -> dict:
    """The outputs of the official op, by name."""
    from waymo_open_dataset.metrics.ops import py_metrics_ops

    frames = {key: i for i, key in enumerate(sorted({frame_key(o) for o in [*predictions, *truths]}))}
    inputs = {f"prediction_{k}": v for k, v in tensors(predictions, frames).items()}
    inputs |= {f"ground_truth_{k}": v for k, v in tensors(truths, frames).items()}
    inputs["prediction_score"] = np.array([o.score for o in predictions], np.float32)
    inputs["prediction_overlap_nlz"] = np.array([o.overlap_with_nlz for o in predictions], bool)
    levels = [o.object.detection_difficulty_level for o in truths]
    inputs["ground_truth_difficulty"] = np.array(levels, np.uint8)
    outputs = py_metrics_ops.detection_metrics(config=make_config(let).SerializeToString(), **inputs)
    fields = outputs._asdict()
    precision_recall = fields["precision_recall"].numpy()
    return {
        "ap": fields["average_precision"].numpy(),
        "aph": fields["average_precision_ha_weighted"].numpy(),
        "apl": fields["average_precision_longitudinal_affinity_weighted"].numpy(),
        "counts": precision_recall[..., 2:].astype(np.int32),  # TP, FP, FN for each score cut-off
        "precision_heading": fields["precision_recall_ha_weighted"].numpy()[..., 0],
        "precision_longitudinal": fields["precision_recall_longitudinal_affinity_weighted"].numpy()[..., 0],
    }


def parse(path: Path) -> list:
    return list(metrics_pb2.Objects.FromString(path.read_bytes()).objects)


def fit(folder: Path) -> None:
    """Boxes in float32; for the camera that sees an object best the one that the op takes, as it cannot be told."""
    for path in folder.glob("*.bin"):
        objects = metrics_pb2.Objects.FromString(path.read_bytes())
        for target in objects.objects:
            label = target.object
            for box in (label.box, label.camera_synced_box):
                set_box(box, np.array([getattr(box, field) for field in BOX_FIELDS], np.float32))
            if label.most_visible_camera_name:
                azimuth = np.arctan2(label.camera_synced_box.center_y, label.camera_synced_box.center_x)
                degrees = azimuth * (180.0 / np.pi)
                seen = [n for n, middle in enumerate(CAMERA_AZIMUTHS, 1) if abs(degrees - middle) < HALF_FIELD_OF_VIEW]
                label.most_visible_camera_name = dataset_pb2.CameraName.Name.Name(seen[0]) if seen else ""
        path.write_bytes(objects.SerializeToString())


def evaluate(folder: Path) -> None:
    from waymo_open_dataset.metrics.python import config_util_py

    collected = defaultdict(list)
    names = sorted(path.name.removesuffix(".pd.bin") for path in folder.glob("*.pd.bin"))
    for metric, let in (("detection", False), ("let", True)):
        for name in names:
            predictions = parse(folder / f"{name}.pd.bin")
            truths = [o for o in parse(folder / f"{name}.gt.bin") if kept_truth(o, let)]
            for key, value in run_op(predictions, truths, let).items():
                collected[f"{metric}.{key}"].append(value)
        collected[f"{metric}.breakdowns"] = config_util_py.get_breakdown_names_from_config(make_config(let))
    np.savez_compressed(folder / "official.npz", scenes=names, **{k: np.array(v) for k, v in collected.items()})


def describe(folder: Path) -> None:
    for name, let in (("detection", False), ("let", True)):
        (folder / f"{name}_config.txtpb").write_text(text_format.MessageToString(make_config(let)))
    messages, enums = {}, {}
    waiting = [*metrics_pb2.DESCRIPTOR.message_types_by_name.values(), submission_pb2.Submission.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.full_name in messages:
            continue
        messages[message.full_name] = {f.name: [f.number, f.type, f.label] for f in message.fields}
        waiting += [f.message_type for f in message.fields if f.message_type]
        kinds = [f.enum_type for f in message.fields if f.enum_type]
        enums |= {e.full_name: {v.name: v.number for v in e.values} for e in kinds}
    text = json.dumps({"messages": messages, "enums": enums}, indent=1, sort_keys=True)
    (folder / "descriptors.json").write_text(text + "\n")


if __name__ == "__main__":
    command, *paths = sys.argv[1:]
    commands = {"write": write, "fit": fit, "evaluate": evaluate, "describe": describe}
    commands[command](*map(Path, paths))

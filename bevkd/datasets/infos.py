"""Info files in mmdet3d's schema 1.1 from a nuScenes folder."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bevkd.errors import DataError

from .constants import CAMERAS, CLASSES, POINT_FEATURES
from .nuscenes_tables import explained, open_nuscenes
from .point_files import count_points, read_points
from .validate import validate_infos

if TYPE_CHECKING:
    from nuscenes import NuScenes

_SPLITS = {
    "v1.0-mini": {"train": "mini_train", "val": "mini_val"},
    "v1.0-trainval": {"train": "train", "val": "val"},
    "v1.0-test": {"test": "test"},
}


def create_infos(
    root: str | Path, version: str = "v1.0-mini", out_dir: str | Path | None = None, max_sweeps: int = 10
) -> dict[str, Path]:
    """Write ``nuscenes_infos_<split>.pkl`` for every split of ``version``.

    The schema is what mmdet3d's converter followed by its v1.1 update writes (without the per-camera 2D instances), so
    plain mmdet3d datasets read the files too. On top: ``height`` and ``width`` of every image and ``num_points`` of
    every sweep, from which a truncated file is recognised later, and ``prev``, the token of the key frame before (""
    for the first of a scene). Numbers are float64 where mmdet3d rounds to float32.

    Frames: boxes are x, y, z of the gravity centre, length, width, height and yaw (counter-clockwise from +x) in the
    key frame's LiDAR frame; velocities m/s in that frame, NaN where the devkit knows none; ``lidar2cam`` includes the
    ego motion between the two sensors' time stamps; times in seconds.

    Only builtin types are in the files, the same input gives the same bytes, and a file appears whole or not at all.

    Args:
        root: A nuScenes data root, real or synthetic, with the tables in ``root/version``.
        out_dir: Where to write; ``root`` when None.
        max_sweeps: How many earlier sweeps to list per sample.

    Returns:
        The paths by split: train and val, or test.

    Raises:
        DataError: unusable tables (:func:`open_nuscenes`), an unknown category, a missing or odd-sized sweep, a
            missing image, a box or calibration that :func:`validate_infos` refuses, or a split without scenes.
    """
    from nuscenes.utils.splits import create_splits_scenes
    from rich.progress import track

    if version not in _SPLITS:
        raise DataError(f"version {version}: expected one of {', '.join(_SPLITS)}")
    root = Path(root)
    nusc = open_nuscenes(root, version)
    scene_names = {scene["token"]: scene["name"] for scene in nusc.scene}
    official = create_splits_scenes()
    members = {split: set(official[name]) for split, name in _SPLITS[version].items()}
    lists: dict[str, list[dict]] = {split: [] for split in members}
    ignored: set[str] = set()
    with explained(root, version):
        make = _info_maker(nusc, root, max_sweeps, ignored)
        for sample in track(nusc.sample, description=f"infos {version}"):
            for split, names in members.items():
                if scene_names[sample["scene_token"]] in names:
                    lists[split].append({"sample_idx": len(lists[split]), **make(sample)})
    metainfo = {
        "categories": {**{name: i for i, name in enumerate(CLASSES)}, **dict.fromkeys(sorted(ignored), -1)},
        "dataset": "nuscenes",
        "version": version,
        "info_version": "1.1",
    }
    folder = Path(out_dir) if out_dir is not None else root
    for split, data_list in lists.items():
        if not data_list:
            name = _SPLITS[version][split]
            raise DataError(f"{root / version}: no scene of split {name}; expected e.g. {min(members[split])}")
        validate_infos({"metainfo": metainfo, "data_list": data_list}, folder / f"nuscenes_infos_{split}.pkl")
    folder.mkdir(parents=True, exist_ok=True)
    return {
        split: write_pickle({"metainfo": metainfo, "data_list": data_list}, folder / f"nuscenes_infos_{split}.pkl")
        for split, data_list in lists.items()
    }


def write_pickle(content: dict, path: Path) -> Path:
    """Pickle ``content`` beside ``path`` and rename it into place, so that it appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            pickle.dump(content, file, protocol=4)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _info_maker(nusc: "NuScenes", root: Path, max_sweeps: int, ignored: set[str]) -> Callable[[dict], dict]:
    """A function from a sample record to its info; it remembers the sizes of files that several samples share."""
    num_points: dict[str, int] = {}

    def count(filename: str) -> int:
        if filename not in num_points:
            num_points[filename] = _count_points(root / filename)
        return num_points[filename]

    def make(sample: dict) -> dict:
        missing = [name for name in ("LIDAR_TOP", *CAMERAS) if name not in sample["data"]]
        if missing:
            raise DataError(f"sample {sample['token']}: no key frame of {missing[0]} in table sample_data")
        lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        num_points = count(lidar["filename"])
        if not sample["prev"]:  # one file of every scene is looked into; the others count by their size
            read_points(root / lidar["filename"])
        lidar2ego, ego2global = _poses(nusc, lidar)
        lidar2global = ego2global @ lidar2ego
        global2lidar = _inverse(lidar2global)
        info = {
            "token": sample["token"],
            "prev": sample["prev"],
            "timestamp": sample["timestamp"] / 1e6,
            "ego2global": ego2global.tolist(),
            "images": {name: _image(nusc, root, sample["data"][name], lidar2global) for name in CAMERAS},
            "lidar_points": {
                "num_pts_feats": POINT_FEATURES,
                "lidar_path": Path(lidar["filename"]).name,
                "lidar2ego": lidar2ego.tolist(),
                "num_points": num_points,
            },
            "lidar_sweeps": [],
        }
        record = lidar
        while record["prev"] and len(info["lidar_sweeps"]) < max_sweeps:
            record = nusc.get("sample_data", record["prev"])
            info["lidar_sweeps"].append(_sweep(nusc, record, lidar2global, count(record["filename"])))
        if nusc.version != "v1.0-test":
            info["instances"] = _instances(nusc, sample, global2lidar, ignored)
        return info

    return make


def _count_points(path: Path) -> int:
    try:
        return count_points(path)
    except FileNotFoundError:
        raise DataError(f"{path}: missing, but table sample_data names it; expected a LiDAR sweep") from None


def _poses(nusc: "NuScenes", sample_data: dict) -> tuple[np.ndarray, np.ndarray]:
    """sensor-to-ego and ego-to-global ``[4, 4]`` float64 of one sample_data record."""
    sensor = nusc.get("calibrated_sensor", sample_data["calibrated_sensor_token"])
    ego = nusc.get("ego_pose", sample_data["ego_pose_token"])
    return _matrix(sensor, "calibrated_sensor"), _matrix(ego, "ego_pose")


def _matrix(record: dict, table: str) -> np.ndarray:
    """``[4, 4]`` from a record's ``rotation`` (w, x, y, z) and ``translation``."""
    quaternion = np.array(record["rotation"], dtype=np.float64)
    norm = float(np.linalg.norm(quaternion))
    if quaternion.shape != (4,) or not abs(norm - 1.0) < 1e-3:
        raise DataError(f"table {table}: token {record['token']}: rotation is no unit quaternion (norm {norm:.4g})")
    matrix = np.eye(4)
    matrix[:3, :3] = quaternion_to_matrix((quaternion / norm)[None])[0]
    matrix[:3, 3] = record["translation"]
    return matrix


def quaternion_to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """``[M, 4]`` unit quaternions (w, x, y, z) to ``[M, 3, 3]`` rotations."""
    w, x, y, z = quaternion.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


def _inverse(pose: np.ndarray) -> np.ndarray:
    """Inverse of a rigid ``[4, 4]``; exact to rounding also where translations are kilometres."""
    result = np.eye(4)
    result[:3, :3] = pose[:3, :3].T
    result[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return result


def _image(nusc: "NuScenes", root: Path, token: str, lidar2global: np.ndarray) -> dict[str, Any]:
    record = nusc.get("sample_data", token)
    if not (root / record["filename"]).is_file():
        raise DataError(f"{root / record['filename']}: missing, but table sample_data names it; expected an image")
    cam2ego, ego2global = _poses(nusc, record)
    intrinsic = nusc.get("calibrated_sensor", record["calibrated_sensor_token"])["camera_intrinsic"]
    return {
        "img_path": Path(record["filename"]).name,
        "height": record["height"],
        "width": record["width"],
        "cam2img": [[float(value) for value in row] for row in intrinsic],
        "cam2ego": cam2ego.tolist(),
        "sample_data_token": token,
        "timestamp": record["timestamp"] / 1e6,
        "lidar2cam": (_inverse(ego2global @ cam2ego) @ lidar2global).tolist(),
    }


def _sweep(nusc: "NuScenes", record: dict, lidar2global: np.ndarray, num_points: int) -> dict[str, Any]:
    sensor2ego, ego2global = _poses(nusc, record)
    return {
        "timestamp": record["timestamp"] / 1e6,
        "ego2global": ego2global.tolist(),
        "lidar_points": {
            "lidar_path": record["filename"],
            "lidar2ego": sensor2ego.tolist(),
            "lidar2sensor": (_inverse(ego2global @ sensor2ego) @ lidar2global).tolist(),
            "num_points": num_points,
        },
        "sample_data_token": record["token"],
    }


def _instances(nusc: "NuScenes", sample: dict, global2lidar: np.ndarray, ignored: set[str]) -> list[dict[str, Any]]:
    """The sample's annotations in the key frame's LiDAR frame."""
    from nuscenes.eval.detection.utils import category_to_detection_name
    from nuscenes.utils.color_map import get_colormap

    annotations = [nusc.get("sample_annotation", token) for token in sample["anns"]]
    quaternions = np.array([a["rotation"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    norms = np.linalg.norm(quaternions, axis=1)
    for annotation, norm in zip(annotations, norms):
        if not abs(norm - 1.0) < 1e-3:
            token = annotation["token"]
            raise DataError(f"table sample_annotation: token {token}: rotation is no unit quaternion (norm {norm:.4g})")
    rotations = global2lidar[:3, :3] @ quaternion_to_matrix(quaternions / norms[:, None])
    centres = np.array([a["translation"] for a in annotations], dtype=np.float64).reshape(-1, 3)
    centres = centres @ global2lidar[:3, :3].T + global2lidar[:3, 3]
    # The yaw of pyquaternion's yaw_pitch_roll, which mmdet3d's converter takes; the LiDAR's tilt of about one degree
    # makes it differ from the projected heading by some 1e-4 rad.
    yaws = np.arctan2(-rotations[:, 0, 1], rotations[:, 0, 0])
    instances = []
    for annotation, centre, yaw in zip(annotations, centres, yaws):
        category = nusc.get("instance", annotation["instance_token"])["category_token"]
        category = nusc.get("category", category)["name"]
        name = category_to_detection_name(category)
        if name is None and category not in get_colormap():
            raise DataError(f"table sample_annotation: token {annotation['token']}: unknown category '{category}'")
        if name is None:
            ignored.add(category)
        width, length, height = annotation["size"]
        velocity = global2lidar[:3, :3] @ [*nusc.box_velocity(annotation["token"])[:2], 0.0]
        lidar_points, radar_points = annotation["num_lidar_pts"], annotation["num_radar_pts"]
        label = -1 if name is None else CLASSES.index(name)
        instances.append(
            {
                "bbox_label": label,
                "bbox_3d": [*centre.tolist(), float(length), float(width), float(height), float(yaw)],
                "bbox_3d_isvalid": lidar_points + radar_points > 0,
                "bbox_label_3d": label,
                "num_lidar_pts": lidar_points,
                "num_radar_pts": radar_points,
                "velocity": velocity[:2].tolist(),
            }
        )
    return instances

"""Info files in mmdet3d's schema 1.1 from a nuScenes folder."""

import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bevkd.errors import DataError
from bevkd.structures.files import whole_file

from .constants import CAMERAS, CLASSES, POINT_FEATURES
from .download import POINT_BYTES, Download, survey, sweeps_before
from .nuscenes_tables import explained, open_nuscenes
from .point_files import read_points
from .splits import info_name, official_splits, split_scenes
from .validate import validate_infos

if TYPE_CHECKING:
    from nuscenes import NuScenes


def create_infos(
    root: str | Path,
    version: str = "v1.0-mini",
    out_dir: str | Path | None = None,
    max_sweeps: int | None = None,
    *,
    splits: Sequence[str] | None = None,
    sensors: Sequence[str] | None = None,
    skip_damaged: bool = False,
    log: Callable[[str], None] = print,
) -> dict[str, Path]:
    """Write ``nuscenes_infos_<name>.pkl`` for the official splits of ``version``, or for those that are named.

    The schema is what mmdet3d's converter followed by its v1.1 update writes (without the per-camera 2D instances), so
    plain mmdet3d datasets read the files too. On top: ``height`` and ``width`` of every image and ``num_points`` of
    every sweep, and ``prev``, the token of the key frame before ("" for the first of a scene). Numbers are float64.

    Frames: boxes are x, y, z of the gravity centre, length, width, height and yaw (counter-clockwise from +x) in the
    key frame's LiDAR frame; velocities m/s in that frame, NaN where the devkit knows none; ``lidar2cam`` includes the
    ego motion between the two sensors' time stamps; times in seconds.

    A part of the download is enough: what is not there as a whole (a sensor, the sweeps between key frames, a scene)
    is left out, see :func:`bevkd.datasets.download.survey`. ``metainfo`` says so: ``split``, ``sensors`` and
    ``left_out``. Without images ``images`` is empty; without LiDAR files ``lidar_points`` has no ``num_points``.

    Only builtin types are in the files; the same input gives the same bytes; files appear whole or not at all.

    Args:
        root: A nuScenes data root, real or synthetic, with the tables in ``root/version``.
        out_dir: Where to write; ``root`` when None.
        max_sweeps: How many earlier sweeps to list per sample; None takes up to 10 of those that are there.
        splits: Official splits of the version or names of ``splits.json``; none of them may be empty then. A split's
            file has its name, except that mini_train and mini_val are written as train and val.
        sensors: ``lidar``, ``camera`` or both; None takes those that are there.
        skip_damaged: Leave out scenes with missing or truncated files.
        log: Is given a line for each kind of thing that was left out.

    Returns:
        The paths by name: train and val, or test, or those of ``splits``.

    Raises:
        DataError: unusable tables (:func:`open_nuscenes`) or split (:func:`bevkd.datasets.splits.split_scenes`), an
            unknown category, a missing or odd-sized file, or a box or calibration that :func:`validate_infos` refuses.
    """
    root = Path(root)
    names = tuple(splits or official_splits(version))
    nusc = open_nuscenes(root, version)
    known = {scene["name"] for scene in nusc.scene}
    members = {split: split_scenes(root / version, split, known) for split in names}
    with explained(root, version):
        scenes = list(dict.fromkeys(scene for of_split in members.values() for scene in of_split))
        download = survey(nusc, root, scenes, sensors, max_sweeps, skip_damaged)
        contents = _contents(nusc, download, members)
    full = {split: infos for split, infos in contents.items() if infos["data_list"]}
    empty = [split for split in contents if split not in full]
    if empty and (splits or not full):
        raise DataError(f"{root}: split {empty[0]} has no scene left of {len(members[empty[0]])}, expected one or more")
    written = _write(full, Path(out_dir) if out_dir is not None else root)
    for line in (*download.lines(), *_warnings(members, empty)):
        log(line)
    return written


def _write(contents: dict[str, dict], folder: Path) -> dict[str, Path]:
    """Check the infos of every split, then write them; the paths by name."""
    paths = {split: folder / f"nuscenes_infos_{info_name(split)}.pkl" for split in contents}
    for split, infos in contents.items():
        validate_infos(infos, paths[split], CAMERAS if "camera" in infos["metainfo"]["sensors"] else ())
    folder.mkdir(parents=True, exist_ok=True)
    return {info_name(split): write_pickle(infos, paths[split]) for split, infos in contents.items()}


def _warnings(members: dict[str, list[str]], empty: list[str]) -> Iterator[str]:
    """What a user should know of the splits: those without infos, and those that share scenes."""
    for split in empty:
        yield f"not written: infos of split {split}, of which no scene is left"
    for one, other in itertools.combinations(members, 2):
        if shared := [scene for scene in members[one] if scene in members[other]]:
            yield (
                f"splits {one} and {other} share {len(shared)} scenes, the first is {shared[0]}: a detector trained on "
                "one has seen them when it is scored on the other"
            )


def _contents(nusc: "NuScenes", download: Download, members: dict[str, list[str]]) -> dict[str, dict]:
    """The content of each split's info file, by split."""
    from rich.progress import track

    names = {scene["token"]: scene["name"] for scene in nusc.scene}
    gone = {*download.absent, *download.damaged}
    kept = {split: set(scenes) - gone for split, scenes in members.items()}
    lists: dict[str, list[dict]] = {split: [] for split in members}
    ignored: set[str] = set()
    for sample in track(nusc.sample, description=f"infos {nusc.version}"):
        scene = names[sample["scene_token"]]
        owners = [split for split, scenes in kept.items() if scene in scenes]
        info = _info(nusc, download, sample, ignored) if owners else {}
        for split in owners:
            lists[split].append({"sample_idx": len(lists[split]), **info})
    categories = {**{name: i for i, name in enumerate(CLASSES)}, **dict.fromkeys(sorted(ignored), -1)}
    header = {"categories": categories, "dataset": "nuscenes", "version": nusc.version, "info_version": "1.1"}
    return {
        split: {"metainfo": {**header, "split": split, **download.metainfo(members[split])}, "data_list": data_list}
        for split, data_list in lists.items()
    }


def write_pickle(content: dict, path: Path) -> Path:
    """Pickle ``content`` to ``path``, which appears whole or not at all."""
    with whole_file(path) as file:
        pickle.dump(content, file, protocol=4)
    return path


def _info(nusc: "NuScenes", download: Download, sample: dict, ignored: set[str]) -> dict[str, Any]:
    """The info of a sample record, without its number; categories that are no class are added to ``ignored``."""
    if "LIDAR_TOP" not in sample["data"]:
        raise DataError(f"sample {sample['token']}: no key frame of LIDAR_TOP in table sample_data")
    lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    lidar2ego, ego2global = _poses(nusc, lidar)
    lidar2global = ego2global @ lidar2ego
    info = {
        "token": sample["token"],
        "prev": sample["prev"],
        "timestamp": sample["timestamp"] / 1e6,
        "ego2global": ego2global.tolist(),
        "images": {},
        "lidar_points": {
            "num_pts_feats": POINT_FEATURES,
            "lidar_path": Path(lidar["filename"]).name,
            "lidar2ego": lidar2ego.tolist(),
        },
        "lidar_sweeps": [],
    }
    if "camera" in download.sensors:
        info["images"] = {name: _image(nusc, sample["data"][name], lidar2global) for name in CAMERAS}
    if "lidar" in download.sensors:
        if not sample["prev"]:  # one file of every scene is looked into; the others count by their size
            read_points(download.sizes.root / lidar["filename"])
        info["lidar_points"]["num_points"] = download.sizes[lidar["filename"]] // POINT_BYTES
        records = sweeps_before(nusc, lidar, download.max_sweeps)
        info["lidar_sweeps"] = [
            _sweep(nusc, record, lidar2global, download.sizes[record["filename"]] // POINT_BYTES)
            for record in records
            if download.holds(record["filename"])
        ]
    if nusc.version != "v1.0-test":
        info["instances"] = _instances(nusc, sample, _inverse(lidar2global), ignored)
    return info


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


def _image(nusc: "NuScenes", token: str, lidar2global: np.ndarray) -> dict[str, Any]:
    record = nusc.get("sample_data", token)
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

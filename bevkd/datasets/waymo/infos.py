"""One frame as an info of mmdet3d's schema 1.1."""

from typing import Any

import numpy as np

from bevkd.datasets.validate import check_infos
from bevkd.errors import DataError

from .frames import POINT_FEATURES, CameraCalibration, CameraImage, Frame
from .names import CAMERAS, CLASSES, DIFFICULTIES, LABELS, REGENERATE

# A camera that looks along x with y to its left, to one that looks along z with x to the right and y down.
_OPTICAL = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
_KEYS = ("context_name", "timestamp", "prev")


def metainfo() -> dict[str, Any]:
    """The head of a Waymo info file."""
    categories = {**{name: label for label, name in enumerate(CLASSES)}, "Sign": -1, "Unknown": -1}
    return {"categories": categories, "dataset": "waymo", "version": "v2", "info_version": "1.1"}


def token_of(segment: str, timestamp: int) -> str:
    """The name of a frame."""
    return f"{segment}_{timestamp}"


def point_file(segment: str, timestamp: int) -> str:
    """Path of a frame's points below the points' folder."""
    return f"{segment}/{timestamp}.bin"


def image_file(segment: str, timestamp: int, camera: str) -> str:
    """Path of an image below the images' folder."""
    return f"{segment}/{timestamp}_{camera}.jpg"


def frame_info(frame: Frame, previous: int | None, num_points: int) -> dict[str, Any]:
    """The info of a frame, as mmdet3d's own converter for Waymo arranges it, in builtin types.

    Everything is in the vehicle frame at the frame's pose. Boxes are x, y, z of the BOTTOM centre, length, width,
    height and yaw, as mmdet3d's Waymo infos have them (its nuScenes infos have the middle); velocities m/s; labels -1
    for signs and what Waymo calls unknown. ``lidar2cam`` leads into a camera frame with z forward, at the time of the
    image: the vehicle's motion between the frame's pose and the image's is part of it. ``cam2img`` counts pixels from
    the CENTRE of the first one; ``distortion`` (k1, k2, p1, p2, k3) is left to whoever wants it.

    Args:
        previous: timestamp of the frame before in its segment, None for the first.
        num_points: number of points in the frame's file; 0 where only the cameras are converted and there is no file.

    Returns:
        ``token``, ``prev``, ``context_name``, ``timestamp`` (microseconds, of the frame's start), ``ego2global``,
        ``images``, ``lidar_points``, and where the frame has labels ``instances`` and ``cam_sync_instances``, both
        with ``difficulty`` (0 unset, 1, 2) and ``track_id``.
    """
    info = {
        "token": token_of(frame.segment, frame.timestamp),
        "prev": "" if previous is None else token_of(frame.segment, previous),
        "context_name": frame.segment,
        "timestamp": frame.timestamp,
        "ego2global": frame.pose.tolist(),
        "images": {
            CAMERAS[camera]: _image(frame, frame.cameras[camera], image) for camera, image in frame.images.items()
        },
        "lidar_points": {
            "num_pts_feats": len(POINT_FEATURES),
            "lidar_path": point_file(frame.segment, frame.timestamp),
            "lidar2ego": np.eye(4).tolist(),
            "num_points": num_points,
        },
    }
    if frame.boxes is not None:
        synced = frame.boxes.synced_cameras > 0
        info["instances"] = _instances(frame, frame.boxes.boxes, np.ones(len(synced), bool))
        info["cam_sync_instances"] = _instances(frame, frame.boxes.synced_boxes, synced)
    return info


def _image(frame: Frame, camera: CameraCalibration, image: CameraImage) -> dict[str, Any]:
    f_u, f_v, c_u, c_v, *distortion = camera.intrinsic.tolist()
    name = CAMERAS[camera.name]
    cam2img = np.array([[f_u, 0.0, c_u - 0.5], [0.0, f_v, c_v - 0.5], [0.0, 0.0, 1.0]])
    lidar2cam = _OPTICAL @ np.linalg.inv(image.pose @ camera.extrinsic) @ frame.pose
    return {
        "img_path": image_file(frame.segment, frame.timestamp, name),
        "height": camera.size[0],
        "width": camera.size[1],
        "cam2img": cam2img.tolist(),
        "cam2ego": (camera.extrinsic @ _OPTICAL.T).tolist(),
        "lidar2cam": lidar2cam.tolist(),
        "lidar2img": (cam2img @ lidar2cam[:3]).tolist(),
        "distortion": distortion,
        "timestamp": round(image.pose_time * 1e6),
    }


def _instances(frame: Frame, boxes: np.ndarray, chosen: np.ndarray) -> list[dict[str, Any]]:
    labels = frame.boxes
    bottom = boxes.copy()
    bottom[:, 2] -= bottom[:, 5] / 2
    velocities = labels.speed @ frame.pose[:3, :3]  # Waymo's are in the world's axes
    instances = []
    for row in np.nonzero(chosen)[0]:
        label = LABELS.get(int(labels.types[row]), -1)
        instances.append(
            {
                "bbox_3d": bottom[row].tolist(),
                "bbox_label_3d": label,
                "bbox_label": label,
                "bbox_3d_isvalid": bool(labels.num_points[row] > 0),
                "velocity": velocities[row, :2].tolist(),
                "num_lidar_pts": int(labels.num_points[row]),
                "num_top_lidar_pts": int(labels.num_top_points[row]),
                "difficulty": int(labels.difficulty[row]),
                "track_id": str(labels.ids[row]),
                "camera_id": int(labels.synced_cameras[row]) - 1,
            }
        )
    return instances


def validate_waymo_infos(infos: Any, path: str, cameras: tuple[str, ...] = tuple(CAMERAS.values())) -> None:
    """Refuse an info file that is not of Waymo in schema 1.1, or that is unsound in a number that training reads.

    Raises:
        DataError: see :func:`bevkd.datasets.validate.validate_infos`; also a timestamp that is no whole number of
            microseconds, or an unknown difficulty.
    """
    check_infos(infos, path, cameras, CLASSES, REGENERATE, dataset="waymo", second=1e6)
    for info in infos["data_list"]:
        where = f"{path}: sample {info['token']}"
        if missing := [key for key in _KEYS if key not in info]:
            raise DataError(f"{where}: '{missing[0]}' is missing; expected infos of Waymo: {REGENERATE}")
        time = info["timestamp"]
        if not isinstance(time, int) or not 10**15 <= time < 10**16:
            raise DataError(f"{where}: timestamp is {time}, expected whole microseconds since 1970")
        for number, instance in enumerate(info.get("instances") or ()):
            if instance.get("difficulty") not in DIFFICULTIES:
                raise DataError(
                    f"{where}: instances[{number}]: difficulty is {instance.get('difficulty')}, expected 0, 1 or 2"
                )

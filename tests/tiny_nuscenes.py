"""A nuScenes folder of three scenes that is written in a blink, for tests of the tables' readers.

Nothing in it looks real; every pose, calibration and box is generic (tilted, turned, off-centre), so that a wrong
frame shows, and each box holds the LiDAR points that its annotation counts.
"""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
from pyquaternion import Quaternion

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
CATEGORIES = ("vehicle.car", "human.pedestrian.adult", "movable_object.barrier", "animal")
SIZES = {  # width, length, height
    "vehicle.car": (1.9, 4.6, 1.7), "human.pedestrian.adult": (0.7, 0.8, 1.8),
    "movable_object.barrier": (2.4, 0.5, 1.0), "animal": (0.3, 0.6, 0.5),
}  # fmt: skip
ATTRIBUTES = {"vehicle.car": "vehicle.moving", "human.pedestrian.adult": "pedestrian.moving"}
SCENES = ("scene-0061", "scene-0553", "scene-0103")  # two of mini_train, one of mini_val
IMAGE = (90, 160)  # height, width
FRAMES, SWEEPS = 3, 2  # key frames per scene; sweeps before each later key frame
POINTS_PER_BOX = 40


def token(*parts) -> str:
    return hashlib.md5("/".join(map(str, parts)).encode()).hexdigest()


def write(root: Path, seed: int = 0) -> Path:
    """Write tables, sweeps and images below ``root`` and return it."""
    rng = np.random.default_rng(seed)
    tables: dict[str, list[dict]] = {
        "category": [{"token": token("cat", c), "name": c, "description": ""} for c in CATEGORIES],
        "attribute": [{"token": token("att", a), "name": a, "description": ""} for a in ATTRIBUTES.values()],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "log": [{"token": token("log"), "logfile": "", "vehicle": "", "date_captured": "", "location": "nowhere"}],
        "map": [{"token": token("map"), "category": "semantic_prior", "log_tokens": [token("log")],
                 "filename": "maps/mask.png"}],
        **{name: [] for name in ("instance", "sensor", "calibrated_sensor", "ego_pose", "scene", "sample",
                                 "sample_data", "sample_annotation")},
    }  # fmt: skip
    (root / "maps").mkdir(parents=True)
    cv2.imwrite(str(root / "maps/mask.png"), np.zeros((4, 4), np.uint8))
    for channel in ("LIDAR_TOP", *CAMERAS):
        for folder in ("samples", "sweeps"):
            (root / folder / channel).mkdir(parents=True)
    _calibrate(tables, rng)
    for scene in SCENES:
        _Scene(root, tables, scene, rng).write()
    (root / "v1.0-mini").mkdir()
    for name, records in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(records))
    return root


def _calibrate(tables: dict, rng: np.random.Generator) -> None:
    down = Quaternion(axis=[1, 0, 0], degrees=-90)  # camera axes: x right, y down, z ahead
    for channel in ("LIDAR_TOP", *CAMERAS):
        camera = channel != "LIDAR_TOP"
        turn = (
            Quaternion(axis=[0, 0, 1], degrees=-90 - 60 * CAMERAS.index(channel)) * down
            if camera
            else Quaternion(axis=[0, 0, 1], degrees=-89.5) * Quaternion(axis=rng.normal(size=3), degrees=1.0)
        )
        tables["sensor"].append(
            {"token": token(channel), "channel": channel, "modality": "camera" if camera else "lidar"}
        )
        tables["calibrated_sensor"].append({
            "token": token("cal", channel), "sensor_token": token(channel), "rotation": list(turn),
            "translation": [0.9 + rng.normal() * 0.1, rng.normal() * 0.1, 1.7],
            "camera_intrinsic": [[100.0, 0, 79.0], [0, 101.0, 44.0], [0, 0, 1]] if camera else [],
        })  # fmt: skip


class _Scene:
    """One scene's records: an ego that drives a tilted curve past five objects that move with it."""

    def __init__(self, root: Path, tables: dict, name: str, rng: np.random.Generator) -> None:
        self.root, self.tables, self.name, self.rng = root, tables, name, rng
        self.start = rng.uniform(500, 1500, 2)
        self.heading = rng.uniform(-np.pi, np.pi)
        self.tilt = Quaternion(axis=[*rng.normal(size=2), 0], degrees=1.2)
        names = (*CATEGORIES, "vehicle.car")
        offsets = rng.choice([-1, 1], (len(names), 2)) * rng.uniform(10, 15, (len(names), 2))  # clear of the ego
        self.objects = [(n, o, rng.uniform(-np.pi, np.pi), rng.uniform(3, 5)) for n, o in zip(names, offsets)]
        self.time0 = 1_532_402_927_000_000 + 100_000_000 * SCENES.index(name)

    def ego(self, seconds: float) -> tuple[np.ndarray, Quaternion]:
        along = 6.0 * seconds * np.array([np.cos(self.heading), np.sin(self.heading)])
        turn = Quaternion(axis=[0, 0, 1], radians=self.heading + 0.1 * seconds) * self.tilt
        return np.array([*(self.start + along), 0.0]), turn

    def box(self, index: int, seconds: float) -> tuple[np.ndarray, Quaternion]:
        name, offset, yaw, speed = self.objects[index]
        speed = speed if name in ATTRIBUTES else 0.0
        xy = self.start + offset + seconds * speed * np.array([np.cos(yaw), np.sin(yaw)])
        return np.array([*xy, 1.0]), Quaternion(axis=[0, 0, 1], radians=yaw)

    def write(self) -> None:
        samples = [token(self.name, "sample", k) for k in range(FRAMES)]
        anns = len(self.objects)
        self.tables["scene"].append({
            "token": token(self.name), "log_token": token("log"), "nbr_samples": FRAMES, "name": self.name,
            "first_sample_token": samples[0], "last_sample_token": samples[-1], "description": "",
        })  # fmt: skip
        for index, (name, *_) in enumerate(self.objects):
            self.tables["instance"].append({
                "token": token(self.name, index), "category_token": token("cat", name), "nbr_annotations": FRAMES,
                "first_annotation_token": token(self.name, index, 0),
                "last_annotation_token": token(self.name, index, FRAMES - 1),
            })  # fmt: skip
        for k, sample in enumerate(samples):
            self.tables["sample"].append({
                "token": sample, "timestamp": self.time0 + 500_000 * k, "scene_token": token(self.name),
                "prev": samples[k - 1] if k else "", "next": samples[k + 1] if k + 1 < FRAMES else "",
            })  # fmt: skip
            for index in range(anns):
                self._annotation(index, k, sample)
        self._sensor_data(samples)

    def _annotation(self, index: int, k: int, sample: str) -> None:
        name = self.objects[index][0]
        centre, turn = self.box(index, 0.5 * k)
        self.tables["sample_annotation"].append({
            "token": token(self.name, index, k), "sample_token": sample, "instance_token": token(self.name, index),
            "visibility_token": "4", "attribute_tokens": [token("att", ATTRIBUTES[name])] if name in ATTRIBUTES else [],
            "translation": list(centre), "size": list(SIZES[name]), "rotation": list(turn),
            "prev": token(self.name, index, k - 1) if k else "",
            "next": token(self.name, index, k + 1) if k + 1 < FRAMES else "",
            "num_lidar_pts": POINTS_PER_BOX, "num_radar_pts": 0,
        })  # fmt: skip

    def _sensor_data(self, samples: list[str]) -> None:
        for channel in ("LIDAR_TOP", *CAMERAS):
            times = [(0.5 * k, k) for k in range(FRAMES)]
            if channel == "LIDAR_TOP":
                times += [(0.5 * k + 0.15 * (s + 1), None) for k in range(FRAMES - 1) for s in range(SWEEPS)]
            times.sort()
            tokens = [token(self.name, channel, round(t * 1000)) for t, _ in times]
            for i, (seconds, key) in enumerate(times):
                shift = 0.0 if channel == "LIDAR_TOP" else -0.02  # cameras fire a little earlier
                self._record(channel, seconds + shift, key, tokens, i, samples)

    def _record(self, channel: str, seconds: float, key: int | None, tokens: list[str], i: int, samples: list[str]):
        lidar = channel == "LIDAR_TOP"
        folder = "sweeps" if key is None else "samples"
        stamp = self.time0 + round(seconds * 1e6)
        filename = f"{folder}/{channel}/{self.name}__{channel}__{stamp}.{'pcd.bin' if lidar else 'jpg'}"
        place, turn = self.ego(seconds)
        self.tables["ego_pose"].append(
            {"token": token("ego", tokens[i]), "timestamp": stamp, "rotation": list(turn), "translation": list(place)}
        )
        self.tables["sample_data"].append({
            "token": tokens[i], "sample_token": samples[min(round(seconds / 0.5 + 0.49), FRAMES - 1)] if key is None
            else samples[key], "ego_pose_token": token("ego", tokens[i]),
            "calibrated_sensor_token": token("cal", channel), "filename": filename, "fileformat": filename[-3:],
            "is_key_frame": key is not None, "height": 0 if lidar else IMAGE[0], "width": 0 if lidar else IMAGE[1],
            "timestamp": stamp, "prev": tokens[i - 1] if i else "",
            "next": tokens[i + 1] if i + 1 < len(tokens) else "",
        })  # fmt: skip
        if lidar:
            self._points(seconds, place, turn).tofile(self.root / filename)
        else:
            cv2.imwrite(str(self.root / filename), self.rng.integers(0, 255, (*IMAGE, 3), dtype=np.uint8))

    def _points(self, seconds: float, place: np.ndarray, turn: Quaternion) -> np.ndarray:
        """Points inside every box, in the LiDAR frame at ``seconds``; intensity is the object's index."""
        calibration = self.tables["calibrated_sensor"][0]
        clouds = []
        for index, (name, *_) in enumerate(self.objects):
            centre, rotation = self.box(index, seconds)
            width, length, height = SIZES[name]
            inside = self.rng.uniform(-0.45, 0.45, (POINTS_PER_BOX, 3)) * [length, width, height]
            world = inside @ rotation.rotation_matrix.T + centre
            ego = (world - place) @ turn.rotation_matrix
            lidar = (ego - calibration["translation"]) @ Quaternion(calibration["rotation"]).rotation_matrix
            clouds.append(np.column_stack([lidar, np.full(POINTS_PER_BOX, index), np.zeros(POINTS_PER_BOX)]))
        return np.concatenate(clouds).astype(np.float32)

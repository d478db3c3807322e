"""The thirteen tables of a nuScenes data set, as lists of records ready for json."""

import numpy as np

from bevkd.datasets.synthetic.frames import Annotations, Scene
from bevkd.datasets.synthetic.places import SCENES
from bevkd.datasets.synthetic.rig import LIDAR, quaternion
from bevkd.datasets.synthetic.seeds import token
from bevkd.datasets.synthetic.solids import turn

CATEGORIES = (
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.wheelchair",
    "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.construction_worker",
    "animal",
    "vehicle.car",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.trailer",
    "movable_object.barrier",
    "movable_object.trafficcone",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "static_object.bicycle_rack",
)
ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)
VISIBILITIES = (("1", "v0-40", 0.0), ("2", "v40-60", 0.4), ("3", "v60-80", 0.6), ("4", "v80-100", 0.8))
Tables = dict[str, list[dict]]


def fixed_tables(seed: int) -> Tables:
    """The tables that are the same for every set of scenes."""
    return {
        "category": [
            {"token": token(seed, "category", name), "name": name, "description": f"Synthetic {name}."}
            for name in CATEGORIES
        ],
        "attribute": [
            {"token": token(seed, "attribute", name), "name": name, "description": f"Synthetic {name}."}
            for name in ATTRIBUTES
        ],
        "visibility": [
            {"token": key, "level": level, "description": f"At least {low:.0%} of the object's pixels are seen."}
            for key, level, low in VISIBILITIES
        ],
    }


def build_tables(
    seed: int,
    scenes: list[Scene],
    offsets: dict[str, np.ndarray],
    image_size: tuple[int, int],
    annotations: dict[tuple[str, int], Annotations],
) -> Tables:
    """All thirteen tables. ``annotations`` is keyed by (scene name, frame); ``offsets`` by scene name."""
    tables = fixed_tables(seed)
    channels = [mount.channel for mount in scenes[0].mounts]
    tables["sensor"] = [
        {
            "token": token(seed, "sensor", channel),
            "channel": channel,
            "modality": "lidar" if channel == LIDAR else "camera",
        }
        for channel in channels
    ]
    for name in (
        "log",
        "map",
        "scene",
        "sample",
        "calibrated_sensor",
        "ego_pose",
        "sample_data",
        "instance",
        "sample_annotation",
    ):
        tables[name] = []
    for scene in scenes:
        _add_scene(tables, seed, scene)
        _add_readings(tables, seed, scene, offsets[scene.world.name], image_size)
        _add_annotations(tables, seed, scene, offsets[scene.world.name], annotations)
    for location in dict.fromkeys(SCENES[scene.world.name][0] for scene in scenes):
        logs = [log["token"] for log in tables["log"] if log["location"] == location]
        tables["map"].append(
            {
                "token": token(seed, "map", location),
                "category": "semantic_prior",
                "filename": map_file(seed, location),
                "log_tokens": logs,
            }
        )
    return tables


def map_file(seed: int, location: str) -> str:
    """Path of a location's mask relative to the data root."""
    return f"maps/{token(seed, 'map', location)}.png"


def _add_scene(tables: Tables, seed: int, scene: Scene) -> None:
    name = scene.world.name
    location, hand, kind, tone = SCENES[name]
    tables["log"].append(
        {
            "token": token(seed, "log", name),
            "logfile": scene.log,
            "vehicle": "synthetic",
            "date_captured": "2018-07-24",
            "location": location,
        }
    )
    samples = [token(seed, "sample", name, frame) for frame in range(scene.frames)]
    side = "right" if hand > 0 else "left"
    tables["scene"].append(
        {
            "token": token(seed, "scene", name),
            "log_token": token(seed, "log", name),
            "nbr_samples": scene.frames,
            "first_sample_token": samples[0],
            "last_sample_token": samples[-1],
            "name": name,
            "description": f"Synthetic: {kind}, {tone}, traffic keeps {side}",
        }
    )
    for frame, own in enumerate(samples):
        tables["sample"].append(
            {
                "token": own,
                "timestamp": scene.stamp(frame),
                "scene_token": token(seed, "scene", name),
                "prev": samples[frame - 1] if frame else "",
                "next": samples[frame + 1] if frame + 1 < scene.frames else "",
            }
        )


def _add_readings(tables: Tables, seed: int, scene: Scene, offset: np.ndarray, image_size: tuple[int, int]) -> None:
    """Calibrations, ego poses and sample data of one scene; each channel's readings form one chain."""
    name = scene.world.name
    for mount in scene.mounts:
        sensor = token(seed, "calibrated_sensor", name, mount.channel)
        matrix = mount.ego_from_sensor
        tables["calibrated_sensor"].append(
            {
                "token": sensor,
                "sensor_token": token(seed, "sensor", mount.channel),
                "translation": matrix[:3, 3].tolist(),
                "rotation": quaternion(matrix[:3, :3]),
                "camera_intrinsic": [] if mount.intrinsic is None else mount.intrinsic.tolist(),
            }
        )
        laser = mount.channel == LIDAR
        readings = [
            (frame, lead, lead == mount.lead_us)
            for frame in range(scene.frames)
            for lead in ([*scene.sweep_leads(frame), 0] if laser else [mount.lead_us])
        ]
        tokens = [token(seed, "sample_data", name, mount.channel, frame, lead) for frame, lead, _ in readings]
        for k, (frame, lead, key) in enumerate(readings):
            pose = scene.world_from_ego(frame, lead)
            place = pose[:3, 3] + np.array([*offset, 0.0])
            tables["ego_pose"].append(
                {
                    "token": tokens[k],
                    "timestamp": scene.stamp(frame, lead),
                    "rotation": quaternion(pose[:3, :3]),
                    "translation": place.tolist(),
                }
            )
            tables["sample_data"].append(
                {
                    "token": tokens[k],
                    "sample_token": token(seed, "sample", name, frame),
                    "ego_pose_token": tokens[k],
                    "calibrated_sensor_token": sensor,
                    "timestamp": scene.stamp(frame, lead),
                    "fileformat": "pcd" if laser else "jpg",
                    "is_key_frame": key,
                    "height": 0 if laser else image_size[0],
                    "width": 0 if laser else image_size[1],
                    "filename": scene.file(mount, frame, lead, key),
                    "prev": tokens[k - 1] if k else "",
                    "next": tokens[k + 1] if k + 1 < len(tokens) else "",
                }
            )


def _add_annotations(
    tables: Tables, seed: int, scene: Scene, offset: np.ndarray, annotations: dict[tuple[str, int], Annotations]
) -> None:
    """Instances and annotations of one scene, one chain per instance over the frames it is annotated in."""
    name = scene.world.name
    for number, actor in enumerate(scene.world.actors):
        frames = [frame for frame in range(scene.frames) if annotations[name, frame].annotated[number]]
        if not frames:
            continue
        chain = [token(seed, "annotation", name, number, frame) for frame in frames]
        instance = token(seed, "instance", name, number)
        tables["instance"].append(
            {
                "token": instance,
                "category_token": token(seed, "category", actor.category),
                "nbr_annotations": len(chain),
                "first_annotation_token": chain[0],
                "last_annotation_token": chain[-1],
            }
        )
        length, width, height = actor.size
        for k, frame in enumerate(frames):
            facts = annotations[name, frame]
            x, y, z, yaw = facts.poses[number]
            attribute = actor.attribute(float(facts.speeds[number]))
            level = [key for key, _, low in VISIBILITIES if facts.visible[number] >= low][-1]
            tables["sample_annotation"].append(
                {
                    "token": chain[k],
                    "sample_token": token(seed, "sample", name, frame),
                    "instance_token": instance,
                    "visibility_token": level,
                    "attribute_tokens": [token(seed, "attribute", attribute)] if attribute else [],
                    "translation": [float(x + offset[0]), float(y + offset[1]), float(z + height / 2)],
                    "size": [width, length, height],
                    "rotation": quaternion(turn(yaw)),
                    "prev": chain[k - 1] if k else "",
                    "next": chain[k + 1] if k + 1 < len(chain) else "",
                    "num_lidar_pts": int(facts.points[number]),
                    "num_radar_pts": 0,
                }
            )

"""One frame of a Waymo segment: what its sensors measure and which labels follow, as rows of the components."""

import base64
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np

from bevkd.datasets.synthetic import cameras, lidar
from bevkd.datasets.synthetic.actors import Actor
from bevkd.datasets.synthetic.rig import CAMERA_AXES, Mount, camera_rays
from bevkd.datasets.synthetic.seeds import stream, token
from bevkd.datasets.synthetic.solids import turn
from bevkd.datasets.synthetic.waymo_lidar import SECTORS, Scan, scan_short, scan_top, sector_leads
from bevkd.datasets.synthetic.waymo_rig import PERIOD_US, TOP, Rig
from bevkd.datasets.synthetic.weather import shadow_map
from bevkd.datasets.synthetic.world import World
from bevkd.datasets.waymo.schema import Component

LABELLED = 75.0  # metres from the vehicle within which objects are labelled
HIDDEN = 0.2  # share of an object's pixels below which annotators call it hard
VEHICLE, PEDESTRIAN, CYCLIST = 1, 2, 4
LEVEL_2 = 2
Row = dict[str, Any]


@dataclass(frozen=True)
class Drive:
    """A world with the car that drives through it, its clock and name, and the sizes (rows, columns) of range images
    of the LiDAR on the roof and of the others."""

    world: World
    rig: Rig
    segment: str
    start_us: int
    seed: int
    top_size: tuple[int, int]
    short_size: tuple[int, int]

    def stamp(self, frame: int) -> int:
        """Microseconds at which frame ``frame`` and its turn of the LiDAR begin."""
        return self.start_us + frame * PERIOD_US

    def middle(self, frame: int) -> float:
        """Seconds on the world's clock of the frame's middle, to which its pose and labels belong."""
        return frame * PERIOD_US * 1e-6

    def vehicle(self, frame: int, lead_us: int = 0) -> np.ndarray:
        """4x4 world from vehicle ``lead_us`` microseconds before the frame's middle."""
        return self.world.world_from_ego(self.middle(frame) - lead_us * 1e-6)


@dataclass(frozen=True)
class View:
    """What a camera sees: the JPEG; for each actor the pixels that show it, those of its whole outline, and the
    rectangle [actors, 4] (u0, v0, u1, v1) of the former."""

    jpeg: bytes
    seen: np.ndarray
    outline: np.ndarray
    rectangles: np.ndarray


def waymo_type(actor: Actor) -> int:
    """Waymo's object type; 0 for what Waymo does not label."""
    if actor.name in ("traffic_cone", "barrier") or (actor.name == "bicycle" and not actor.rider):
        return 0
    return {"bicycle": CYCLIST, "pedestrian": PEDESTRIAN}.get(actor.name, VEHICLE)


def record_frame(drive: Drive, frame: int) -> tuple[dict[str, list[Row]], dict[int, Scan]]:
    """Rows of every component that has rows by frame, without those of stats, and the LiDARs' scans."""
    world, time = drive.world, drive.middle(frame)
    noise = {laser: stream(drive.seed, world.name, "waymo lidar", laser, frame) for laser in drive.rig.lasers}
    scans = {
        laser: scan_top(world, drive.rig, time, drive.top_size, noise[laser])
        if laser == TOP
        else scan_short(world, drive.rig, laser, time, drive.short_size, noise[laser])
        for laser in drive.rig.lasers
    }
    center = world.world_from_ego(time)[:2, 3]
    shadow = shadow_map(world.weather, center, world.poses(time), world.sizes)
    views = {camera: _look(drive, frame, camera, mount, shadow) for camera, mount in drive.rig.cameras.items()}
    labels = _label(drive, frame, scans, views)
    vehicle = {"world_from_vehicle.transform": drive.vehicle(frame).ravel().tolist()}
    rows: dict[str, list[Row]] = {"vehicle_pose": [vehicle]}
    rows["lidar"] = [{"laser_name": laser, **_range_images(scan.returns)} for laser, scan in scans.items()]
    rows["lidar_pose"] = [{"laser_name": TOP, **_range_images((scans[TOP].pixel_pose,))}]
    rows["lidar_camera_projection"] = [
        {"laser_name": laser, **_range_images(project(drive, frame, scan))} for laser, scan in scans.items()
    ]
    rows["camera_image"] = [_image_row(drive, frame, camera, views[camera].jpeg) for camera in views]
    rows.update(labels)
    for row in (row for part in rows.values() for row in part):
        row["segment_context_name"], row["frame_timestamp_micros"] = drive.segment, drive.stamp(frame)
    return rows, scans


def _range_images(images: tuple) -> Row:
    return {
        f"range_image_return{number}.{part}": value
        for number, image in enumerate(images, 1)
        for part, value in (("values", np.ascontiguousarray(image, np.float32).ravel()), ("shape", list(image.shape)))
    }


def project(drive: Drive, frame: int, scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Two images [H, W, 6]: the first two cameras that see each echo, and its pixel there; 0 where there is none."""
    images = []
    for image, points in zip(scan.returns, scan.points):
        table = np.zeros((len(points), 6), np.float32)
        free = np.zeros(len(points), np.int64)  # next column to fill, 6 when both are taken
        for camera, mount in drive.rig.cameras.items():
            world_from_camera = drive.vehicle(frame, mount.lead_us) @ mount.ego_from_sensor
            matrix = np.linalg.inv(world_from_camera) @ drive.vehicle(frame)
            x, y, z = matrix[:3, :3] @ points.T + matrix[:3, 3:]
            height, width = drive.rig.sizes[camera]
            with np.errstate(divide="ignore", invalid="ignore"):
                u = mount.intrinsic[0, 0] * x / z + mount.intrinsic[0, 2] + 0.5
                v = mount.intrinsic[1, 1] * y / z + mount.intrinsic[1, 2] + 0.5
            inside = (z > 0.1) & (u >= 0) & (u < width) & (v >= 0) & (v < height) & (free < 6)
            rows, first = np.nonzero(inside)[0], free[inside]
            table[rows, first], table[rows, first + 1], table[rows, first + 2] = camera, u[rows] // 1, v[rows] // 1
            free[rows] += 3
        whole = np.zeros((*image.shape[:2], 6), np.float32)
        whole[image[..., 0] > 0] = table
        images.append(whole)
    return tuple(images)


def _look(drive: Drive, frame: int, camera: int, mount: Mount, shadow: tuple) -> View:
    world = drive.world
    view = world.view(drive.middle(frame) - mount.lead_us * 1e-6, mount.ego_from_sensor)
    rays = camera_rays(mount.intrinsic, drive.rig.sizes[camera])
    depth, solid, outline = cameras.trace(world, view, mount, rays)
    salt = int(stream(drive.seed, world.name, "waymo pixels", frame, camera).integers(1 << 30))
    jpeg = cameras.encode(cameras.shade(world, view, rays, depth, solid, shadow, salt))
    rows, columns = np.nonzero(solid >= 0)
    owners = world.solids.owner[view.rows][solid[rows, columns]]
    rows, columns, owners = (part[owners < len(world.actors)] for part in (rows, columns, owners))
    corners = np.full((4, len(world.actors)), np.inf)
    for corner, values in zip(corners, (columns, rows, -columns - 1, -rows - 1)):
        np.minimum.at(corner, owners, values)
    seen = np.bincount(owners, minlength=len(world.actors))
    return View(jpeg, seen, outline, np.concatenate([corners[:2], -corners[2:]]).T)


def _label(drive: Drive, frame: int, scans: dict[int, Scan], views: dict[int, View]) -> dict[str, list[Row]]:
    """Rows of the three components of boxes."""
    world, time = drive.world, drive.middle(frame)
    count = len(world.actors)
    types = np.array([waymo_type(actor) for actor in world.actors])
    boxes = boxes_at(world, time, sector_poses(world, drive.rig, time))
    rotations = np.stack([turn(yaw) for yaw in boxes[:, 6]])
    inside = {
        laser: sum(lidar.points_in_boxes(part, boxes[:, :3], boxes[:, 3:6], rotations) for part in scan.points)
        for laser, scan in scans.items()
    }
    points = sum(inside.values())
    seen, outline = (np.stack([getattr(view, name) for view in views.values()]) for name in ("seen", "outline"))
    hidden = (outline.sum(0) > 0) & (seen.sum(0) < HIDDEN * outline.sum(0))
    earlier, now, later = (world.poses(time + step)[:count, :3] for step in (-0.05, 0.0, 0.05))
    speeds, accelerations = (later - earlier) / 0.1, (later - 2 * now + earlier) / 0.05**2
    kept = np.nonzero((types > 0) & (points > 0) & (np.hypot(boxes[:, 0], boxes[:, 1]) < LABELLED))[0]
    best = np.array(list(views))[seen.argmax(0)]
    rows: dict[str, list[Row]] = {"lidar_box": [], "lidar_camera_synced_box": []}
    for number in kept.tolist():
        name = {"laser_object_id": object_id(drive, number)}
        rows["lidar_box"].append({
            **name,
            **_box("box", boxes[number]),
            "type": int(types[number]),
            "num_lidar_points_in_box": int(points[number]),
            "num_top_lidar_points_in_box": int(inside[TOP][number]),
            **{f"speed.{axis}": float(value) for axis, value in zip("xyz", speeds[number])},
            **{f"acceleration.{axis}": float(value) for axis, value in zip("xyz", accelerations[number])},
            **_difficulty(hidden[number]),
        })  # fmt: skip
        if seen[:, number].max() > 0:
            mount = drive.rig.cameras[best[number]]
            then = boxes_at(world, time, world.poses(time - mount.lead_us * 1e-6)[:count])[number]
            synced = {"most_visible_camera_name": int(best[number]), **_box("camera_synced_box", then)}
            rows["lidar_camera_synced_box"].append({**name, **synced})
    return {**rows, "camera_box": [row for camera in views for row in _flat_boxes(drive, camera, views[camera], types)]}


def _flat_boxes(drive: Drive, camera: int, view: View, types: np.ndarray) -> list[Row]:
    """Rows of the 2D boxes of one image: around the pixels that show an object."""
    rows = []
    for number in np.nonzero((view.seen > 0) & (types > 0))[0].tolist():
        u0, v0, u1, v1 = view.rectangles[number].tolist()
        rows.append({
            "camera_name": camera,
            "camera_object_id": str(uuid.UUID(token(drive.seed, "camera object", drive.segment, camera, number))),
            "box.center.x": (u0 + u1) / 2,
            "box.center.y": (v0 + v1) / 2,
            "box.size.x": u1 - u0,
            "box.size.y": v1 - v0,
            "type": int(types[number]),
            **_difficulty(view.seen[number] < HIDDEN * view.outline[number]),
        })  # fmt: skip
    return rows


def _difficulty(hidden: bool) -> Row:
    """Both levels of a hard object; Waymo leaves them null where annotators set none."""
    return {"difficulty_level.detection": LEVEL_2, "difficulty_level.tracking": LEVEL_2} if hidden else {}


def object_id(drive: Drive, number: int) -> str:
    """22 characters that stay with an actor, as Waymo's."""
    digest = bytes.fromhex(token(drive.seed, "laser object", drive.segment, number))
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def sector_poses(world: World, rig: Rig, time: float) -> np.ndarray:
    """[actors, 4] poses in the world, each at the instant at which the LiDAR on the roof turns past the actor.

    Labels fit the points: an object is where the laser met it, not where it is in the frame's middle.
    """
    count = len(world.actors)
    sensor = world.world_from_ego(time) @ rig.lasers[TOP].extrinsic[:, 3]
    x, y = (world.poses(time)[:count, :2] - sensor[:2]).T
    forward = world.world_from_ego(time)[:2, 0]
    heading = np.arctan2(y, x) - np.arctan2(forward[1], forward[0])
    turned = (np.pi - heading) / (2 * np.pi) % 1.0
    sector = np.minimum((turned * SECTORS).astype(int), SECTORS - 1)
    poses = np.stack([world.poses(time - lead)[:count] for lead in sector_leads()])
    return poses[sector, np.arange(count)]


def boxes_at(world: World, time: float, poses: np.ndarray) -> np.ndarray:
    """[actors, 7] centre, size (l, w, h) and heading in the vehicle frame at ``time`` of ``poses`` in the world."""
    vehicle = world.world_from_ego(time)
    sizes = world.sizes[: len(poses)]
    centers = poses[:, :3] + np.array([0, 0, 0.5]) * sizes
    centers = (centers - vehicle[:3, 3]) @ vehicle[:3, :3]
    heading = poses[:, 3] - np.arctan2(vehicle[1, 0], vehicle[0, 0])
    heading = (heading + np.pi) % (2 * np.pi) - np.pi
    return np.concatenate([centers, sizes, heading[:, None]], 1)


def _box(name: str, box: np.ndarray) -> Row:
    fields = [f"{name}.{part}.{axis}" for part in ("center", "size") for axis in "xyz"] + [f"{name}.heading"]
    return dict(zip(fields, box.tolist()))


def _image_row(drive: Drive, frame: int, camera: int, jpeg: bytes) -> Row:
    lead = drive.rig.cameras[camera].lead_us
    pose = drive.vehicle(frame, lead)
    before, after = drive.vehicle(frame, lead + 5000), drive.vehicle(frame, lead - 5000)
    spin = (after[:3, :3] - before[:3, :3]) / 0.01 @ pose[:3, :3].T  # skew-symmetric matrix of the angular velocity
    linear = (after[:3, 3] - before[:3, 3]) / 0.01
    angular = (spin[2, 1], spin[0, 2], spin[1, 0])
    seconds = (drive.stamp(frame) + PERIOD_US // 2 - lead) * 1e-6
    return {
        "camera_name": camera,
        "image": jpeg,
        "pose.transform": pose.ravel().tolist(),
        **{f"velocity.linear_velocity.{axis}": float(value) for axis, value in zip("xyz", linear)},
        **{f"velocity.angular_velocity.{axis}": float(value) for axis, value in zip("xyz", angular)},
        "pose_timestamp": seconds,
        "rolling_shutter_params.shutter": 0.0,
        "rolling_shutter_params.camera_trigger_time": seconds,
        "rolling_shutter_params.camera_readout_done_time": seconds,
    }


def extrinsic_of(mount: Mount) -> np.ndarray:
    """4x4 vehicle from camera in Waymo's camera frame: x forward, y left, z up."""
    extrinsic = mount.ego_from_sensor.copy()
    extrinsic[:3, :3] = extrinsic[:3, :3] @ CAMERA_AXES.T
    return extrinsic


def as_columns(component: Component, rows: list[Row]) -> dict[str, list]:
    """Rows as full columns of a component; what a row lacks is null."""
    names = {f"key.{key}": key for key in component.keys}
    names |= {component.column(name): name for name in component.columns}
    return {full: [row.get(name) for row in rows] for full, name in names.items()}

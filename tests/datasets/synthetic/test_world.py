"""The world as a function of time: nothing touches, nothing jumps, sensors see the same bodies."""

import numpy as np
import pytest

from bevkd.datasets.synthetic import cameras, lidar
from bevkd.datasets.synthetic.actors import BODIES, tighten
from bevkd.datasets.synthetic.create import Recipe, build_scene
from bevkd.datasets.synthetic.frames import count_points
from bevkd.datasets.synthetic.motion import TICK, Occupancy, rectangle, rectangles_touch, stopping
from bevkd.datasets.synthetic.places import SCENES, TRAIN_SCENES, VAL_SCENES
from bevkd.datasets.synthetic.rig import camera_rays, quaternion, tilt
from bevkd.datasets.synthetic.sizes import CLASSES, draw_size
from bevkd.datasets.synthetic.solids import CYLINDER, SPHERE, turn
from bevkd.datasets.synthetic.traffic import EGO_AHEAD, EGO_SIZE

SIZE = (128, 352)


def scene_of(name, frames=6):
    return build_scene(Recipe(0, frames, 0, SIZE, (name,), "v1.0-mini", 1084), name)


@pytest.fixture(scope="module")
def scene():
    return scene_of("scene-0103")


def test_rectangles_by_hand():
    square = rectangle(np.array([0.0, 0, 0]), (2, 2))
    assert sorted(map(tuple, square.tolist())) == [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    turned = rectangle(np.array([2.2, 0, np.pi / 4]), (2, 2))  # its corner reaches x = 2.2 - 1.41 = 0.79
    away = rectangle(np.array([2.5, 0, np.pi / 4]), (2, 2))  # 1.09: clear
    assert rectangles_touch(square[None], turned[None])[0]
    assert not rectangles_touch(square[None], away[None])[0]


def test_occupancy_refuses_a_meeting_at_any_tick():
    taken = Occupancy(5)
    still = np.zeros((5, 4))
    taken.add(still, (2, 2))
    passing = np.zeros((5, 4))
    passing[:, 0] = [-8, -4, 0, 4, 8]
    assert not taken.free(passing, (2, 2), 0.0)
    beside = passing + np.array([0, 2.1, 0, 0])
    assert taken.free(beside, (2, 2), 0.0)
    assert not taken.free(beside, (2, 2), 0.2)


def test_stopping_brakes_evenly():
    times = np.arange(-0.1, 6, 0.05)
    speed = np.gradient(stopping(times, 5.0, 4.0, 2.5), times)
    assert speed[times < 1.9] == pytest.approx(5.0, abs=0.01)
    assert speed[(times > 2.95) & (times < 3.05)] == pytest.approx(2.5, abs=0.2)
    assert speed[times > 4.1] == pytest.approx(0.0, abs=1e-9)


def test_nothing_touches_and_nobody_drives_through_the_ego(scene):
    world = scene.world
    ego = world.ego[:, [0, 1, 3]].copy()
    ego[:, 0] += EGO_AHEAD * np.cos(ego[:, 2])
    ego[:, 1] += EGO_AHEAD * np.sin(ego[:, 2])
    tracks = np.concatenate([ego[None], world.tracks[:, :, [0, 1, 3]]])
    sizes = np.array([EGO_SIZE[:2]] + [actor.size[:2] for actor in world.actors])
    for k in range(tracks.shape[1]):
        corners = rectangle(tracks[:, k], sizes)
        gap = np.linalg.norm(tracks[:, None, k, :2] - tracks[None, :, k, :2], axis=-1)
        a, b = np.nonzero(np.triu(gap < 16, 1))
        assert not rectangles_touch(corners[a], corners[b]).any()


def test_motion_is_smooth_and_yaw_follows_it(scene):
    world = scene.world
    steps = np.diff(world.tracks, axis=1)
    speed = np.hypot(steps[..., 0], steps[..., 1]) / TICK
    assert speed.max() < 16
    assert np.abs(np.diff(speed, axis=1)).max() < 0.6  # metres per second within 50 ms
    heading = np.arctan2(steps[..., 1], steps[..., 0])
    moving = (speed > 1.0) & np.array([actor.name != "pedestrian" for actor in world.actors])[:, None]
    assert moving.any()
    assert np.cos(heading - world.tracks[:, :-1, 3])[moving].min() > 0.995


@pytest.mark.parametrize("name", CLASSES)
def test_bodies_stay_inside_their_boxes(name):
    rng = np.random.default_rng(1)
    cube = np.array([[x, y, z, 1] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    for k in range(40):
        size = draw_size(name, rng, 0.72 if name == "pedestrian" and k % 4 == 0 else 1.0)
        body = BODIES[name](tighten(size), rng)
        assert len(body.kinds) >= 2
        for matrix, kind in zip(body.matrices, body.kinds):
            points = cube @ matrix.T
            if kind in (CYLINDER, SPHERE):
                points = matrix[:, 3] + np.array([[1], [-1]]) * (
                    np.linalg.norm(matrix[:, :3], axis=1)
                    if kind == SPHERE
                    else np.linalg.norm(matrix[:, :2], axis=1) + abs(matrix[:, 2])
                )
            assert (np.abs(points[:, :2]).max(0) <= np.array(size[:2]) / 2 + 1e-9).all()
            assert points[:, 2].min() >= -1e-9
            assert points[:, 2].max() <= size[2]


def test_lidar_points_lie_in_their_own_boxes_and_agree_with_the_cameras(scene):
    world, laser = scene.world, scene.mounts[0]
    view = world.view(1.0, laser.ego_from_sensor)
    points, body = lidar.sweep(world, view, lidar.Beams.on_roof(1084), np.random.default_rng(0))
    assert 20_000 < len(points) < 36_000
    assert points.dtype == np.float32
    assert set(np.unique(points[:, 4])) <= set(range(32))
    poses = world.poses(1.0)[: len(world.actors)]
    where = points[:, :3] @ view.world_from_sensor[:3, :3].T + view.world_from_sensor[:3, 3]
    inside = own = hits = 0
    for k, actor in enumerate(world.actors):
        local = (where - poses[k, :3] - [0, 0, actor.size[2] / 2]) @ turn(poses[k, 3])
        here = (np.abs(local) <= np.array(actor.size) / 2).all(1)
        inside, own, hits = inside + here.sum(), own + (here & (body == k)).sum(), hits + (body == k).sum()
    assert own / inside > 0.95
    assert own / hits > 0.95
    # A camera at the same instant sees the same body at the pixel of a point, unless something nearer hides it there.
    same = other = 0
    for mount in scene.mounts[1:]:
        seen = world.view(1.0, mount.ego_from_sensor)
        depth, solid, _ = cameras.trace(world, seen, mount, camera_rays(mount.intrinsic, SIZE))
        owner = np.where(solid >= 0, world.solids.owner[seen.rows][np.maximum(solid, 0)], -1)
        local = (where - seen.world_from_sensor[:3, 3]) @ seen.world_from_sensor[:3, :3]
        local, names = local[(local[:, 2] > 0.5)], body[local[:, 2] > 0.5]
        pixel = np.round((local @ mount.intrinsic.T)[:, :2] / local[:, 2:]).astype(int)
        ok = ((pixel >= 0) & (pixel < [SIZE[1], SIZE[0]])).all(1) & (names >= 0)
        column, row = pixel[ok].T
        free = depth[row, column] > local[ok, 2] - 0.4
        same += (owner[row, column] == names[ok])[free].sum()
        other += (owner[row, column] != names[ok])[free].sum()
    assert same > 3000
    assert same / (same + other) > 0.97


def test_every_class_is_there_in_training_and_validation():
    for split in (TRAIN_SCENES, VAL_SCENES):
        boxes = dict.fromkeys(CLASSES, 0)
        for name in split:
            scene = scene_of(name, 16)
            world = scene.world
            for frame in (0, 5, 10, 15):
                view = world.view(frame * 0.5, scene.mounts[0].ego_from_sensor)
                points, _ = lidar.sweep(world, view, lidar.Beams.on_roof(360), np.random.default_rng(0))
                poses = world.poses(frame * 0.5)[: len(world.actors)]
                counts = count_points(view.world_from_sensor, points, poses, world.sizes[: len(poses)])
                near = np.hypot(*(poses[:, :2] - view.world_from_sensor[:2, 3]).T) < 30
                for actor, seen in zip(world.actors, near & (counts > 0)):
                    boxes[actor.name] += int(seen)
        assert min(boxes.values()) >= 3, boxes
        assert sum(boxes.values()) / (4 * len(split)) > 12


def test_quaternion_against_its_own_rotation():
    rng = np.random.default_rng(5)
    cases = [rng.uniform(-np.pi, np.pi, 3) for _ in range(20)]
    for angles in [*cases, np.array([0, 0, np.pi]), np.zeros(3), np.array([np.pi, 0, 0])]:
        matrix = tilt(angles)
        w, x, y, z = quaternion(matrix)
        back = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        assert np.abs(back - matrix).max() < 1e-12


def test_scene_kinds_and_sides_differ():
    assert len({SCENES[name][2:] for name in TRAIN_SCENES}) == len(TRAIN_SCENES)
    assert {SCENES[name][1] for name in VAL_SCENES} == {-1, 1}

"""Who is on the street: the ego vehicle, traffic in the lanes, parked vehicles, road works, cyclists and walkers."""

from collections.abc import Iterator

import numpy as np

from bevkd.datasets.synthetic.actors import CATEGORIES, Actor, Cast
from bevkd.datasets.synthetic.motion import Occupancy, along, distance, on_ground, stopping
from bevkd.datasets.synthetic.streets import LANE, STRIP, Ground, Street

EGO_SIZE = (4.4, 1.9, 1.8)
EGO_AHEAD = 1.4  # metres from the rear axle, the ego frame's origin, to the middle of the ego vehicle
PARKED = {"car": 6, "truck": 2, "trailer": 2, "bus": 2, "motorcycle": 3}
MOVING = {"car": 5, "truck": 1, "bus": 1, "motorcycle": 2, "truck+trailer": 1}


def deck(counts: dict[str, int], rng: np.random.Generator) -> Iterator[str]:
    """Class names without end, shuffled pack after shuffled pack, so that rare classes appear in every scene."""
    pack = [name for name, count in counts.items() for _ in range(count)]
    while True:
        yield from (pack[k] for k in rng.permutation(len(pack)))


def drive_ego(street: Street, ground: Ground, times: np.ndarray, speed: float, rng: np.random.Generator) -> np.ndarray:
    """[T] street coordinate s of the ego's rear axle in the inner lane of its direction."""
    return distance(times, speed, rng.uniform(0.05, 0.2), rng.uniform(6, 12), rng.uniform(0, 2 * np.pi))


def fill_lanes(cast: Cast, ego_s: np.ndarray, speed: float) -> None:
    """Moving traffic. Vehicles of a lane share a speed and sway a little, so that they never reach each other."""
    street, rng = cast.street, cast.rng
    names = deck(MOVING, rng)
    for lane in range(street.lanes):
        for forward in (True, False):
            d = (LANE * (lane + 0.5)) * (-street.hand if forward else street.hand)
            shared = forward and lane == 0
            base = (
                ego_s if shared else distance(cast.times, speed * rng.uniform(0.7, 1.3), 0.15, 9.0, rng.uniform(0, 6))
            )
            lag = ego_s[-1] - base[-1] if forward else ego_s[-1] + base[-1]  # the ego gains this much on the lane
            s = min(lag, 0.0) - 70.0 + rng.uniform(0, 10)
            while s < max(lag, 0.0) + 70.0:
                sway = rng.uniform(0.3, 1.2) * np.sin(cast.times * rng.uniform(0.3, 0.7) + rng.uniform(0, 6))
                s += _lane_vehicle(cast, next(names), (s + base if forward else s - base) + sway, d, forward)


def _lane_vehicle(cast: Cast, name: str, path: np.ndarray, d: float, forward: bool) -> float:
    """Place one vehicle (or truck with trailer) that follows ``path``; return the length of lane it uses."""
    first = name.split("+")[0]
    size = cast.draw(first, rider=name == "motorcycle")
    way = 1.0 if forward else -1.0
    placed = cast.offer(first, cast.street.road, path, d, forward, 0.6, size=size, rider=name == "motorcycle")
    used = size[0]
    if name == "truck+trailer" and placed:
        trailer = cast.draw("trailer")
        back = size[0] / 2 + 0.6 + trailer[0] / 2
        cast.offer("trailer", cast.street.road, path - way * back, d, forward, 0.2, size=trailer)
        used += trailer[0]
    return used + cast.rng.uniform(6.0, 20.0)


def fill_crossings(cast: Cast) -> None:
    """Vehicles that wait at, or brake before, the main road, and some that cross where nobody is in their way."""
    rng = cast.rng
    for crossing in cast.street.crossings:
        for forward in (True, False):
            d = LANE / 2 * (-cast.street.hand if forward else cast.street.hand)
            way = 1.0 if forward else -1.0
            s = cast.street.kerb + 4.5
            for _ in range(int(rng.integers(1, 4))):
                name = str(rng.choice(["car", "truck", "bus", "motorcycle"], p=[0.6, 0.15, 0.1, 0.15]))
                size = cast.draw(name, rider=name == "motorcycle")
                s += size[0] / 2
                rest = stopping(cast.times, rng.uniform(4, 8), rng.uniform(0.5, 4.0))
                path = -way * (s + (rest[-1] - rest if rng.random() < 0.5 else 0 * rest))
                cast.offer(name, crossing.road, path, d, forward, 0.5, size=size, rider=name == "motorcycle")
                s += size[0] / 2 + rng.uniform(1.5, 4.0)
            for _ in range(3):
                path = way * (rng.uniform(-60, 10) + distance(cast.times, rng.uniform(6, 9), 0.1, 8.0, 0.0))
                cast.offer("car", crossing.road, path, d, forward, 0.8)


def fill_strips(cast: Cast) -> None:
    """Parking strips on both sides: parked vehicles and, now and then, road works."""
    street, rng = cast.street, cast.rng
    names = deck(PARKED, rng)
    for side in (-1, 1):
        forward = side == -street.hand
        d = side * (LANE * street.lanes + STRIP / 2 + 0.05)
        s = street.start + 20.0 + rng.uniform(0, 6)
        until_works = rng.uniform(5, 35)
        while s < street.end - 20.0:
            if until_works < 0:
                s += road_works(cast, s, side) + rng.uniform(1, 4)
                until_works = rng.uniform(25, 45)
                continue
            name = next(names)
            size = cast.draw(name)
            middle = s + size[0] / 2
            if not (street.near_crossing(s, 6) or street.near_crossing(s + size[0], 6)):
                cast.offer(
                    name,
                    street.road,
                    middle,
                    d + rng.normal(0, 0.06),
                    forward,
                    0.25,
                    rng.normal(0, 0.02),
                    size=size,
                    parked=bool(rng.random() < 0.85),
                )
            step = size[0] + rng.uniform(1.0, 7.0)
            s, until_works = s + step, until_works - step


def road_works(cast: Cast, s: float, side: int) -> float:
    """A closed piece of parking strip: barriers towards the lane, cones at its ends, a machine inside, workers."""
    street, rng = cast.street, cast.rng
    length = rng.uniform(13, 20)
    if any(street.near_crossing(s + f * length, 7) for f in (0, 0.5, 1)):
        return 4.0
    edge, middle = LANE * street.lanes + 0.35, LANE * street.lanes + STRIP / 2 + 0.15
    cast.offer(
        "construction_vehicle",
        street.road,
        s + length / 2 + rng.uniform(-1, 1),
        side * (middle + 0.35),
        bool(rng.random() < 0.5),
        0.15,
        parked=True,
    )
    step = s + 2.6
    while step < s + length - 2.6:
        cast.offer("barrier", street.road, step, side * edge, True, 0.02, np.pi / 2 * side + rng.normal(0, 0.03))
        step += rng.uniform(2.75, 3.1)
    for k in range(3):
        for end, way in ((s, 1), (s + length, -1)):
            cast.offer(
                "traffic_cone", street.road, end + way * k * 0.45, side * (edge + STRIP * (1 - k / 3) - 0.2), margin=0.1
            )
    for _ in range(int(rng.integers(1, 3))):
        cast.offer(
            "pedestrian",
            street.road,
            s + rng.uniform(1, length - 1),
            side * (middle + rng.uniform(-0.8, 1.2)),
            True,
            0.2,
            rng.uniform(0.1, 6.2),
            worker=True,
            category="human.pedestrian.construction_worker",
        )
    return length


def fill_pavements(cast: Cast) -> None:
    """Walkers, groups that stand, people who cross, cyclists at the edge of the lane, bicycles left at the wall."""
    street, rng, times = cast.street, cast.rng, cast.times
    length = street.end - street.start
    for _ in range(int(length / 10)):
        speed = rng.uniform(0.8, 1.7) * rng.choice([-1, 1])
        s = rng.uniform(street.start, street.end) + distance(times, speed, 0.1, 3.0, rng.uniform(0, 6))
        d = rng.choice([-1, 1]) * (street.kerb + rng.uniform(1.2, 4.0))
        category = "human.pedestrian.child" if rng.random() < 0.1 else CATEGORIES["pedestrian"]
        cast.offer("pedestrian", street.road, s, d, speed > 0, 0.3, category=category)
    for _ in range(int(length / 26)):
        s, d = rng.uniform(street.start, street.end), rng.choice([-1, 1]) * (street.kerb + rng.uniform(1.0, 4.0))
        for _ in range(int(rng.integers(1, 4))):
            cast.offer(
                "pedestrian",
                street.road,
                s + rng.normal(0, 0.9),
                d + rng.normal(0, 0.6),
                True,
                0.15,
                rng.uniform(0.1, 6.2),
            )
    for _ in range(int(length / 25)):
        s = rng.uniform(street.start, street.end)
        side = rng.choice([-1, 1])
        path = np.clip(
            side * (rng.uniform(-1.3, 0.9) * street.kerb + distance(times, 1.3, 0.0, 5.0, 0.0)),
            -street.kerb - 1.5,
            street.kerb + 1.5,
        )
        _cross(cast, s, path, side)
    for _ in range(int(length / 6)):
        forward = bool(rng.random() < 0.5)
        way = 1 if forward else -1
        s = rng.uniform(street.start, street.end) + way * distance(times, rng.uniform(3, 6), 0.1, 4.0, 0.0)
        d = (LANE * street.lanes - 0.25) * (-street.hand if forward else street.hand)
        if rng.random() < 0.4:
            d = np.sign(d) * (street.kerb + 0.8)
        cast.offer("bicycle", street.road, s, d, forward, 0.3, rider=True)
    for _ in range(int(length / 12)):
        s, side = rng.uniform(street.start, street.end), rng.choice([-1, 1])
        name, turn = ("bicycle" if rng.random() < 0.6 else "motorcycle"), rng.choice([0.0, np.pi / 2, 2.0])
        for k in range(int(rng.integers(1, 3))):
            cast.offer(
                name, street.road, s + 1.3 * k, side * (street.kerb + 1.2), True, 0.15, turn + rng.normal(0, 0.1)
            )


def _cross(cast: Cast, s: float, path: np.ndarray, side: int) -> None:
    """Somebody walks from one pavement to the other at s."""
    size = cast.draw("pedestrian")
    x, y, heading = cast.street.road.pose(np.full(path.shape, s), path)
    track = on_ground(cast.ground, x, y, heading + side * np.pi / 2, size)
    cast.place("pedestrian", size, track, 0.8)


def populate(
    street: Street, ground: Ground, times: np.ndarray, speed: float, rng: np.random.Generator
) -> tuple[list[Actor], np.ndarray, Occupancy]:
    """All actors of a scene, the ego track [T, 4] of its rear axle, and the places that are taken."""
    cast = Cast(street, ground, times, rng)
    ego_s = drive_ego(street, ground, times, speed, rng)
    lane = -street.hand * LANE / 2
    cast.taken.add(
        along(street.road, ground, ego_s + EGO_AHEAD, lane, True, EGO_SIZE), (EGO_SIZE[0] + 2, EGO_SIZE[1] + 0.8)
    )
    fill_strips(cast)
    fill_lanes(cast, ego_s, speed)
    fill_crossings(cast)
    fill_pavements(cast)
    return cast.actors, along(street.road, ground, ego_s, lane, True, (0.1, 0.1, 0.1)), cast.taken

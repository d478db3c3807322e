"""Actors: the annotated objects, and the cast that takes one in only where nothing else ever is."""

from dataclasses import dataclass

import numpy as np

from bevkd.datasets.synthetic import furniture, people, vehicles
from bevkd.datasets.synthetic.motion import Occupancy, along, on_ground
from bevkd.datasets.synthetic.sizes import draw_size
from bevkd.datasets.synthetic.solids import Body
from bevkd.datasets.synthetic.streets import Ground, Road, Street

BODIES = {
    "car": vehicles.car,
    "truck": vehicles.truck,
    "trailer": vehicles.trailer,
    "bus": vehicles.bus,
    "construction_vehicle": vehicles.construction_vehicle,
    "bicycle": people.bicycle,
    "motorcycle": people.motorcycle,
    "pedestrian": people.pedestrian,
    "traffic_cone": furniture.traffic_cone,
    "barrier": furniture.barrier,
}
CATEGORIES = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "trailer": "vehicle.trailer",
    "bus": "vehicle.bus.rigid",
    "construction_vehicle": "vehicle.construction",
    "bicycle": "vehicle.bicycle",
    "motorcycle": "vehicle.motorcycle",
    "pedestrian": "human.pedestrian.adult",
    "traffic_cone": "movable_object.trafficcone",
    "barrier": "movable_object.barrier",
}


@dataclass(frozen=True)
class Actor:
    """An annotated object: ``name`` its detection class, ``category`` its nuScenes category, ``track`` [T, 4]."""

    name: str
    category: str
    size: tuple[float, float, float]
    body: Body
    track: np.ndarray
    parked: bool = False
    rider: bool = False

    def attribute(self, speed: float) -> str | None:
        """nuScenes attribute at ``speed`` m/s, None for classes that have none."""
        if self.name in ("traffic_cone", "barrier"):
            return None
        if self.name in ("bicycle", "motorcycle"):
            return "cycle.with_rider" if self.rider else "cycle.without_rider"
        if self.name == "pedestrian":
            return "pedestrian.moving" if speed > 0.2 else "pedestrian.standing"
        if self.parked:
            return "vehicle.parked"
        return "vehicle.moving" if speed > 0.2 else "vehicle.stopped"


def tighten(size: tuple[float, float, float]) -> tuple[float, float, float]:
    """Size of the body inside an annotated box: annotators leave a few centimetres, so range noise stays inside."""
    return tuple(
        value - slack for value, slack in zip(size, (min(0.1, 0.07 * size[0]), min(0.1, 0.07 * size[1]), 0.03))
    )


class Cast:
    """Collects actors; a candidate that would touch anything at any time is not taken."""

    def __init__(self, street: Street, ground: Ground, times: np.ndarray, rng: np.random.Generator) -> None:
        self.street, self.ground, self.times, self.rng = street, ground, times, rng
        self.actors: list[Actor] = []
        self.taken = Occupancy(len(times))

    def offer(
        self,
        name: str,
        road: Road,
        s: np.ndarray | float,
        d: np.ndarray | float,
        forward: bool = True,
        margin: float = 0.3,
        turn: float = 0.0,
        size: tuple | None = None,
        **facts: bool | str,
    ) -> bool:
        """Draw an object of class ``name`` and place it if it fits; ``facts``: parked, rider, category, worker."""
        size = size or self.draw(name, bool(facts.get("rider")), facts.get("category", ""))
        s = np.broadcast_to(np.asarray(s, float), self.times.shape)
        track = along(road, self.ground, s, d, forward, size)
        if turn:
            track = on_ground(self.ground, track[:, 0], track[:, 1], track[:, 3] + turn, size)
        return self.place(name, size, track, margin, **facts)

    def place(self, name: str, size: tuple, track: np.ndarray, margin: float, **facts: bool | str) -> bool:
        """Place an object with a ready ``track`` if it fits."""
        if not self.taken.free(track, size, margin):
            return False
        self.taken.add(track, size)
        extra = {key: bool(facts[key]) for key in ("rider", "worker") if facts.get(key)}
        body = BODIES[name](tighten(size), self.rng, **extra)
        category = facts.get("category") or CATEGORIES[name]
        self.actors.append(
            Actor(name, category, size, body, track, bool(facts.get("parked")), bool(facts.get("rider")))
        )
        return True

    def draw(self, name: str, rider: bool = False, category: str = "") -> tuple[float, float, float]:
        """Size of a new object; riders make two-wheelers taller, children are smaller."""
        size = draw_size(name, self.rng, 0.72 if category.endswith("child") else 1.0)
        return (size[0], size[1], round(size[2] * 0.2 + 1.42, 2)) if rider else size

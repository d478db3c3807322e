"""Buildings, trees and poles along the streets: never annotated, but they hide things and reflect the laser."""

import numpy as np

from bevkd.datasets.synthetic import furniture
from bevkd.datasets.synthetic.motion import Occupancy, on_ground, rectangle
from bevkd.datasets.synthetic.solids import Body
from bevkd.datasets.synthetic.streets import LANE, ROAD, VERGE, WALK, Ground, Road, Street


class Scenery:
    """Collects bodies with a fixed pose (x, y, z, yaw); ``taken`` are the tracks they must keep clear of."""

    def __init__(self, ground: Ground, taken: Occupancy, rng: np.random.Generator) -> None:
        self.ground, self.taken, self.rng = ground, taken, rng
        self.bodies: list[Body] = []
        self.poses: list[np.ndarray] = []

    def put(self, make, road: Road, s: float, d: float, turn: float, size: tuple, trunk: float | None = None) -> bool:
        """Add ``make(size, rng)`` at street coordinates; buildings (no ``trunk``) keep off roads and pavements."""
        x, y, heading = (float(value) for value in road.pose(s, d))
        footprint = size if trunk is None else (trunk, trunk)
        corners = rectangle(np.array([x, y, heading + turn]), footprint)
        across = (
            corners[:, None] * np.linspace(0, 1, 12)[:, None]
            + np.roll(corners, 1, 0)[:, None] * np.linspace(1, 0, 12)[:, None]
        ).reshape(-1, 2)
        kinds = self.ground.kind(across[:, 0], across[:, 1])
        if (kinds != VERGE).any() if trunk is None else (kinds == ROAD).any():
            return False
        ones = np.ones(self.taken.tracks.shape[1])
        pose = on_ground(self.ground, x * ones[:1], y * ones[:1], np.array([heading + turn]), footprint)[0]
        if not self.taken.free(pose * ones[:, None], footprint, 0.25):
            return False
        self.taken.add(pose * ones[:, None], footprint)
        if trunk is None:
            pose = pose - np.array([0, 0, 1.0, 0])  # foundations reach below the slope
        self.bodies.append(make(size, self.rng))
        self.poses.append(pose)
        return True


def dress(street: Street, ground: Ground, taken: Occupancy, rng: np.random.Generator) -> tuple[list[Body], np.ndarray]:
    """Bodies and their poses [N, 4] along the main road and the side roads."""
    scenery = Scenery(ground, taken, rng)
    roads = [(street.road, street.start - 20, street.end + 20, street.kerb)]
    roads += [(crossing.road, -90.0, 90.0, LANE + 0.4) for crossing in street.crossings]
    for road, start, end, kerb in roads:
        for side in (-1, 1):
            _poles_and_trees(scenery, road, start, end, side, kerb)
            s = start + rng.uniform(0, 10)
            while s < end:
                size = (round(rng.uniform(8, 24), 1), round(rng.uniform(9, 14), 1), round(rng.uniform(5, 24), 1))
                if rng.random() < 0.8:
                    d = side * (kerb + WALK + rng.uniform(0.8, 6.0) + size[1] / 2)
                    scenery.put(furniture.building, road, s + size[0] / 2, d, 0.0, size)
                s += size[0] + rng.choice([0.5, 4.0, 9.0])
    return scenery.bodies, np.array(scenery.poses).reshape(-1, 4)


def _poles_and_trees(scenery: Scenery, road: Road, start: float, end: float, side: int, kerb: float) -> None:
    rng = scenery.rng
    leafy = rng.random() < 0.7
    s = start + rng.uniform(0, 10)
    while s < end:
        if leafy and rng.random() < 0.6:
            width = rng.uniform(2.6, 4.5)
            scenery.put(furniture.tree, road, s, side * (kerb + 0.7), 0.0, (width, width, rng.uniform(5, 9)), 0.4)
        else:
            turn = 0.0 if side < 0 else np.pi
            scenery.put(furniture.pole, road, s, side * (kerb + 0.45), turn, (0.3, 0.3, rng.uniform(5.0, 8.0)), 0.3)
        s += rng.uniform(8, 18)

"""Streets: a centre line with lanes, parking strips and pavements, roads that cross it, and the ground they lie on.

Street coordinates: s metres along the centre line, d metres to its left. The world frame of a scene is local: the
street starts near the origin; tables add the scene's place on the map (bevkd/datasets/synthetic/places.py).
"""

import itertools
from dataclasses import dataclass

import cv2
import numpy as np

LANE = 3.5
STRIP = 3.4  # parking strip between the outer lane and the kerb
WALK = 4.5  # pavement width
CELL = 0.1  # metres per cell of the surface map, the resolution of nuScenes map masks
HEIGHT_CELL = 2.0
VERGE, ROAD, PAVEMENT, WHITE, YELLOW = range(5)


@dataclass(frozen=True)
class Road:
    """A centre line sampled every half metre; beyond its ends it goes straight on."""

    s: np.ndarray
    xy: np.ndarray  # [N, 2]
    heading: np.ndarray

    @classmethod
    def build(
        cls,
        start: float,
        end: float,
        swing: float,
        wave: float,
        origin: tuple = (0.0, 0.0),
        heading: float = 0.0,
        phase: float = 0.0,
    ) -> "Road":
        """Heading swings by ``swing`` radians over ``wave`` metres, so the road bends and never meets itself."""
        s = np.arange(np.floor(start), end + 1.0, 0.5)
        turn = heading + swing * (np.sin(2 * np.pi * s / wave + phase) - np.sin(phase))
        steps = 0.5 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        xy = np.cumsum(steps, axis=0)
        middle = np.argmin(np.abs(s))
        return cls(s, xy - xy[middle] + np.array(origin), turn)

    def pose(self, s: np.ndarray, d: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World x, y and heading at street coordinates (s, d)."""
        s = np.asarray(s, float)
        heading = np.interp(s, self.s, self.heading)
        over = s - np.clip(s, self.s[0], self.s[-1])
        x = np.interp(s, self.s, self.xy[:, 0]) + over * np.cos(heading) - d * np.sin(heading)
        y = np.interp(s, self.s, self.xy[:, 1]) + over * np.sin(heading) + d * np.cos(heading)
        return x, y, heading


@dataclass(frozen=True)
class Crossing:
    """A straight side road, two lanes wide, whose own s = 0 lies on the main road at ``s``."""

    s: float
    road: Road


@dataclass(frozen=True)
class Street:
    """The layout of one scene. ``hand`` is +1 where traffic keeps right, -1 where it keeps left."""

    road: Road
    crossings: tuple[Crossing, ...]
    lanes: int  # per direction
    hand: int
    start: float
    end: float

    @property
    def kerb(self) -> float:
        """|d| of the kerb."""
        return LANE * self.lanes + STRIP

    def near_crossing(self, s: float, room: float) -> bool:
        """Whether s lies within the width of a side road plus ``room``."""
        return any(abs(s - crossing.s) < LANE + room for crossing in self.crossings)


# scene kind: swing of the heading (radians), wave length (m), lanes per direction, crossings
KINDS = {
    "straight": (0.0, 300.0, 1, 0),
    "bend": (0.55, 260.0, 1, 0),
    "crossing": (0.0, 300.0, 1, 2),
    "avenue": (0.08, 300.0, 2, 1),
    "winding": (0.4, 160.0, 1, 0),
    "bend with crossing": (0.35, 320.0, 1, 1),
}


def build_street(kind: str, hand: int, travel: float, rng: np.random.Generator) -> Street:
    """Street of ``kind`` long enough for ``travel`` metres of driving and 90 m of view on either side."""
    swing, wave, lanes, crossings = KINDS[kind]
    start, end = -90.0, travel + 90.0
    sign = 1 if rng.random() < 0.5 else -1
    road = Road.build(start, end, sign * swing, wave, phase=rng.uniform(0, 2 * np.pi))
    found = []
    for k in range(crossings):
        s = travel * (k + 1) / (crossings + 1) + rng.uniform(-10, 10) + (20 if crossings == 1 else (k - 0.5) * 30)
        x, y, heading = road.pose(s, 0.0)
        found.append(Crossing(float(s), Road.build(-90, 90, 0, 100, (float(x), float(y)), float(heading) + np.pi / 2)))
    return Street(road, tuple(found), lanes, hand, start, end)


@dataclass(frozen=True)
class Ground:
    """Surface kinds (uint8) per ``CELL`` and heights per ``HEIGHT_CELL``; both row = y, column = x, from ``origin``."""

    origin: np.ndarray  # [2] world x, y of cell (0, 0)'s outer corner
    surface: np.ndarray
    heights: np.ndarray

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Height at world x, y: the same bilinear surface that the sensors see."""
        u = np.clip((np.asarray(x) - self.origin[0]) / HEIGHT_CELL, 0, self.heights.shape[1] - 1.001)
        v = np.clip((np.asarray(y) - self.origin[1]) / HEIGHT_CELL, 0, self.heights.shape[0] - 1.001)
        j, i = u.astype(int), v.astype(int)
        fu, fv = u - j, v - i
        h = self.heights
        low, high = h[i, j] * (1 - fu) + h[i, j + 1] * fu, h[i + 1, j] * (1 - fu) + h[i + 1, j + 1] * fu
        return low * (1 - fv) + high * fv

    def kind(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Surface kind at world x, y (the nearest cell inside the map)."""
        j = np.clip(((np.asarray(x) - self.origin[0]) / CELL).astype(int), 0, self.surface.shape[1] - 1)
        i = np.clip(((np.asarray(y) - self.origin[1]) / CELL).astype(int), 0, self.surface.shape[0] - 1)
        return self.surface[i, j]


class _Painter:
    """Draws bands and dashes in street coordinates on the surface map."""

    def __init__(self, origin: np.ndarray, shape: tuple[int, int]) -> None:
        self.origin, self.image = origin, np.full(shape, VERGE, np.uint8)

    def band(self, road: Road, s0: float, s1: float, d0: float, d1: float, kind: int) -> None:
        s = np.arange(s0, s1 + 0.99, 1.0).clip(s0, s1)
        left, right = np.stack(road.pose(s, d1)[:2], 1), np.stack(road.pose(s, d0)[:2], 1)
        cells = (np.concatenate([left, right[::-1]]) - self.origin) / CELL - 0.5
        cv2.fillPoly(self.image, [np.round(cells * 16).astype(np.int32)], kind, cv2.LINE_8, 4)

    def dashes(
        self, road: Road, s0: float, s1: float, d: float, kind: int, dash: float = 3.0, gap: float = 6.0
    ) -> None:
        for s in np.arange(s0, s1, dash + gap):
            self.band(road, s, min(s + dash, s1), d - 0.09, d + 0.09, kind)


def build_ground(street: Street, rng: np.random.Generator) -> Ground:
    """Paint the surface map and raise gentle hills (slopes about one per cent: enough to fool flat-ground depth)."""
    points = [street.road.xy] + [crossing.road.xy for crossing in street.crossings]
    points = np.concatenate(points)
    origin = np.floor(points.min(0) / HEIGHT_CELL) * HEIGHT_CELL - 60.0
    extent = points.max(0) + 60.0 - origin
    painter = _Painter(origin, (int(extent[1] / CELL), int(extent[0] / CELL)))
    roads = [(street.road, street.start, street.end, street.kerb)]
    roads += [(crossing.road, -90.0, 90.0, LANE + 0.4) for crossing in street.crossings]
    for road, s0, s1, kerb in roads:
        painter.band(road, s0, s1, -kerb - WALK, kerb + WALK, PAVEMENT)
    for road, s0, s1, kerb in roads:
        painter.band(road, s0, s1, -kerb, kerb, ROAD)
    _paint_lines(painter, street)
    grid = [np.arange(0, e + 2 * HEIGHT_CELL, HEIGHT_CELL) for e in extent]
    x, y = np.meshgrid(*grid)
    heights = np.zeros(x.shape)
    for _ in range(6):
        wave, direction, phase = rng.uniform(45, 140), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
        k = 2 * np.pi / wave
        heights += 0.0045 / k * np.sin(k * (x * np.cos(direction) + y * np.sin(direction)) + phase)
    return Ground(origin, painter.image, heights)


def _paint_lines(painter: _Painter, street: Street) -> None:
    stops = [street.start, *[c.s for c in sorted(street.crossings, key=lambda c: c.s)], street.end]
    gap = LANE + 4.5
    for k, (s0, s1) in enumerate(itertools.pairwise(stops)):
        s0, s1 = s0 + (gap if k else 0), s1 - (gap if k < len(stops) - 2 else 0)
        for side in (-1, 1):
            painter.band(street.road, s0, s1, side * 0.2 - 0.08, side * 0.2 + 0.08, YELLOW)
            painter.band(
                street.road, s0, s1, side * LANE * street.lanes - 0.08, side * LANE * street.lanes + 0.08, WHITE
            )
            for lane in range(1, street.lanes):
                painter.dashes(street.road, s0, s1, side * LANE * lane, WHITE)
    for crossing in street.crossings:
        for side in (-1, 1):
            painter.band(crossing.road, -90, -street.kerb - 4, -0.08, 0.08, YELLOW)
            painter.band(crossing.road, street.kerb + 4, 90, -0.08, 0.08, YELLOW)
            s = crossing.s + side * (LANE + 2.2)
            for d in np.arange(-street.kerb + 0.4, street.kerb - 0.4, 1.0):
                painter.band(street.road, s - 1.4, s + 1.4, d, d + 0.5, WHITE)

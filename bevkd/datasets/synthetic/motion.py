"""Tracks: where an object is at every instant, and whether two of them ever touch.

A track is [T, 4] float64 (x, y, z, yaw) on the scene's clock, 20 ticks a second, yaw unwrapped; between ticks
positions are linear, so velocities integrate to positions.
"""

import numpy as np

from bevkd.datasets.synthetic.streets import Ground, Road

TICK = 0.05
LEAD = 0.1  # the clock starts this long before the first key frame, for cameras that fire early
KEY_PERIOD = 0.5


def clock(frames: int) -> np.ndarray:
    """Seconds since the first key frame, one entry a tick, through the last key frame."""
    return np.arange(round(((frames - 1) * KEY_PERIOD + LEAD) / TICK) + 2) * TICK - LEAD


def distance(times: np.ndarray, speed: float, sway: float, period: float, phase: float) -> np.ndarray:
    """Metres travelled since t = 0 at a speed that swings by the share ``sway`` (< 1) around ``speed``."""
    w = 2 * np.pi / period
    return speed * (times - sway / w * (np.cos(w * times + phase) - np.cos(phase)))


def stopping(times: np.ndarray, speed: float, stop_at: float, braking: float = 2.5) -> np.ndarray:
    """Metres travelled since t = 0 by a vehicle that brakes evenly and stands from second ``stop_at`` on."""
    left = np.maximum(stop_at - times, 0.0)
    brake = speed / braking
    to_go = np.where(left < brake, 0.5 * braking * left**2, speed * (left - brake) + 0.5 * braking * brake**2)
    return to_go[np.argmin(np.abs(times))] - to_go


def along(road: Road, ground: Ground, s: np.ndarray, d: np.ndarray | float, forward: bool, size: tuple) -> np.ndarray:
    """Track of an object that follows ``road``; it stands on the highest ground under its centre and corners."""
    x, y, heading = road.pose(s, d)
    yaw = heading if forward else heading + np.pi
    return on_ground(ground, x, y, np.broadcast_to(yaw, x.shape), size)


def on_ground(ground: Ground, x: np.ndarray, y: np.ndarray, yaw: np.ndarray, size: tuple) -> np.ndarray:
    """[T, 4] track from positions and yaw, with z such that no ground rises into the box."""
    corners = rectangle(np.stack([x, y, yaw], -1), size)
    z = np.maximum(ground.height(corners[..., 0], corners[..., 1]).max(-1), ground.height(x, y))
    return np.stack([x, y, z + 0.01, np.unwrap(yaw)], axis=-1)


def rectangle(pose: np.ndarray, size: tuple | np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Ground corners [..., 4, 2] of poses (x, y, yaw) [..., 3] with (length, width) [.., 2+] grown by ``margin``."""
    half = np.asarray(size)[..., None, :2] / 2 + margin
    local = half * np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    c, s = np.cos(pose[..., 2:3]), np.sin(pose[..., 2:3])
    return np.stack(
        [
            pose[..., 0:1] + c * local[..., 0] - s * local[..., 1],
            pose[..., 1:2] + s * local[..., 0] + c * local[..., 1],
        ],
        axis=-1,
    )


def rectangles_touch(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[K] bool for corner sets a, b [K, 4, 2]: by the separating axes of both."""
    touch = np.ones(len(a), bool)
    for corners in (a, b):
        for k in (0, 1):
            axis = corners[:, k + 1] - corners[:, k]
            pa, pb = (np.einsum("kij,kj->ki", q, axis) for q in (a, b))
            touch &= (pa.max(1) >= pb.min(1)) & (pb.max(1) >= pa.min(1))
    return touch


class Occupancy:
    """The tracks placed so far; answers whether a new one would touch any of them at any tick."""

    def __init__(self, ticks: int) -> None:
        self.tracks = np.empty((0, ticks, 3))
        self.sizes = np.empty((0, 2))
        self.swept = np.empty((0, 2, 2))  # lowest and highest x, y that each one ever covers

    def free(self, track: np.ndarray, size: tuple, margin: float) -> bool:
        """Whether ``track`` [T, 4] of ``size`` keeps ``margin`` metres from everything already here, at every tick."""
        low, high = self._sweep(track, size, margin)
        rows = np.nonzero(((self.swept[:, 0] <= high) & (self.swept[:, 1] >= low)).all(1))[0]
        reach = np.hypot(*self.sizes[rows].T) / 2 + np.hypot(size[0], size[1]) / 2 + margin
        other = self.tracks[rows]
        gap = np.hypot(other[..., 0] - track[:, 0], other[..., 1] - track[:, 1])
        body, tick = np.nonzero(gap < reach[:, None])
        if not len(body):
            return True
        mine = rectangle(track[tick][:, [0, 1, 3]], size, margin)
        theirs = rectangle(other[body, tick], self.sizes[rows][body])
        return not rectangles_touch(mine, theirs).any()

    def add(self, track: np.ndarray, size: tuple) -> None:
        """Take the place."""
        self.tracks = np.concatenate([self.tracks, track[None][:, :, [0, 1, 3]]])
        self.sizes = np.concatenate([self.sizes, [[size[0], size[1]]]])
        self.swept = np.concatenate([self.swept, self._sweep(track, size, 0.0)[None]])

    @staticmethod
    def _sweep(track: np.ndarray, size: tuple, margin: float) -> np.ndarray:
        radius = np.hypot(size[0], size[1]) / 2 + margin
        return np.stack([track[:, :2].min(0) - radius, track[:, :2].max(0) + radius])

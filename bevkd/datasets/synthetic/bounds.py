"""Which rays can meet a solid: rectangles in image pixels (cameras) or beams and azimuth steps (LiDAR)."""

import math

import numpy as np
from numba import njit

CLIP = 0.1  # metres before the camera where a solid's outline is cut


@njit(cache=True, nogil=True)
def _corners(m, out):
    for k in range(8):
        x, y, z = 1.0 if k & 1 else -1.0, 1.0 if k & 2 else -1.0, 1.0 if k & 4 else -1.0
        for axis in range(3):
            out[k, axis] = m[axis, 0] * x + m[axis, 1] * y + m[axis, 2] * z + m[axis, 3]


@njit(cache=True, nogil=True)
def camera_bounds(sensor_from_unit, focal, cu, cv, rows, columns, reach):
    """Rectangles [S, 4] (row0, row1, col0, col1; empty = unseen) and nearest depth [S] of solids before a camera."""
    count = sensor_from_unit.shape[0]
    rects = np.zeros((count, 4), np.int32)
    nearest = np.zeros(count)
    p = np.empty((8, 3))
    for s in range(count):
        _corners(sensor_from_unit[s], p)
        zmin = p[:, 2].min()
        if p[:, 2].max() <= CLIP or zmin > reach:
            continue
        nearest[s] = max(zmin, CLIP)
        u0, u1, v0, v1 = 1e9, -1e9, 1e9, -1e9
        for a in range(8):
            for bit in range(4):
                # bit 3 stands for the corner itself, 0..2 for the three edges that leave it
                b = a if bit == 3 else a ^ (1 << bit)
                za, zb = p[a, 2], p[b, 2]
                if (za < CLIP and zb < CLIP) or (za >= CLIP and bit < 3):
                    continue
                f = 0.0 if bit == 3 else (CLIP - za) / (zb - za)
                z = max(za + f * (zb - za), CLIP)
                u = focal * (p[a, 0] + f * (p[b, 0] - p[a, 0])) / z + cu
                v = focal * (p[a, 1] + f * (p[b, 1] - p[a, 1])) / z + cv
                u0, u1, v0, v1 = min(u0, u), max(u1, u), min(v0, v), max(v1, v)
        rects[s, 0] = int(max(0.0, math.floor(v0)))
        rects[s, 1] = int(min(float(rows), math.ceil(v1) + 1.0))
        rects[s, 2] = int(max(0.0, math.floor(u0)))
        rects[s, 3] = int(min(float(columns), math.ceil(u1) + 1.0))
        if rects[s, 1] <= rects[s, 0] or rects[s, 3] <= rects[s, 2]:
            rects[s, :] = 0
    return rects, nearest


@njit(cache=True, nogil=True)
def lidar_bounds(sensor_from_unit, first_azimuth, columns, elevations, reach):
    """As ``camera_bounds`` for a spinning LiDAR whose columns go clockwise from ``first_azimuth`` (radians) and whose
    beams are at ``elevations`` (radians, rising)."""
    count = sensor_from_unit.shape[0]
    rects = np.zeros((count, 4), np.int32)
    nearest = np.zeros(count)
    p = np.empty((8, 3))
    step = 2.0 * math.pi / columns
    for s in range(count):
        _corners(sensor_from_unit[s], p)
        cx, cy = sensor_from_unit[s, 0, 3], sensor_from_unit[s, 1, 3]
        radius = 0.0
        for k in range(8):
            radius = max(radius, math.hypot(p[k, 0] - cx, p[k, 1] - cy))
        far = math.hypot(cx, cy) + radius
        near = max(math.hypot(cx, cy) - radius, 0.0)
        if near > reach:
            continue
        nearest[s] = near
        low, high = p[:, 2].min(), p[:, 2].max()
        e0 = math.atan2(low, near + 0.01 if low < 0 else far)
        e1 = math.atan2(high, near + 0.01 if high > 0 else far)
        rects[s, 0] = max(np.searchsorted(elevations, e0) - 1, 0)
        rects[s, 1] = min(np.searchsorted(elevations, e1) + 1, len(elevations))
        if rects[s, 1] <= rects[s, 0]:
            rects[s, :] = 0
            continue
        mid = math.atan2(cy, cx)
        left, right = 0.0, 0.0
        for k in range(8):
            turn = math.atan2(p[k, 1], p[k, 0]) - mid
            turn -= 2.0 * math.pi * math.floor(turn / (2.0 * math.pi) + 0.5)
            left, right = max(left, turn), min(right, turn)
        if left - right > 0.9 * math.pi:
            rects[s, 2], rects[s, 3] = 0, columns
            continue
        start = (first_azimuth - mid - left) / step
        start -= columns * math.floor(start / columns)
        rects[s, 2] = int(start)
        rects[s, 3] = min(int(start + (left - right) / step) + 2, rects[s, 2] + columns)
    return rects, nearest

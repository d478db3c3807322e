"""One intersection routine for every sensor: which solid, and how far, each ray of a sensor meets first.

A sensor is an [R, C] table of ray directions from the origin of its own frame. ``t`` counts in multiples of a
direction: metres of range where directions have length one (LiDAR), metres of depth where their z is one (cameras).
Each solid is tried only on the rays of its bounding rectangle. The functions release the interpreter lock, so
threads run them side by side, and each is single-threaded, so the result never depends on how many there are.
"""

import math

import numpy as np
from numba import njit

from bevkd.datasets.synthetic.solids import BOX, CYLINDER

NEAR = 0.15
INF = np.inf


@njit(cache=True, nogil=True, inline="always")
def _clip(t0, t1, room, rate):
    """Keep the part of [t0, t1] in which a value stays below its bound: now ``room`` below, growing at ``rate``."""
    if rate > 0.0:
        return t0, min(t1, room / rate)
    if rate < 0.0:
        return max(t0, room / rate), t1
    return (t0, t1) if room >= 0.0 else (1.0, 0.0)


@njit(cache=True, nogil=True)
def hit_box(o, d, taper):
    """First t > NEAR where the ray o + t d enters the unit box with leaning faces, inf if never or if o is inside."""
    front, back, side = 0.5 * taper[0], 0.5 * taper[1], 0.5 * taper[2]
    t0, t1 = _clip(NEAR, INF, 1.0 - o[2], d[2])
    t0, t1 = _clip(t0, t1, 1.0 + o[2], -d[2])
    if t0 >= t1:
        return INF
    t0, t1 = _clip(t0, t1, 1.0 - front - o[0] - front * o[2], d[0] + front * d[2])
    t0, t1 = _clip(t0, t1, 1.0 - back + o[0] - back * o[2], -d[0] + back * d[2])
    if t0 >= t1:
        return INF
    t0, t1 = _clip(t0, t1, 1.0 - side - o[1] - side * o[2], d[1] + side * d[2])
    t0, t1 = _clip(t0, t1, 1.0 - side + o[1] - side * o[2], -d[1] + side * d[2])
    return t0 if NEAR < t0 < t1 else INF


@njit(cache=True, nogil=True)
def hit_round(o, d, kind, shrink):
    """First t > NEAR where the ray enters the unit frustum (radius 1 to 1 - shrink) or the unit sphere."""
    if kind == CYLINDER:
        slope = 0.5 * shrink
        t0, t1 = _clip(NEAR, INF, 1.0 - o[2], d[2])
        t0, t1 = _clip(t0, t1, 1.0 + o[2], -d[2])
        radius = 1.0 - slope - slope * o[2]
        a = d[0] * d[0] + d[1] * d[1] - slope * slope * d[2] * d[2]
        b = o[0] * d[0] + o[1] * d[1] + slope * d[2] * radius
        c = o[0] * o[0] + o[1] * o[1] - radius * radius
    else:
        t0, t1 = NEAR, INF
        a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
        b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
        c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1.0
    if abs(a) < 1e-12:
        return INF  # exactly along the slope of a cone
    root = math.sqrt(max(b * b - a * c, 0.0))
    if a > 0.0:
        if root == 0.0:
            return INF
        t0, t1 = max(t0, (-b - root) / a), min(t1, (-b + root) / a)
    elif root > 0.0:  # steeper than the cone: inside it before the first or after the second crossing of its double
        if d[2] < 0.0:
            t0 = max(t0, (-b - root) / a)
        else:
            t1 = min(t1, (-b + root) / a)
    return t0 if NEAR < t0 < t1 else INF


@njit(cache=True, nogil=True)
def cast(directions, unit_from_sensor, kind, taper, owner, rects, nearest, counted, depth, solid, stamp, outline):
    """Meet every solid; keep the first hit of each ray.

    directions [R, C, 3] float32; unit_from_sensor [S, 3, 4]; kind, owner [S]; taper [S, 3]; rects [S, 4] int (row0,
    row1, col0, col1; a column past C wraps round); nearest [S] a lower bound of t. Filled in place: depth [R, C]
    float32 (inf = nothing), solid [R, C] int32 (-1 = nothing), outline [bodies] int64: how many rays each body would
    meet if it stood alone, for bodies below ``counted``. stamp [R, C] int32 is scratch, -1 at the start; the solids
    of one body must be consecutive.
    """
    columns = directions.shape[1]
    o = np.empty(3)
    d = np.empty(3)
    for s in range(unit_from_sensor.shape[0]):
        m = unit_from_sensor[s]
        body = owner[s]
        for axis in range(3):
            o[axis] = m[axis, 3]
        for row in range(rects[s, 0], rects[s, 1]):
            for wide in range(rects[s, 2], rects[s, 3]):
                col = wide - columns if wide >= columns else wide
                known = stamp[row, col] == body
                if (known or body >= counted) and depth[row, col] <= nearest[s]:
                    continue
                x, y, z = directions[row, col, 0], directions[row, col, 1], directions[row, col, 2]
                for axis in range(3):
                    d[axis] = m[axis, 0] * x + m[axis, 1] * y + m[axis, 2] * z
                if kind[s] == BOX:
                    t = hit_box(o, d, taper[s])
                else:
                    t = hit_round(o, d, kind[s], taper[s, 0])
                if t == INF:
                    continue
                if not known:
                    stamp[row, col] = body
                    outline[body] += 1
                if t < depth[row, col]:
                    depth[row, col] = t
                    solid[row, col] = s


@njit(cache=True, nogil=True)
def ground_height(heights, origin, cell, x, y):
    """Height and its two slopes at world (x, y): bilinear on the grid ``heights`` [rows = y, columns = x]."""
    u = min(max((x - origin[0]) / cell, 0.0), heights.shape[1] - 1.001)
    v = min(max((y - origin[1]) / cell, 0.0), heights.shape[0] - 1.001)
    j, i = int(u), int(v)
    fu, fv = u - j, v - i
    a, b, c, e = heights[i, j], heights[i, j + 1], heights[i + 1, j], heights[i + 1, j + 1]
    low, high = a + (b - a) * fu, c + (e - c) * fu
    return low + (high - low) * fv, ((b - a) * (1 - fv) + (e - c) * fv) / cell, (high - low) / cell


@njit(cache=True, nogil=True)
def cast_ground(directions, world_from_sensor, heights, origin, cell, reach, depth, solid):
    """Let rays meet the ground surface (solid number -2) where nothing nearer was met; ``reach`` bounds t."""
    ox, oy, oz = world_from_sensor[0, 3], world_from_sensor[1, 3], world_from_sensor[2, 3]
    below, _, _ = ground_height(heights, origin, cell, ox, oy)
    m = world_from_sensor
    for row in range(directions.shape[0]):
        for col in range(directions.shape[1]):
            x, y, z = directions[row, col, 0], directions[row, col, 1], directions[row, col, 2]
            dz = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z
            if dz > -0.004:
                continue
            dx = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z
            dy = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z
            t = min((below - oz) / dz, reach)
            if t > depth[row, col] * 1.6 + 2.0:
                continue  # slopes are far too small for the ground to come before that solid
            gap = INF
            for _ in range(4):  # Newton: the slope of the ground is below that of almost every ray
                h, sx, sy = ground_height(heights, origin, cell, ox + t * dx, oy + t * dy)
                gap = oz + t * dz - h
                if abs(gap) < 1e-3:
                    break
                t = min(max(t - gap / min(dz - sx * dx - sy * dy, -0.002), 0.0), reach)
            if abs(gap) < 0.02 and NEAR < t < depth[row, col]:
                depth[row, col] = t
                solid[row, col] = -2

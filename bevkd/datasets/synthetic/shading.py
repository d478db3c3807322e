"""Procedural surfaces and their light: the compiled part of the cameras.

All of it is one file because numba's cache only notices changes of the file a compiled function is in.
"""

import math

import numpy as np
from numba import njit

from bevkd.datasets.synthetic.solids import BOX, CABIN, FACADE, GRIME, LEAVES, PANELS, RINGS, STRIPES, WINDOW_BAND
from bevkd.datasets.synthetic.streets import CELL, PAVEMENT, ROAD, WHITE, YELLOW
from bevkd.datasets.synthetic.weather import SHADOW_CELL


@njit(cache=True, nogil=True)
def hashed(a, b, c):
    """A number in [0, 1) that looks random, from three whole numbers."""
    h = (a * 0x1F1F1F1F ^ b * 0x5F356495 ^ c * 0x2C1B3C6D) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    h = ((h ^ (h >> 12)) * 0x297A2D39) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFFFF) / 16777216.0


@njit(cache=True, nogil=True)
def smooth_noise(x, y, salt):
    """Value noise in [0, 1) with period-one cells, smooth in x and y."""
    fx, fy = math.floor(x), math.floor(y)
    i, j = int(fx), int(fy)
    u, v = x - fx, y - fy
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = hashed(i, j, salt) * (1 - u) + hashed(i + 1, j, salt) * u
    high = hashed(i, j + 1, salt) * (1 - u) + hashed(i + 1, j + 1, salt) * u
    return low * (1 - v) + high * v


@njit(cache=True, nogil=True)
def solid_normal(kind, taper, p, n):
    """Outward normal (unit-shape frame, any length) at a surface point p of a unit shape, written to n [3]."""
    if kind != BOX:
        if kind == 1:
            if abs(p[2]) > 0.9995:
                n[0], n[1], n[2] = 0.0, 0.0, p[2]
            else:
                n[0], n[1] = p[0], p[1]
                n[2] = 0.5 * taper[0] * (1.0 - 0.5 * taper[0] * (1.0 + p[2]))
        else:
            n[0], n[1], n[2] = p[0], p[1], p[2]
        return
    front, back, side = 0.5 * taper[0], 0.5 * taper[1], 0.5 * taper[2]
    best = abs(1.0 - abs(p[2]))
    n[0], n[1], n[2] = 0.0, 0.0, p[2]
    gap = abs(1.0 - front - p[0] - front * p[2])
    if gap < best:
        best = gap
        n[0], n[1], n[2] = 1.0, 0.0, front
    gap = abs(1.0 - back + p[0] - back * p[2])
    if gap < best:
        best = gap
        n[0], n[1], n[2] = -1.0, 0.0, back
    gap = abs(1.0 - side - abs(p[1]) - side * p[2])
    if gap < best:
        n[0], n[1], n[2] = 0.0, (1.0 if p[1] > 0 else -1.0), side


@njit(cache=True, nogil=True)
def paint_solid(texture, p, half, n, salt, rgb):
    """Change the base colour rgb [3] in place for the point p (unit frame, half extents in metres) with normal n."""
    x, y, z = p[0] * half[0], p[1] * half[1], p[2] * half[2]
    wall = abs(n[2]) < 0.7 * (abs(n[0]) + abs(n[1]))
    sideways = abs(n[1]) > abs(n[0])
    run = x if sideways else y
    if texture == FACADE and wall:
        up = z + half[2]
        cell, floor = run / 2.9, up / 3.1
        cu, cv = cell - math.floor(cell), floor - math.floor(floor)
        if 0.22 < cu < 0.78 and 0.3 < cv < 0.82:
            lit = hashed(math.floor(cell), math.floor(floor), salt)
            shade = 0.12 + 0.25 * lit * lit
            rgb[0], rgb[1], rgb[2] = shade, shade * 1.1, shade * 1.25
        else:
            _scale(rgb, 0.85 + 0.25 * smooth_noise(run * 2.0, up * 5.0, salt))
    elif texture == STRIPES:
        band = (y + z) / 0.5
        if band - math.floor(band) < 0.5:
            rgb[0], rgb[1], rgb[2] = 0.93, 0.93, 0.9
    elif texture == LEAVES:
        _scale(rgb, 0.45 + 0.9 * hashed(int(x * 5 + 99), int(y * 5 + 99), int(z * 5 + 99) + salt))
    elif texture == WINDOW_BAND and wall:
        post = run / 1.35
        if 0.1 < p[2] < 0.68 and post - math.floor(post) > 0.1:
            rgb[0], rgb[1], rgb[2] = 0.07, 0.09, 0.11
        elif p[2] < -0.6:
            _scale(rgb, 0.5)
    elif texture == PANELS:
        seam = run / 0.9
        if seam - math.floor(seam) < 0.09:
            _scale(rgb, 0.7)
    elif texture == RINGS:
        if -0.25 < p[2] < 0.15 or 0.4 < p[2] < 0.62:
            rgb[0], rgb[1], rgb[2] = 0.95, 0.95, 0.95
    elif texture == CABIN:
        across = abs(p[1]) if not sideways else abs(((abs(p[0]) + 0.04) % 0.52) - 0.26) / 0.26
        if wall and across < 0.86 and -0.9 < p[2] < 0.8:
            rgb[0], rgb[1], rgb[2] = 0.09, 0.11, 0.14
    elif texture == GRIME:
        _scale(rgb, 0.65 + 0.5 * smooth_noise(run * 3.0, z * 3.0, salt))


@njit(cache=True, nogil=True)
def _scale(rgb, f):
    rgb[0] *= f
    rgb[1] *= f
    rgb[2] *= f


@njit(cache=True, nogil=True)
def paint_ground(kind, x, y, salt, rgb):
    """Colour of the ground at world (x, y) into rgb [3]: asphalt, slabs, paint or grass, each with its grain."""
    grain = hashed(math.floor(x * 12), math.floor(y * 12), salt)
    patch = smooth_noise(x * 0.35, y * 0.35, salt)
    if kind == ROAD:
        g = 0.2 + 0.07 * patch + 0.05 * grain
        rgb[0], rgb[1], rgb[2] = g, g, g * 1.03
    elif kind == PAVEMENT:
        g = 0.44 + 0.08 * patch + 0.05 * grain
        u, v = x / 1.5, y / 1.5
        if u - math.floor(u) < 0.04 or v - math.floor(v) < 0.04:
            g *= 0.75
        rgb[0], rgb[1], rgb[2] = g * 1.02, g, g * 0.96
    elif kind in (WHITE, YELLOW):
        g = 0.66 + 0.16 * grain - 0.12 * patch
        rgb[0], rgb[1], rgb[2] = g, (g if kind == WHITE else g * 0.72), (g if kind == WHITE else 0.14)
    else:
        g = 0.6 + 0.5 * grain + 0.4 * patch
        rgb[0], rgb[1], rgb[2] = 0.2 * g, 0.27 * g, 0.11 * g


@njit(cache=True, nogil=True)
def _sky(dx, dy, dz, light, sun_cos, rgb):
    """Sky colour in world direction (dx, dy, dz): gradient, clouds and a glow round the sun."""
    f = min(max(dz * 2.2, 0.0), 1.0)
    cloud = max(smooth_noise(3.0 * dx / (0.15 + abs(dz)), 3.0 * dy / (0.15 + abs(dz)), 5) - 0.5, 0.0) * f
    glow = max(sun_cos, 0.0) ** 24 * 0.5
    for c in range(3):
        rgb[c] = light[3, c] + (light[2, c] - light[3, c]) * f + 0.5 * cloud + glow * light[0, c]


@njit(cache=True, nogil=True)
def _ground(gx, gy, surface, surface_origin, shadow, shadow_origin, light, rgb):
    """Colour of the ground at a place in the world, sun or shadow on it."""
    j = min(max(int((gx - surface_origin[0]) / CELL), 0), surface.shape[1] - 1)
    i = min(max(int((gy - surface_origin[1]) / CELL), 0), surface.shape[0] - 1)
    paint_ground(surface[i, j], gx, gy, 7, rgb)
    j, i = int((gx - shadow_origin[0]) / SHADOW_CELL), int((gy - shadow_origin[1]) / SHADOW_CELL)
    dark = 0.0
    if 0 <= j < shadow.shape[1] and 0 <= i < shadow.shape[0]:
        dark = shadow[i, j] / 255.0
    for c in range(3):
        rgb[c] *= (light[1, c] + 0.75 * light[0, c]) * (1.0 - dark)


@njit(cache=True, nogil=True)
def _light_solid(normal, x, y, z, length, gloss, world, sun, light, rgb):
    """Light a painted solid: ambient from above, sun by angle, the sky mirrored at grazing angles."""
    size = math.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + 1e-12
    lit = (normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2]) / size
    up = (world[2, 0] * normal[0] + world[2, 1] * normal[1] + world[2, 2] * normal[2]) / size
    facing = abs(normal[0] * x + normal[1] * y + normal[2] * z) / (size * length)
    mirror = gloss * (1.0 - facing) ** 2
    for c in range(3):
        rgb[c] = rgb[c] * (light[1, c] * (0.72 + 0.28 * up) + light[0, c] * max(lit, 0.0))
        rgb[c] = rgb[c] * (1 - mirror) + mirror * light[3, c] * 0.8


@njit(cache=True, nogil=True)
def shade_pixels(
    rays,
    depth,
    solid,
    unit_from_sensor,
    kind,
    taper,
    half,
    color,
    texture,
    gloss,
    owner,
    world,
    sun,
    light,
    surface,
    surface_origin,
    shadow,
    shadow_origin,
    salt,
    image,
):
    rgb, p, n, normal = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    haze, exposure, noise = light[4, 0], light[4, 1], light[4, 2]
    for row in range(depth.shape[0]):
        for col in range(depth.shape[1]):
            x, y, z = float(rays[row, col, 0]), float(rays[row, col, 1]), float(rays[row, col, 2])
            length = math.sqrt(x * x + y * y + z * z)
            s, t = solid[row, col], float(depth[row, col])
            wx = world[0, 0] * x + world[0, 1] * y + world[0, 2] * z
            wy = world[1, 0] * x + world[1, 1] * y + world[1, 2] * z
            if s == -1:
                wz = world[2, 0] * x + world[2, 1] * y + world[2, 2] * z
                _sky(wx / length, wy / length, wz / length, light, (x * sun[0] + y * sun[1] + z * sun[2]) / length, rgb)
            elif s == -2:
                gx, gy = world[0, 3] + t * wx, world[1, 3] + t * wy
                _ground(gx, gy, surface, surface_origin, shadow, shadow_origin, light, rgb)
            else:
                m = unit_from_sensor[s]
                for a in range(3):
                    p[a] = m[a, 3] + t * (m[a, 0] * x + m[a, 1] * y + m[a, 2] * z)
                    rgb[a] = color[s, a]
                solid_normal(kind[s], taper[s], p, n)
                paint_solid(texture[s], p, half[s], n, owner[s], rgb)
                for a in range(3):
                    normal[a] = m[0, a] * n[0] + m[1, a] * n[1] + m[2, a] * n[2]
                _light_solid(normal, x, y, z, length, gloss[s], world, sun, light, rgb)
            if s != -1:
                clear = math.exp(-t * length / haze)
                for c in range(3):
                    rgb[c] = rgb[c] * clear + light[3, c] * (1 - clear)
            for c in range(3):
                draw = hashed(col * 3 + c, row, salt) * 4096.0
                grain = draw / 4096.0 + (draw - math.floor(draw)) - 1.0  # two halves of one draw, summed
                bright = min(max(rgb[c] * exposure, 0.0), 1.0)
                value = math.sqrt(bright) + noise * 2.4 * grain
                image[row, col, 2 - c] = int(min(max(value * 255.0 + 0.5, 0.0), 255.0))

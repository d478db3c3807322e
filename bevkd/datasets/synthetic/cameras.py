"""Camera images: the first solid of every pixel, lit by sun and sky, through haze, exposure and sensor noise."""

import cv2
import numpy as np

from bevkd.datasets.synthetic.bounds import camera_bounds
from bevkd.datasets.synthetic.raycast import cast, cast_ground
from bevkd.datasets.synthetic.rig import Mount
from bevkd.datasets.synthetic.shading import shade_pixels
from bevkd.datasets.synthetic.solids import MATERIAL_TABLE
from bevkd.datasets.synthetic.streets import HEIGHT_CELL
from bevkd.datasets.synthetic.weather import Weather
from bevkd.datasets.synthetic.world import FAR_SIGHT, View, World

REACH = 160.0


def trace(world: World, view: View, mount: Mount, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First hits of a camera: depth [H, W] metres (inf = sky), solid [H, W] (row of ``view``; -2 ground, -1 sky),
    and outline [actors]: pixels that each actor would cover if nothing stood before it."""
    rows, columns = rays.shape[:2]
    k = mount.intrinsic
    rects, nearest = camera_bounds(view.sensor_from_unit, k[0, 0], k[0, 2], k[1, 2], rows, columns, FAR_SIGHT)
    depth = np.full((rows, columns), np.inf, np.float32)
    solid = np.full((rows, columns), -1, np.int32)
    outline = np.zeros(len(world.sizes), np.int64)
    table = world.solids
    cast(
        rays,
        view.unit_from_sensor,
        table.kind[view.rows],
        table.taper[view.rows],
        table.owner[view.rows],
        rects,
        nearest,
        len(world.actors),
        depth,
        solid,
        np.full((rows, columns), -1, np.int32),
        outline,
    )
    ground = world.ground
    cast_ground(rays, view.world_from_sensor, ground.heights, ground.origin, HEIGHT_CELL, REACH, depth, solid)
    return depth, solid, outline[: len(world.actors)]


def shade(
    world: World,
    view: View,
    rays: np.ndarray,
    depth: np.ndarray,
    solid: np.ndarray,
    shadow: tuple[np.ndarray, np.ndarray],
    salt: int,
) -> np.ndarray:
    """[H, W, 3] uint8 BGR image of traced pixels; ``shadow`` is ``weather.shadow_map``'s, ``salt`` seeds the noise."""
    image = np.empty((*depth.shape, 3), np.uint8)
    table, weather, ground = world.solids, world.weather, world.ground
    rows = view.rows
    sun = view.world_from_sensor[:3, :3].T @ weather.sun
    shade_pixels(
        rays,
        depth,
        solid,
        view.unit_from_sensor,
        table.kind[rows],
        table.taper[rows],
        table.half[rows],
        table.color[rows].astype(np.float64),
        table.texture[rows],
        MATERIAL_TABLE[table.material[rows], 2],
        table.owner[rows],
        view.world_from_sensor,
        sun,
        light_numbers(weather),
        ground.surface,
        ground.origin,
        shadow[0],
        shadow[1],
        salt,
        image,
    )
    return image


def light_numbers(weather: Weather) -> np.ndarray:
    """[5, 3] rows for the compiled shader: sun light, ambient light, sky top, sky low, (haze, exposure, noise)."""
    return np.stack(
        [
            weather.strength * weather.tint,
            weather.ambient * (0.5 + 0.5 * weather.sky_top / weather.sky_top.max()),
            weather.sky_top,
            weather.sky_low,
            [weather.haze, weather.exposure, weather.noise],
        ]
    )


def visible_pixels(world: World, view: View, solid: np.ndarray) -> np.ndarray:
    """[actors] pixels in which each actor is what the camera sees."""
    owners = world.solids.owner[view.rows][solid[solid >= 0]]
    return np.bincount(owners, minlength=len(world.sizes))[: len(world.actors)]


def encode(image: np.ndarray) -> bytes:
    """JPEG bytes of a BGR image."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()

"""Light and air of a scene: sun, sky, haze, exposure, sensor noise, and the shadows that bodies throw on the ground."""

from dataclasses import dataclass

import cv2
import numpy as np

from bevkd.datasets.synthetic.motion import rectangle

TONES = {
    # tone: sun strength, ambient, haze distance in metres, exposure, noise, sky top, sky low, light colour
    "clear": (0.85, 0.42, 420.0, 1.0, 0.012, (0.25, 0.45, 0.85), (0.72, 0.82, 0.92), (1.0, 0.97, 0.9)),
    "overcast": (0.12, 0.78, 220.0, 0.95, 0.016, (0.66, 0.69, 0.73), (0.8, 0.82, 0.83), (0.95, 0.98, 1.0)),
    "golden": (0.75, 0.36, 300.0, 1.0, 0.016, (0.35, 0.45, 0.7), (0.95, 0.75, 0.5), (1.0, 0.82, 0.6)),
    "hazy": (0.35, 0.6, 110.0, 1.0, 0.014, (0.7, 0.74, 0.78), (0.85, 0.85, 0.84), (1.0, 0.98, 0.95)),
    "dusk": (0.15, 0.42, 180.0, 0.85, 0.03, (0.2, 0.24, 0.38), (0.62, 0.5, 0.45), (0.85, 0.85, 1.0)),
}
SHADOW_CELL = 0.25
SHADOW_REACH = 62.0


@dataclass(frozen=True)
class Weather:
    """Numbers the camera model reads. ``sun`` is the unit vector towards the sun in world axes."""

    tone: str
    sun: np.ndarray
    strength: float
    ambient: float
    haze: float
    exposure: float
    noise: float
    sky_top: np.ndarray
    sky_low: np.ndarray
    tint: np.ndarray


def draw_weather(tone: str, rng: np.random.Generator) -> Weather:
    """A weather of the named tone, with its own sun direction and small changes of every number."""
    strength, ambient, haze, exposure, noise, top, low, tint = TONES[tone]
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.radians(rng.uniform(14, 22) if tone in ("golden", "dusk") else rng.uniform(30, 62))
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    vary = rng.uniform(0.9, 1.1, 5)
    return Weather(
        tone,
        sun,
        strength * vary[0],
        ambient * vary[1],
        haze * vary[2],
        exposure * vary[3],
        noise * vary[4],
        np.array(top),
        np.array(low),
        np.array(tint),
    )


def shadow_map(
    weather: Weather, center: np.ndarray, poses: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of light taken from the ground, uint8 [Y, X] (255 = all), and the world x, y of its first corner.

    poses [B, 4] and sizes [B, 3] are the boxes that throw shadows: a sun shadow, and a soft dark rim under each body.
    """
    cells = int(2 * SHADOW_REACH / SHADOW_CELL)
    origin = np.floor(center / SHADOW_CELL) * SHADOW_CELL - SHADOW_REACH
    image = np.zeros((cells, cells), np.uint8)
    near = np.hypot(*(poses[:, :2] - center).T) < SHADOW_REACH + 20
    foot = (rectangle(poses[near][:, [0, 1, 3]], sizes[near]) - origin) / SHADOW_CELL - 0.5
    throw = -weather.sun[:2] / weather.sun[2] * np.minimum(sizes[near][:, 2:], 14.0) / SHADOW_CELL
    dark = int(255 * 0.8 * weather.strength / (weather.strength + weather.ambient))
    for corners, shift in zip(foot, throw):
        hull = cv2.convexHull(np.concatenate([corners, corners + shift]).astype(np.float32))
        cv2.fillConvexPoly(image, np.round(hull * 16).astype(np.int32), dark, cv2.LINE_8, 4)
    rim = np.zeros_like(image)
    for corners in foot:
        cv2.fillConvexPoly(rim, np.round(corners * 16).astype(np.int32), 150, cv2.LINE_8, 4)
    return np.maximum(cv2.blur(image, (3, 3)), cv2.blur(rim, (5, 5))), origin

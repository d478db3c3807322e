"""Bodies of the motor vehicles: what a LiDAR needs to tell front from back, and a camera to tell class from class."""

import numpy as np

from bevkd.datasets.synthetic.solids import CABIN, GRIME, PANELS, WINDOW_BAND, Body

BLACK = (0.05, 0.05, 0.06)
GLASS = (0.08, 0.10, 0.13)
CHROME = (0.6, 0.6, 0.62)
HEAD = (0.95, 0.95, 0.85)
TAIL = (0.75, 0.04, 0.04)
CAR_COLORS = (
    (0.75, 0.75, 0.76),
    (0.9, 0.9, 0.9),
    (0.08, 0.08, 0.09),
    (0.35, 0.36, 0.38),
    (0.5, 0.05, 0.06),
    (0.08, 0.16, 0.4),
    (0.2, 0.3, 0.22),
    (0.55, 0.48, 0.36),
)
TRUCK_COLORS = ((0.85, 0.85, 0.85), (0.15, 0.25, 0.55), (0.6, 0.1, 0.08), (0.25, 0.4, 0.3), (0.8, 0.65, 0.2))


def pick(rng: np.random.Generator, colors: tuple) -> tuple[float, float, float]:
    """One of ``colors``, slightly varied."""
    color = np.array(colors[rng.integers(len(colors))]) + rng.normal(0, 0.03, 3)
    return tuple(float(c) for c in np.clip(color, 0.02, 0.97))


def coat(color: tuple) -> str:
    """Dark paint returns little of the laser's light."""
    return "dark_paint" if sum(color) < 0.6 else "paint"


def add_wheels(body: Body, axles: list[float], radius: float, width: float = 0.24) -> None:
    """Two wheels at each x of ``axles``, flush with the sides of the box."""
    for x in axles:
        for side in (-1, 1):
            y = side * (body.size[1] / 2 - width / 2)
            body.cylinder((x, y, radius), radius, width, BLACK, "rubber", axis="y")


def add_lamps(body: Body, height: float, rear: bool = True, front: bool = True) -> None:
    """Head and tail lamps, the strongest hint at the direction of travel."""
    l, w, _ = body.size
    for side in (-1, 1):
        y = side * (w / 2 - 0.3)
        if front:
            body.box((l / 2 - 0.04, y, height), (0.08, 0.36, 0.16), HEAD, "reflector")
        if rear:
            body.box((-l / 2 + 0.04, y, height + 0.08), (0.08, 0.32, 0.2), TAIL, "reflector")


def car(size: tuple, rng: np.random.Generator) -> Body:
    """Saloon, hatchback or van: lower shell, cabin with glass, wheels, lamps."""
    body = Body(size)
    l, w, h = size
    color = pick(rng, CAR_COLORS)
    style = rng.choice(["saloon", "hatch", "van"], p=[0.45, 0.35, 0.2])
    start, end = {"saloon": (-0.38, 0.24), "hatch": (-0.48, 0.24), "van": (-0.49, 0.36)}[style]
    belt = h * (0.55 if style != "van" else 0.5)
    body.box((0, 0, (0.22 + belt) / 2), (l, w, belt - 0.22), color, coat(color), taper=(0.04, 0.03, 0.06))
    back = 0.5 if style == "saloon" else 0.12
    body.box(
        ((start + end) / 2 * l, 0, (belt - 0.04 + h) / 2),
        ((end - start) * l, w * 0.92, h - belt + 0.04),
        color,
        "glass",
        CABIN,
        taper=(0.55 if style != "van" else 0.35, back, 0.22),
    )
    body.box(((start + end) / 2 * l - 0.1, 0, h - 0.03), ((end - start) * l * 0.62, w * 0.7, 0.06), color, coat(color))
    add_wheels(body, [-0.3 * l, 0.31 * l], min(0.34, 0.2 * h))
    add_lamps(body, belt * 0.78)
    body.box((l / 2 - 0.03, 0, 0.45), (0.06, w * 0.5, 0.18), BLACK, "plastic")
    return body


def truck(size: tuple, rng: np.random.Generator) -> Body:
    """Cab in front; behind it a closed box, an open bed or a tank."""
    body = Body(size)
    l, w, h = size
    color = pick(rng, TRUCK_COLORS)
    cab = min(2.2, 0.33 * l)
    top = h * rng.uniform(0.72, 0.9)
    x = l / 2 - cab / 2
    body.box((x - 0.03, 0, (0.5 + 0.55 * top) / 2), (cab - 0.06, w * 0.96, 0.55 * top - 0.5), color, coat(color))
    body.box((x - 0.05, 0, 0.775 * top), (cab - 0.1, w * 0.94, 0.45 * top), color, "glass", CABIN, (0.22, 0.0, 0.08))
    bed = l - cab - 0.15
    xb = -l / 2 + bed / 2
    body.box((xb, 0, 0.75), (bed, w * 0.8, 0.3), BLACK, "metal")
    load = pick(rng, TRUCK_COLORS)
    style = rng.choice(["box", "open", "tank"], p=[0.6, 0.28, 0.12])
    if style == "box":
        body.box((xb, 0, (0.9 + h) / 2), (bed, w - 0.04, h - 0.9), load, coat(load), PANELS)
    elif style == "open":
        for side in (-1, 1):
            body.box((xb, side * (w / 2 - 0.05), 1.35), (bed, 0.1, 0.9), load, "metal", PANELS)
        body.box((-l / 2 + 0.05, 0, 1.35), (0.1, w, 0.9), load, "metal")
        body.box(
            (xb + 0.2, 0, (0.9 + h) / 2 - 0.1),
            (bed * 0.7, w * 0.75, h - 1.1),
            (0.4, 0.33, 0.24),
            "wood",
            GRIME,
            (0.2, 0.2, 0.2),
        )
    else:
        radius = min(w, h - 0.9) / 2
        body.cylinder((xb, 0, h - radius), radius, bed, CHROME, "metal", PANELS, axis="x")
    add_wheels(body, [-0.36 * l, 0.33 * l], 0.48, 0.3)
    add_lamps(body, 0.8)
    return body


def trailer(size: tuple, rng: np.random.Generator) -> Body:
    """A load on axles at its rear, supports at its front and no cab."""
    body = Body(size)
    l, w, h = size
    color = pick(rng, TRUCK_COLORS)
    deck = 1.15
    body.box((0.02, 0, deck - 0.15), (l - 0.04, w * 0.7, 0.3), BLACK, "metal")
    if rng.random() < 0.75:
        body.box((0, 0, (deck + h) / 2), (l, w - 0.04, h - deck), color, coat(color), PANELS)
    else:
        body.box((0, 0, deck + 0.05), (l, w, 0.1), (0.35, 0.25, 0.18), "wood")
        body.box((0.1 * l, 0, (deck + h) / 2 + 0.05), (0.7 * l, w * 0.9, h - deck - 0.1), color, coat(color), PANELS)
    add_wheels(body, [-0.42 * l, -0.42 * l + 1.2, -0.42 * l + 2.4], 0.48, 0.3)
    for side in (-1, 1):
        body.box((0.3 * l, side * w * 0.3, 0.45), (0.15, 0.15, 0.9), CHROME, "metal")
    add_lamps(body, 0.95, front=False)
    return body


def bus(size: tuple, rng: np.random.Generator) -> Body:
    """Long shell with a band of windows, doors, windscreen and roof unit."""
    body = Body(size)
    l, w, h = size
    color = pick(rng, ((0.85, 0.85, 0.82), (0.8, 0.2, 0.12), (0.15, 0.45, 0.35), (0.2, 0.35, 0.7), (0.85, 0.7, 0.15)))
    body.box((0, 0, (0.3 + h - 0.2) / 2), (l - 0.08, w - 0.06, h - 0.5), color, coat(color), WINDOW_BAND)
    body.box((-0.15 * l, 0, h - 0.1), (0.4 * l, w * 0.7, 0.2), (0.7, 0.7, 0.7), "plastic")
    body.box((l / 2 - 0.03, 0, 0.62 * h), (0.05, w * 0.88, 0.42 * h), GLASS, "glass")
    body.box((l / 2 - 0.03, 0, 0.88 * h), (0.06, w * 0.7, 0.07 * h), (0.9, 0.6, 0.1), "plastic")
    add_wheels(body, [-0.28 * l, 0.3 * l], 0.5, 0.3)
    add_lamps(body, 0.7)
    return body


def construction_vehicle(size: tuple, rng: np.random.Generator) -> Body:
    """Yellow excavator or wheel loader: chassis, cab, counterweight and an arm that ends in a bucket at the front."""
    body = Body(size)
    l, w, h = size
    yellow = pick(rng, ((0.85, 0.62, 0.05), (0.9, 0.5, 0.05)))
    if rng.random() < 0.5:
        for side in (-1, 1):
            body.box(
                (-0.12 * l, side * (w / 2 - 0.25), 0.4), (0.72 * l, 0.5, 0.8), BLACK, "rubber", GRIME, (0.3, 0.3, 0)
            )
    else:
        add_wheels(body, [-0.32 * l, 0.18 * l], min(0.7, 0.24 * h), 0.5)
    body.box((-0.15 * l, 0, 1.05), (0.7 * l, w * 0.72, 0.5), yellow, "paint", GRIME)
    body.box((-0.36 * l, 0, 1.55), (0.28 * l, w * 0.85, 0.6), yellow, "paint", taper=(0, 0.2, 0))
    body.box(
        (-0.08 * l, 0.2 * w, (1.3 + h) / 2),
        (0.24 * l, 0.45 * w, h - 1.3),
        yellow,
        "glass",
        CABIN,
        taper=(0.15, 0, 0.05),
    )
    reach, angle = 0.3 * l, 0.55
    z = min(1.5, h - 0.4 - reach * np.sin(angle) / 2)
    body.box((0.14 * l, -0.12 * w, z), (reach, 0.3, 0.32), yellow, "paint", pitch=angle)
    body.box((0.33 * l, -0.12 * w, z - 0.05), (0.22 * l, 0.26, 0.26), yellow, "paint", pitch=-0.9)
    body.box((0.5 * l - 0.4, -0.05 * w, 0.5), (0.8, 0.75 * w, 0.85), (0.3, 0.3, 0.3), "metal", GRIME, (0.1, 0.5, 0))
    body.cylinder((-0.3 * l, -0.25 * w, 1.95), 0.07, 0.4, BLACK, "metal")
    return body

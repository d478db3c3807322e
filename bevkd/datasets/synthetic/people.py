"""Bodies of pedestrians, bicycles and motorcycles, with and without a rider."""

import numpy as np

from bevkd.datasets.synthetic.solids import Body
from bevkd.datasets.synthetic.vehicles import BLACK, CHROME, HEAD, TAIL, pick

SKIN = ((0.75, 0.55, 0.42), (0.5, 0.35, 0.25), (0.85, 0.68, 0.55))
SHIRTS = (
    (0.7, 0.15, 0.15),
    (0.15, 0.25, 0.55),
    (0.85, 0.85, 0.8),
    (0.15, 0.15, 0.16),
    (0.2, 0.45, 0.25),
    (0.75, 0.6, 0.2),
    (0.5, 0.3, 0.5),
)
TROUSERS = ((0.12, 0.14, 0.25), (0.1, 0.1, 0.1), (0.45, 0.38, 0.28), (0.3, 0.32, 0.35))
VEST = ((0.95, 0.45, 0.05), (0.75, 0.9, 0.1))


def pedestrian(size: tuple, rng: np.random.Generator, worker: bool = False) -> Body:
    """Two legs in stride, trunk, two arms, head; a worker wears a bright vest and a helmet."""
    body = Body(size)
    l, w, h = size
    shirt = pick(rng, VEST if worker else SHIRTS)
    trousers = pick(rng, TROUSERS)
    skin = pick(rng, SKIN)
    stride = rng.uniform(0.05, 0.3) * l
    for side in (-1, 1):
        body.cylinder((side * stride, side * 0.14 * w, 0.235 * h), 0.085, 0.47 * h, trousers, "cloth")
    body.cylinder((0, 0, 0.63 * h), 0.25 * w, 0.36 * h, shirt, "reflector" if worker else "cloth", taper=-0.15)
    for side in (-1, 1):
        body.box((-side * stride * 0.7, side * 0.36 * w, 0.62 * h), (0.11, 0.1, 0.34 * h), shirt, "cloth")
    body.sphere((0.02, 0, 0.9 * h), (0.22, 0.19, 0.2 * h * 0.8), skin)
    if worker:
        body.sphere((0, 0, 0.945 * h), (0.28, 0.24, 0.11 * h), (0.95, 0.85, 0.1), "plastic")
    elif rng.random() < 0.4:
        body.box((-l / 2 + 0.08, 0, 0.68 * h), (0.16, min(0.3, 0.5 * w), 0.24 * h), pick(rng, SHIRTS), "cloth")
    return body


def add_rider(body: Body, seat: float, rng: np.random.Generator) -> None:
    """Somebody on the saddle, leaning forward, up to the top of the box."""
    h = body.size[2]
    shirt = pick(rng, SHIRTS)
    trunk = h - seat - 0.24
    for side in (-1, 1):
        body.box((0.1, side * 0.15, seat - 0.16), (0.42, 0.12, 0.16), pick(rng, TROUSERS), "cloth", pitch=-0.4)
        body.box(
            (0.3, side * min(0.2, body.size[1] / 2 - 0.05), seat + 0.6 * trunk),
            (0.5, 0.08, 0.09),
            shirt,
            "cloth",
            pitch=-0.35,
        )
    body.box(
        (0.02, 0, seat + trunk / 2),
        (0.28, min(0.42, 0.8 * body.size[1]), trunk),
        shirt,
        "cloth",
        pitch=0.0,
        taper=(0.0, 0.0, 0.1),
    )
    body.sphere((0.1, 0, h - 0.125), (0.24, 0.21, 0.25), pick(rng, SKIN + SHIRTS), "plastic")


def bicycle(size: tuple, rng: np.random.Generator, rider: bool = False) -> Body:
    """Two thin wheels, frame, handlebar and saddle; ``size`` includes the rider if there is one."""
    body = Body(size)
    l, w, h = size
    color = pick(rng, SHIRTS)
    radius = 0.33
    for x in (-l / 2 + radius, l / 2 - radius):
        body.cylinder((x, 0, radius), radius, 0.06, BLACK, "rubber", axis="y")
        body.cylinder((x, 0, radius), radius * 0.8, 0.07, (0.45, 0.45, 0.47), "metal", axis="y")
    top = 0.86 if rider else min(0.86, h - 0.3)
    body.box((0, 0, 0.62), (l * 0.5, 0.06, 0.08), color, "metal", pitch=0.15)
    body.box((-0.05, 0, 0.5), (l * 0.42, 0.06, 0.07), color, "metal", pitch=0.7)
    body.box((-0.22 * l, 0, (0.4 + top) / 2), (0.06, 0.06, top - 0.4), color, "metal")
    body.box((-0.22 * l, 0, top), (0.26, 0.14, 0.08), BLACK, "plastic")
    bar = 1.05 if rider else h - 0.05
    body.box((0.28 * l, 0, (0.5 + bar) / 2), (0.06, 0.06, bar - 0.5), color, "metal")
    body.box((0.26 * l, 0, bar - 0.02), (0.08, w * 0.95, 0.06), BLACK, "metal")
    if rider:
        add_rider(body, top + 0.04, rng)
    return body


def motorcycle(size: tuple, rng: np.random.Generator, rider: bool = False) -> Body:
    """Thick wheels, engine, tank, seat, screen, lamps; ``size`` includes the rider if there is one."""
    body = Body(size)
    l, w, h = size
    color = pick(rng, SHIRTS)
    radius = 0.31
    for x in (-l / 2 + radius, l / 2 - radius):
        body.cylinder((x, 0, radius), radius, 0.16, BLACK, "rubber", axis="y")
    body.box((0, 0, 0.48), (0.4 * l, 0.34, 0.4), (0.3, 0.3, 0.32), "metal")
    body.box((0.1 * l, 0, 0.8), (0.26 * l, 0.32, 0.24), color, "paint", taper=(0.3, 0.1, 0.3))
    body.box((-0.2 * l, 0, 0.76), (0.36 * l, 0.3, 0.14), BLACK, "plastic")
    body.box((-0.42 * l, 0, 0.66), (0.1, 0.24, 0.12), TAIL, "reflector")
    bar = 1.05 if rider else h - 0.25
    body.box((0.3 * l, 0, (0.4 + bar) / 2), (0.12, 0.1, bar - 0.4), CHROME, "metal")
    body.box((0.26 * l, 0, bar), (0.08, w * 0.98, 0.07), BLACK, "metal")
    body.box((0.36 * l, 0, bar - 0.18), (0.12, 0.24, 0.2), HEAD, "reflector")
    if rider:
        add_rider(body, 0.85, rng)
    else:
        body.box((0.3 * l, 0, h - 0.14), (0.05, 0.36, 0.28), (0.2, 0.22, 0.25), "glass")
    return body

"""The scenes: official v1.0-mini names, their place on nuScenes' four maps, and what kind of street each one shows."""

import numpy as np

from bevkd.datasets.synthetic.streets import CELL, VERGE
from bevkd.datasets.synthetic.world import World

TRAIN_SCENES = (
    "scene-0061",
    "scene-0553",
    "scene-0655",
    "scene-0757",
    "scene-0796",
    "scene-1077",
    "scene-1094",
    "scene-1100",
)
VAL_SCENES = ("scene-0103", "scene-0916")
# scene: location, side traffic keeps to (+1 right, -1 left), kind of street, tone of the weather
SCENES = {
    "scene-0061": ("singapore-onenorth", -1, "straight", "clear"),
    "scene-0103": ("boston-seaport", 1, "crossing", "clear"),
    "scene-0553": ("boston-seaport", 1, "bend", "overcast"),
    "scene-0655": ("boston-seaport", 1, "avenue", "golden"),
    "scene-0757": ("boston-seaport", 1, "crossing", "hazy"),
    "scene-0796": ("singapore-queenstown", -1, "winding", "clear"),
    "scene-0916": ("singapore-queenstown", -1, "bend", "overcast"),
    "scene-1077": ("singapore-hollandvillage", -1, "bend with crossing", "dusk"),
    "scene-1094": ("singapore-hollandvillage", -1, "straight", "overcast"),
    "scene-1100": ("singapore-hollandvillage", -1, "crossing", "golden"),
}
MARGIN = 40.0  # metres between scenes on a map


def lay_out(worlds: list[World]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Put scenes side by side on the map of their location.

    Returns each scene's offset [2] (global x, y = world x, y + offset) and each location's mask, uint8 [rows, columns],
    255 on roads and pavements, top row = largest y, ``CELL`` metres per pixel.
    """
    offsets, masks = {}, {}
    for location in dict.fromkeys(SCENES[world.name][0] for world in worlds):
        here = [world for world in worlds if SCENES[world.name][0] == location]
        extents = [np.array(world.ground.surface.shape)[::-1] for world in here]  # cells in x, y
        gap = round(MARGIN / CELL)
        width = max(extent[0] for extent in extents) + 2 * gap
        height = sum(extent[1] for extent in extents) + gap * (len(here) + 1)
        mask, row = np.zeros((height, width), np.uint8), gap
        for world, extent in zip(here, extents):
            mask[row : row + extent[1], gap : gap + extent[0]] = 255 * (world.ground.surface != VERGE)
            offsets[world.name] = np.array([gap, row]) * CELL - world.ground.origin
            row += extent[1] + gap
        masks[location] = mask[::-1]
    return offsets, masks

"""Maps, heads and boxes for the tests of methods, and twins that go cell by cell."""

import math

import numpy as np
import torch

from bevkd.structures import BEVGrid

WIDE = BEVGrid((-6, 12), (-4, 4), 0.5)  # not square and not centred


def maps(grid, channels=6, batch=2, seed=0):
    return torch.randn(batch, channels, *grid.shape, generator=torch.Generator().manual_seed(seed))


def head(grid, batch=2, seed=0, tasks=(1, 2), extra=()):
    draw = torch.Generator().manual_seed(seed)
    sizes = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, **dict.fromkeys(extra, 1)}
    return [
        {k: torch.randn(batch, n, *grid.shape, generator=draw) for k, n in {"heatmap": classes, **sizes}.items()}
        for classes in tasks
    ]


def random_boxes(count, grid, seed=0):
    draw = np.random.default_rng(seed)
    low, high = (grid.x_range[0], grid.y_range[0]), (grid.x_range[1], grid.y_range[1])
    centres, sizes = draw.uniform(low, high, (count, 2)), draw.uniform(0.3, 9, (count, 2))
    columns = (centres, np.zeros((count, 1)), sizes, np.ones((count, 1)), draw.uniform(-4, 4, (count, 1)))
    return torch.tensor(np.hstack(columns), dtype=torch.float32)


def slow_radius(dx, dy, overlap=0.7):
    """CenterNet's rule, one box at a time."""
    roots = []
    for a, b, c in (
        (1, dx + dy, dx * dy * (1 - overlap) / (1 + overlap)),
        (4, 2 * (dx + dy), (1 - overlap) * dx * dy),
        (4 * overlap, -2 * overlap * (dx + dy), (overlap - 1) * dx * dy),
    ):
        roots.append((b + math.sqrt(b * b - 4 * a * c)) / 2)
    return max(0, int(min(roots)))


def slow_mask(boxes, grid, overlap=0.7, least=0):
    """CenterNet's Gaussians, drawn box by box and cell by cell."""
    rows, columns = grid.shape
    mask = np.zeros((rows, columns))
    for x, y, _, dx, dy, *_ in boxes.double().tolist():
        column, row = math.floor((x - grid.x_range[0]) / grid.cell), math.floor((y - grid.y_range[0]) / grid.cell)
        if not (0 <= column < columns and 0 <= row < rows):
            continue
        radius = max(least, slow_radius(dx / grid.cell, dy / grid.cell, overlap))
        sigma = (2 * radius + 1) / 6
        for i in range(max(0, row - radius), min(rows, row + radius + 1)):
            for j in range(max(0, column - radius), min(columns, column + radius + 1)):
                value = math.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * sigma**2))
                mask[i, j] = max(mask[i, j], value)
    return mask


def slow_heat(boxes, grid):
    """The heat map that CenterPoint learns from."""
    return slow_mask(boxes, grid, overlap=0.1, least=2)


def slow_regions(boxes, grid, heat, threshold):
    """DistillBEV's three weight maps of one sample, cell by cell."""
    rows, columns = grid.shape
    drawn = slow_heat(boxes, grid)
    weights = {name: np.zeros((rows, columns)) for name in ("foreground", "false_positive", "background")}
    for i in range(rows):
        for j in range(columns):
            x, y = grid.x_range[0] + (j + 0.5) * grid.cell, grid.y_range[0] + (i + 0.5) * grid.cell
            scale = None
            for bx, by, _, dx, dy, _, yaw in boxes.double().tolist():
                along = (x - bx) * math.cos(yaw) + (y - by) * math.sin(yaw)
                across = -(x - bx) * math.sin(yaw) + (y - by) * math.cos(yaw)
                if scale is None and abs(along) <= dx / 2 and abs(across) <= dy / 2:
                    scale = math.sqrt(grid.cell**2 / (dx * dy))
            if scale is not None:
                weights["foreground"][i, j] = scale
            elif heat is not None and heat[i, j] > threshold and drawn[i, j] < threshold:
                weights["false_positive"][i, j] = 1
            else:
                weights["background"][i, j] = 1
    for name in ("false_positive", "background"):
        weights[name] /= max(1, weights[name].sum())
    inside = weights["foreground"] > 0
    weights["foreground"][inside] = np.maximum(weights["foreground"][inside], weights["background"].max())
    return weights

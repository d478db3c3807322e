"""What several tests of Waymo data share."""

import numpy as np

SMALL = {"frames": 3, "image_size": (64, 96), "azimuths": 200, "beams": 32}


def in_boxes(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """[M] number of points [N, 3] inside boxes [M, 7] (centre, size, heading)."""
    counts = []
    for box in boxes:
        x, y, z = (points - box[:3]).T
        cos, sin = np.cos(box[6]), np.sin(box[6])
        local = np.stack([cos * x + sin * y, cos * y - sin * x, z], 1)
        counts.append((np.abs(local) <= box[3:6] / 2).all(1).sum())
    return np.array(counts)

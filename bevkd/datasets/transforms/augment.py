"""Augmentation in bird's-eye view that moves points, boxes and camera geometry as one rigid world."""

# ruff: noqa: NPY002  (mmengine seeds numpy's global generator in every worker; a run is repeatable through it)

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class BEVAugment(BaseTransform):
    """Flip, rotate, scale and shift the LiDAR frame: points, boxes (with velocities) and ``lidar2img`` together.

    A point p becomes ``bev_matrix @ p`` with ``bev_matrix = T S R F``; boxes go through mmdet3d's own box methods in
    the same order, and ``lidar2img`` is multiplied by the inverse, so a moved point keeps its pixel and its ray. The
    depth that ``lidar2img`` gives stays the metric depth of the camera, also under ``scale``. A previous key frame is
    moved by the same matrix in its own LiDAR frame, and ``previous_to_current`` leads from there to the moved current
    one.
    Positive angles turn counter-clockwise seen from above, (1, 0) to (0, 1) at pi/2.

    Args:
        rotation: (low, high) in radians; UniDistill: 45 degrees either way.
        scale: (low, high).
        translation_std: Standard deviation of the shift in metres, a number for x, y and z or one for each.
        flip: Probability of mirroring x, and independently of mirroring y.

    Sets ``results['bev_matrix']`` ``[4, 4]`` float64.
    """

    def __init__(
        self,
        rotation: tuple[float, float] = (-np.pi / 4, np.pi / 4),
        scale: tuple[float, float] = (0.9, 1.1),
        translation_std: float | tuple[float, float, float] = 0.5,
        flip: float = 0.5,
    ) -> None:
        self.rotation = rotation
        self.scale = scale
        self.translation_std = translation_std
        self.flip = float(flip)

    def transform(self, results: dict) -> dict:
        mirror_x, mirror_y = np.random.rand(2) < self.flip
        angle = np.random.uniform(*self.rotation)
        scale = np.random.uniform(*self.scale)
        shift = np.random.normal(size=3) * self.translation_std
        matrix = bev_matrix(mirror_x, mirror_y, angle, scale, shift)

        if "points" in results:
            xyz = results["points"].tensor[:, :3]
            moved = xyz @ torch.from_numpy(matrix[:3, :3].T).to(xyz) + torch.from_numpy(matrix[:3, 3]).to(xyz)
            results["points"].tensor[:, :3] = moved
        if "gt_bboxes_3d" in results:
            boxes = results["gt_bboxes_3d"]
            if mirror_x:
                boxes.flip("vertical")  # mmdet3d's name for x -> -x in the LiDAR frame
            if mirror_y:
                boxes.flip("horizontal")
            boxes.rotate(angle)
            boxes.scale(scale)
            boxes.translate(torch.from_numpy(shift).to(boxes.tensor))
        inverse = np.linalg.inv(matrix)
        for key in ("lidar2img", "previous_lidar2img"):
            if key in results:
                results[key] = results[key] @ inverse
        if "previous_to_current" in results:
            results["previous_to_current"] = matrix @ results["previous_to_current"] @ inverse
        results["bev_matrix"] = matrix @ results.get("bev_matrix", np.eye(4))
        return results


def bev_matrix(mirror_x: bool, mirror_y: bool, angle: float, scale: float, shift: np.ndarray) -> np.ndarray:
    """``[4, 4]`` float64: mirror, then rotate about +z, then scale, then shift.

    >>> bev_matrix(False, False, np.pi / 2, 2.0, np.zeros(3)).round() @ [1, 0, 0, 1]
    array([0., 2., 0., 1.])
    """
    cos, sin = np.cos(angle), np.sin(angle)
    rotate = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    mirror = np.diag([-1.0 if mirror_x else 1.0, -1.0 if mirror_y else 1.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotate @ mirror
    matrix[:3, 3] = shift
    return matrix

"""From an augmented sample back to the one that the teacher saw: boxes found again, maps and heads mirrored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid, nine_keypoints
from bevkd.structures.keypoints import MIRRORED_KEYPOINTS

_TOLERANCE = 0.01  # metres; boxes are float32, which leaves far less after any augmentation
_STILL = 1e-6
# Channels of a centre head that change sign in a mirrored world, for x and for y: reg is an offset (x, y) from the
# cell's lower corner, rot is (sin, cos) of the yaw, vel is (vx, vy). All others stay.
_SIGNED = {"reg": (0, 1), "rot": (1, 0), "vel": (0, 1)}
_KEPT = ("heatmap", "height", "dim", "iou")


@dataclass(frozen=True)
class Motion:
    """How a sample was moved on the ground after it was loaded.

    Attributes:
        matrix: [3, 3] float64, homogeneous (x, y); the identity where the sample was not augmented.
        token: the sample's, for error sentences.
    """

    matrix: NDArray[np.float64]
    token: str

    @classmethod
    def of(cls, metainfo: Mapping[str, Any]) -> Motion:
        """Read ``token`` and ``bev_matrix`` [4, 4] of a data sample's metainfo.

        Raises:
            DataError: no token. ConfigError: a matrix that tilts the ground.
        """
        token = metainfo.get("token")
        if token is None:
            found = sorted(metainfo)
            raise DataError(f"a data sample's metainfo has {found}, expected a 'token' (PackBEV packs it)")
        matrix = np.asarray(metainfo.get("bev_matrix", np.eye(4)), dtype=np.float64)
        if matrix.shape != (4, 4) or np.abs(matrix[:2, 2]).max() + np.abs(matrix[2, :2]).max() > _STILL:
            raise ConfigError(f"sample {token} has bev_matrix {matrix.tolist()}, expected [4, 4] about the z axis")
        return cls(matrix[np.ix_([0, 1, 3], [0, 1, 3])], str(token))

    @property
    def mirrors(self) -> tuple[bool, bool] | None:
        """Whether x and y were mirrored; None where the sample was turned, scaled or shifted as well."""
        signs = np.sign(np.diag(self.matrix))
        if np.abs(self.matrix - np.diag(signs)).max() > _STILL:
            return None
        return bool(signs[0] < 0), bool(signs[1] < 0)

    def find_boxes(self, boxes: Tensor, known: Tensor, folder: Any) -> Tensor:
        """Which of the boxes before augmentation each box of the augmented sample is.

        Filtering and reordering do no harm: a box is recognised by its nine keypoints, wherever augmentation put them.

        Args:
            boxes: [M, >=7] of the augmented sample.
            known: [N, >=7] of the cache.
            folder: the cache's, for the error sentence.

        Returns:
            [M] rows of ``known``.

        Raises:
            DataError: a box that the cache does not have.
        """
        if not len(boxes):
            return torch.zeros(0, dtype=torch.long)
        # Boxes are moved as the sample was, all nine points of them, and the nearest of the cache by its farthest
        # coordinate is the one.
        matrix = torch.from_numpy(self.matrix)
        now = nine_keypoints(boxes[:, :7].cpu().double())
        then = nine_keypoints(known[:, :7].double())[:, self.keypoint_order] @ matrix[:2, :2].T + matrix[:2, 2]
        if len(known):
            gaps, rows = torch.cdist(now.flatten(1), then.flatten(1), p=torch.inf).min(1)
        else:
            gaps = torch.full((len(boxes),), torch.inf)
        if gaps.max() > _TOLERANCE:
            row = int(gaps.argmax())
            x, y = now[row, 4].tolist()
            raise DataError(
                f"box {row} of sample {self.token} at ({x:.2f}, {y:.2f}) m is none of its {len(known)} boxes in the "
                f"cache {folder}, expected the annotations it was made from, moved by BEVAugment alone"
            )
        return rows

    @property
    def keypoint_order(self) -> list[int]:
        """Keypoint of the box before augmentation that became keypoint 0, 1, ... 8."""
        return list(MIRRORED_KEYPOINTS) if np.linalg.det(self.matrix) < 0 else list(range(9))


def require_symmetric(grid: BEVGrid, mirrors: Sequence[bool], token: str) -> None:
    """Refuse to mirror cells on a grid that is not its own mirror image.

    Raises:
        ConfigError: naming the range.
    """
    for name, span, mirrored in zip("xy", (grid.x_range, grid.y_range), mirrors):
        if mirrored and abs(span[0] + span[1]) > _STILL:
            raise ConfigError(
                f"sample {token} was mirrored in {name} and the grid spans {name} {span} m, expected a range symmetric "
                "about 0 for a cached teacher: set flip=0 of BEVAugment"
            )


def mirror_channels(tasks: Sequence[Mapping[str, int]], mirrors: Sequence[bool]) -> tuple[Tensor, Tensor]:
    """What becomes of a head's channels in a mirrored world: ``value * scale + shift``, both [C], tasks side by side.

    Args:
        tasks: channels by key of every task.
        mirrors: whether x and y are mirrored.

    Raises:
        ConfigError: a key whose meaning is not known.
    """
    scale, shift = [], []
    for key, count in (pair for task in tasks for pair in task.items()):
        if key not in _SIGNED and key not in _KEPT:
            raise ConfigError(
                f"the cached head has maps {key!r}, which cannot be mirrored; expected flip=0 of BEVAugment"
            )
        signs, offsets = [1.0] * count, [0.0] * count
        for axis in (axis for axis in (0, 1) if key in _SIGNED and mirrors[axis]):
            signs[_SIGNED[key][axis]] = -1.0
            offsets[_SIGNED[key][axis]] = 1.0 if key == "reg" else 0.0
        scale += signs
        shift += offsets
    return torch.tensor(scale), torch.tensor(shift)

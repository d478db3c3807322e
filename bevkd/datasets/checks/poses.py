"""Are matrices that an info file calls poses rigid, in metres, the right way round, and do they agree?"""

from typing import Any

import numpy as np

from bevkd.errors import DataError

from .columns import Column, as_matrix

_NOT_ORTHONORMAL = 1e-3  # float32 files are within 1e-6
_MOUNT_REACH = 30.0  # metres from a vehicle's origin to its sensors, trucks included
TOP_SPEED, TOP_TURN = 60.0, np.radians(90.0)  # metres and radians a second that no vehicle reaches
_MOVING = 1.0  # metres between two key frames; below, GPS noise has the say
_ENOUGH = 10
_ONE_WAY = 0.8


def check_pose(value: Any, where: str) -> np.ndarray:
    """``[4, 4]`` float64 rigid transform.

    Raises:
        DataError: not 4x4, not finite, a bottom row other than 0 0 0 1, or a 3x3 part that is no rotation.
    """
    matrix = as_matrix(value, (4, 4), where)
    for bad, text in _faults(matrix[None]):
        if bad[0]:
            raise DataError(f"{where}{text.format(det=np.linalg.det(matrix[:3, :3]), row=_bottom(matrix[None])[0])}")
    return matrix


def check_rigid(column: Column, mount: bool = False) -> np.ndarray:
    """The column as ``[M, 4, 4]``, each of them rigid.

    Args:
        mount: between parts of one vehicle, so that the translation is no longer than that.

    Raises:
        DataError: see :func:`check_pose`; also too long a translation.
    """
    poses = column.matrices(4, 4).values
    for bad, text in _faults(poses):
        if bad.any():
            column.refuse(bad, text, det=np.linalg.det(poses[:, :3, :3]), row=_bottom(poses))
    if mount:
        _check_reach(column, np.full(len(poses), _MOUNT_REACH))
    return poses


def _check_reach(column: Column, limit: np.ndarray) -> None:
    length = np.linalg.norm(column.values[:, :3, 3], axis=1)
    text = ": its translation is {length:.0f} long, expected metres, at most {limit:.0f}"
    column.refuse(length > limit, text, length=length, limit=limit)


def _faults(poses: np.ndarray) -> list[tuple[np.ndarray, str]]:
    bottom = (np.abs(poses[:, 3] - (0, 0, 0, 1)) > 1e-6).any(1)
    rotation = poses[:, :3, :3]
    skewed = (np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)) > _NOT_ORTHONORMAL).any((1, 2))
    left_handed = np.einsum("mi,mi->m", rotation[:, 0], np.cross(rotation[:, 1], rotation[:, 2])) < 0
    return [
        (skewed, ": its 3x3 part is singular or no rotation (determinant {det:.4g})"),
        (left_handed, ": its 3x3 part is left-handed (determinant {det:.4g}), expected a rotation (determinant 1)"),
        (bottom & ~np.abs(poses[:, :3, 3]).any(1), ": its bottom row is {row}, expected 0 0 0 1; it looks transposed"),
        (bottom, ": its bottom row is {row}, expected 0 0 0 1"),
    ]


def _bottom(poses: np.ndarray) -> list[str]:
    return [" ".join(f"{number:.4g}" for number in pose[3]) for pose in poses]


def inverse(poses: np.ndarray) -> np.ndarray:
    """Inverses of rigid ``[M, 4, 4]``."""
    result = np.zeros_like(poses)
    result[:, :3, :3] = poses[:, :3, :3].transpose(0, 2, 1)
    result[:, :3, 3] = -np.einsum("mij,mj->mi", result[:, :3, :3], poses[:, :3, 3])
    result[:, 3, 3] = 1
    return result


def check_vehicle(column: Column, seconds: np.ndarray) -> np.ndarray:
    """``ego2global`` of every sample, in the file's order, as ``[S, 4, 4]``.

    Neighbours in the file that are less than two seconds apart are one drive. A vehicle does not move at more than
    60 m/s, and it moves along the same axis of its own frame all the time, whatever the frame's convention; under an
    inverted pose it does not, as soon as its heading changes.

    Raises:
        DataError: a pose is not rigid, moves too fast, or all of them together look inverted.
    """
    poses = check_rigid(column)
    lapse = np.diff(seconds)
    pairs = np.nonzero((lapse > 0) & (lapse < 2.0))[0]
    motion = poses[pairs + 1, :3, 3] - poses[pairs, :3, 3]
    length = np.linalg.norm(motion, axis=1)
    bad = length > TOP_SPEED * lapse[pairs] + 1.0
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(
            f"{column.file.where(int(pairs[first]) + 1, 'ego2global')}: moved {length[first]:.0f} within "
            f"{lapse[pairs][first]:.2f} s, expected metres and at most {TOP_SPEED:.0f} m/s (inverted, or millimetres?)"
        )
    moving = length > _MOVING
    if moving.sum() >= _ENOUGH:
        own = np.einsum("mji,mj->mi", poses[pairs[moving], :3, :3], motion[moving] / length[moving, None])
        share = float(np.linalg.eigvalsh(own.T @ own / len(own))[-1])
        if share < _ONE_WAY:
            raise DataError(
                f"{column.file.path}: ego2global: the vehicle drives into all directions of its own frame, expected "
                "one; the poses look inverted (global2ego)"
            )
    return poses


def check_sweep_reach(column: Column, lags: np.ndarray) -> np.ndarray:
    """``lidar2sensor`` of all sweeps as ``[M, 4, 4]``, rigid, and no farther than a vehicle gets within ``lags``.

    Raises:
        DataError: see :func:`check_rigid`.
    """
    poses = check_rigid(column)
    _check_reach(column, _MOUNT_REACH + TOP_SPEED * lags)
    return poses


def check_agreement(
    column: Column,
    rows: np.ndarray,
    others: np.ndarray,
    turn: np.ndarray | float,
    distance: np.ndarray | float,
    formula: str,
) -> None:
    """Refuse poses that differ from what other fields of the same record give.

    Args:
        column: the poses, ``[M, 4, 4]``. rows: ``[R]`` which of them to check.
        others: ``[R, 4, 4]``, the inverses of what they should be.
        turn: radians, and ``distance`` metres, that they may be off.
        formula: what the other fields give, for the error.

    Raises:
        DataError: one of them disagrees.
    """
    product = column.values[rows] @ others
    turned = np.arccos(np.clip((np.trace(product[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1))
    moved = np.linalg.norm(product[:, :3, 3], axis=1)
    bad = (turned > turn) | (moved > distance)
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(
            f"{column.where(rows[first])}: differs from {formula} by {np.degrees(turned[first]):.1f} degrees and "
            f"{moved[first]:.2f} m; it looks inverted or misplaced"
        )


def spread(count: int, most: int = 256) -> np.ndarray:
    """At most ``most`` of ``count`` positions, evenly spread: what is wrong with a whole file shows in these."""
    return (
        np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)) if count else np.zeros(0, int)
    )

"""What a pipeline reads of a sample: the one place that says which sensors a data set must have."""

from collections.abc import Iterable, Iterator
from typing import Any

from mmdet3d.datasets.transforms import LoadPointsFromFile, LoadPointsFromMultiSweeps

from bevkd.errors import DataError

from .transforms import LoadCameras, LoadSweeps, LoadWaymoPoints

_MMDET3D_LOADERS = (LoadPointsFromFile, LoadPointsFromMultiSweeps)
_POINT_LOADERS = (LoadSweeps, LoadWaymoPoints, *_MMDET3D_LOADERS)


def steps(pipeline: Iterable[Any]) -> Iterator[Any]:
    """Every transform of a pipeline, those inside of wrappers too."""
    for step in pipeline:
        yield step
        yield from steps(getattr(step, "transforms", ()))


def cameras_read(pipeline: Iterable[Any]) -> tuple[str, ...]:
    """Names of the cameras that the pipeline loads, each once; none where it loads no image."""
    names = (name for step in steps(pipeline) if isinstance(step, LoadCameras) for name in step.cameras)
    return tuple(dict.fromkeys(names))


def reads_points(pipeline: Iterable[Any]) -> bool:
    """Whether the pipeline loads LiDAR points."""
    return any(isinstance(step, _POINT_LOADERS) for step in steps(pipeline))


def check_point_loaders(pipeline: Iterable[Any], samples: list[dict], path: str) -> None:
    """Refuse loaders that are told another number of columns than the info file states.

    Raises:
        DataError: naming file, sample, field and both numbers.
    """
    loaders = [step for step in steps(pipeline) if isinstance(step, _MMDET3D_LOADERS)]
    dims = {step.load_dim: type(step).__name__ for step in loaders}
    for info in samples if dims else ():
        stated = info["lidar_points"].get("num_pts_feats")
        other = next((dim for dim in dims if stated is not None and dim != stated), None)
        if other is not None:
            raise DataError(
                f"{path}: sample {info['token']}: lidar_points.num_pts_feats is {stated}, but {dims[other]} has "
                f"load_dim={other}; expected the same"
            )

"""What bevkd's data sets share: samples that are whole, or an error that names what is wrong with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bevkd.errors import BevkdError, ConfigError, DataError

from . import safe_pickle

# What bad data raises inside a transform; a programming error (TypeError, AttributeError ...) keeps its traceback.
_DATA_ERRORS = (BevkdError, OSError, ValueError, KeyError, EOFError)


class WholeSamples:
    """Mixin of mmdet3d data sets: a sample that fails to load raises, where mmengine would take a random other one."""

    def prepare_data(self, index: int) -> dict:
        """Run the pipeline on one sample, or raise with its token."""
        sample = self.get_data_info(index)
        token = sample["token"]
        sample["box_type_3d"] = self.box_type_3d
        sample["box_mode_3d"] = self.box_mode_3d
        if "ann_info" in sample:
            sample.update(sample["ann_info"])
        return run_pipeline(self.pipeline, sample, token)


def run_pipeline(pipeline: Callable[[dict], Any], sample: dict, token: str) -> Any:
    """What ``pipeline`` makes of one sample.

    Raises:
        DataError: what bad data raised in it, or that it returned nothing, with the sample's ``token``.
    """
    try:
        packed = pipeline(sample)
    except _DATA_ERRORS as error:
        raise DataError(f"sample {token}: {error}") from error
    if packed is None:
        raise DataError(f"sample {token}: the pipeline returned nothing; expected a packed sample")
    return packed


def refuse_empty_filter(filter_empty_gt: bool, name: str) -> None:
    """Refuse mmdet3d's option to leave out samples without boxes, for the data set ``name``.

    Raises:
        ConfigError: it is set.
    """
    if filter_empty_gt:
        raise ConfigError(
            f"filter_empty_gt=True replaces a sample without boxes by a random one; {name} keeps it "
            "(an empty scene teaches what background looks like): leave the option out"
        )


def read_infos(path: str | Path, remedy: str) -> Any:
    """The content of an info file; ``remedy`` says how to make one.

    Raises:
        DataError: there is none, or it holds more than data.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such info file; make it with {remedy}")
    return safe_pickle.load(path)


def link_previous(data: list[dict], path: str | Path, regenerate: str) -> None:
    """Give every sample its predecessor's sensors; a copy of each, so that subsets of the data set keep theirs.

    Raises:
        DataError: a sample does not say which its predecessor is, or that one is not in the file.
    """
    known = {info["token"]: info for info in data}
    for info in data:
        before = info.get("prev")
        if before is None or (before and before not in known):
            found = "no 'prev'" if before is None else f"prev {before}, which is not in the file"
            raise DataError(f"{path}: sample {info['token']} has {found}; expected it for previous=True: {regenerate}")
        other = known[before] if before else info
        info["previous"] = {key: other[key] for key in ("token", "timestamp", "ego2global", "lidar_points", "images")}

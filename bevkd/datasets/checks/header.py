"""Does an info file's head say what the data set expects?"""

from pathlib import Path
from typing import Any

from bevkd.errors import DataError

OTHERS = ("nuscenes", "waymo", "kitti", "lyft", "scannet", "sunrgbd", "s3dis", "semantickitti")
"""Data sets whose info files mmdet3d writes, each with frames, labels and box centres of its own."""


def check_header(infos: Any, path: str | Path, dataset: str, classes: tuple[str, ...], regenerate: str) -> None:
    """Refuse what is no info file of schema 1.1, is another data set's, or gives the classes other labels.

    Args:
        dataset: whose file is expected. A name that mmdet3d does not know may be anybody's who follows its format.
        classes: names by label.
        regenerate: how to make the file again, for the error.

    Raises:
        DataError: naming the file and the field.
    """
    if isinstance(infos, dict) and "infos" in infos and "data_list" not in infos:
        raise DataError(
            f"{path}: an info file of mmdet3d before 1.0 (keys 'infos' and 'metadata'), whose boxes are (w, l, h) with "
            f"yaw = -yaw - pi/2; expected schema 1.1: {regenerate}"
        )
    if not isinstance(infos, dict) or "data_list" not in infos or "metainfo" not in infos:
        found = sorted(map(str, infos)) if isinstance(infos, dict) else type(infos).__name__
        raise DataError(f"{path}: found {found}, expected a dict with 'metainfo' and 'data_list' (mmdet3d schema 1.1)")
    meta, samples = infos["metainfo"], infos["data_list"]
    for name, value, kind in (("metainfo", meta, dict), ("data_list", samples, list)):
        if not isinstance(value, kind):
            raise DataError(f"{path}: {name} is a {type(value).__name__}, expected a {kind.__name__}")
    version = str(meta.get("info_version"))
    if version != "1.1":
        raise DataError(f"{path}: metainfo.info_version is {version}, expected 1.1: {regenerate}")
    named = str(meta.get("dataset", dataset)).lower()
    if named != dataset and named in OTHERS:
        raise DataError(f"{path}: metainfo.dataset is {meta['dataset']!r}, expected {dataset!r}: {regenerate}")
    if not samples:
        raise DataError(f"{path}: data_list is empty, expected at least one sample")
    _check_classes(meta, path, classes)


def _check_classes(meta: dict, path: str | Path, classes: tuple[str, ...]) -> None:
    order = f"(class order {', '.join(classes)})"
    categories = meta.get("categories", {})
    if not isinstance(categories, dict):
        raise DataError(f"{path}: metainfo.categories is {categories!r}, expected labels by class name {order}")
    for name, label in categories.items():
        expected = classes.index(name) if name in classes else -1
        if label != expected:
            raise DataError(f"{path}: metainfo.categories gives {name} the label {label}, expected {expected} {order}")
    named = meta.get("classes")
    if named is not None and tuple(named) != classes:
        raise DataError(f"{path}: metainfo.classes is {', '.join(map(str, named))}, expected {', '.join(classes)}")

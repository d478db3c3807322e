"""nuScenes, real or synthetic, as training and test samples."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.datasets import NuScenesDataset
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmdet3d.structures import LiDARInstance3DBoxes

from . import transforms  # noqa: F401  (importing transforms registers them)
from .constants import POINT_FEATURES, REGENERATE
from .download import require_sensors
from .pipelines import cameras_read, check_point_loaders, reads_points
from .samples import WholeSamples, link_previous, read_infos, refuse_empty_filter
from .validate import validate_infos

_PREFIX = {"pts": "samples/LIDAR_TOP", "sweeps": "sweeps/LIDAR_TOP"}
_BOTH = {"use_lidar": True, "use_camera": True}


@DATASETS.register_module()
class NuScenesBEVDataset(WholeSamples, NuScenesDataset):
    """mmdet3d's ``NuScenesDataset`` that never hides broken data.

    What differs: the info file is read without running code from it and is validated once; a sample that fails to
    load raises, where mmengine would quietly take a random other one; a sample without boxes is kept; the version in
    ``metainfo`` is that of the info file; ``data_prefix`` is nuScenes' own, so that a config names ``data_root``,
    ``ann_file`` and ``pipeline`` only. Which sensors every sample must have, is what the pipeline loads: the cameras of
    its ``LoadCameras``, any number with any names, and points where it loads points. ``modality`` changes nothing; it
    is there for configs of mmdet3d. An absolute path in the info file stays as it is; folders that a relative one
    shares with the end of its prefix are not repeated.

    Each sample enters the pipeline with ``lidar_points``, ``lidar_sweeps``, ``images`` (paths resolved), poses, and
    ``gt_bboxes_3d`` (``LiDARInstance3DBoxes`` ``[M, 9]``) with ``gt_labels_3d`` ``[M]``: labels -1 are left out, and,
    unless ``use_valid_flag=False``, so are boxes without a single LiDAR or radar point; unknown velocities are 0. The
    same go to ``eval_ann_info`` when ``test_mode``. With ``previous=True`` it also has ``previous``, the key frame
    before it in its scene (``token``, ``timestamp``, ``ego2global``, ``lidar_points``, ``images``); the first of a
    scene has itself there.

    Raises:
        DataError: a missing, unsafe or unsound info file, one without a sensor that is asked for, or (on access) a
            sample that does not load, naming its token. ConfigError: ``filter_empty_gt=True``.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str,
        pipeline: Sequence[Any] = (),
        data_prefix: dict | None = None,
        modality: dict | None = None,
        filter_empty_gt: bool = False,
        use_valid_flag: bool = True,
        previous: bool = False,
        **kwargs: Any,
    ) -> None:
        self.previous = previous
        self._own_prefix = data_prefix is None
        refuse_empty_filter(filter_empty_gt, "NuScenesBEVDataset")
        super().__init__(
            data_root=os.fspath(data_root),
            ann_file=os.fspath(ann_file),
            pipeline=[TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline],
            data_prefix=dict(_PREFIX if data_prefix is None else data_prefix),
            modality=dict(_BOTH),
            filter_empty_gt=False,
            use_valid_flag=use_valid_flag,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read, validate and resolve the info file."""
        path = Path(self.ann_file)
        infos = read_infos(
            path,
            f"`python tools/create_data.py nuscenes {self.data_root}` from the tables there, or a whole synthetic set "
            "with `python tools/create_data.py synthetic`",
        )
        steps = self.pipeline.transforms
        cameras, points = cameras_read(steps), reads_points(steps)
        self._require_sensors(infos, path, bool(points), bool(cameras))
        validate_infos(infos, path, cameras, points)
        check_point_loaders(steps, infos["data_list"], str(path))
        for key, value in infos["metainfo"].items():
            self._metainfo.setdefault(key, value)
        self._metainfo["version"] = infos["metainfo"].get("version", self._metainfo["version"])
        data = [self.parse_data_info(info) for info in infos["data_list"]]
        if self.previous:
            link_previous(data, path, REGENERATE)
        return data

    @staticmethod
    def _require_sensors(infos: Any, path: Path, points: bool, cameras: bool) -> None:
        """Refuse infos that were made without a sensor that the pipeline loads."""
        metainfo = infos.get("metainfo") if isinstance(infos, Mapping) else None
        if isinstance(metainfo, Mapping):  # else validate_infos says what is wrong
            require_sensors(metainfo, [name for name, asked in (("lidar", points), ("camera", cameras)) if asked], path)

    def parse_data_info(self, info: dict) -> dict:
        """Resolve paths and turn instances into boxes; what no transform reads is left out, as it is copied a lot."""
        info["instances"] = info.get("instances") or []
        lidar = info["lidar_points"]
        info["num_pts_feats"] = lidar.setdefault("num_pts_feats", POINT_FEATURES)
        if "lidar_path" in lidar:
            info["lidar_path"] = lidar["lidar_path"] = _locate(lidar["lidar_path"], self.data_prefix.get("pts", ""))
        for sweep in info.get("lidar_sweeps") or ():
            record = sweep["lidar_points"]
            folder = "pts" if "samples" in record["lidar_path"] else "sweeps"
            record["lidar_path"] = _locate(record["lidar_path"], self.data_prefix.get(folder, ""), bare=True)
            record.setdefault("num_pts_feats", lidar["num_pts_feats"])
        for name, image in info.setdefault("images", {}).items():
            if "img_path" in image:
                image["img_path"] = _locate(image["img_path"], self._image_folder(name))
        if not self.test_mode:
            info["ann_info"] = self.parse_ann_info(info)
        elif self.load_eval_anns:
            info["eval_ann_info"] = self.parse_ann_info(info)
        for unused in ("instances", "cam_instances"):
            info.pop(unused, None)
        return info

    def _image_folder(self, camera: str) -> str:
        if self._own_prefix:
            return os.path.join(self.data_root, "samples", camera)
        return self.data_prefix.get(camera, self.data_prefix.get("img", ""))

    def parse_ann_info(self, info: dict) -> dict:
        """``gt_bboxes_3d`` and ``gt_labels_3d`` of one sample, see the class."""
        kept = []
        for instance in info["instances"]:
            label = self.label_mapping[instance["bbox_label_3d"]]
            seen = instance["bbox_3d_isvalid"] if self.use_valid_flag else instance["num_lidar_pts"] > 0
            if label >= 0 and seen:
                kept.append((label, [*instance["bbox_3d"], *instance["velocity"]]))
                self.num_ins_per_cat[label] += 1
        boxes = np.array([row for _, row in kept], dtype=np.float32).reshape(-1, 9)
        boxes[:, 7:] = np.where(np.isfinite(boxes[:, 7:]).all(axis=1, keepdims=True), boxes[:, 7:], 0.0)
        if not self.with_velocity:
            boxes = boxes[:, :7]
        return {
            "gt_bboxes_3d": LiDARInstance3DBoxes(boxes, box_dim=boxes.shape[1], origin=(0.5, 0.5, 0.5)),
            "gt_labels_3d": np.array([label for label, _ in kept], dtype=np.int64),
        }


def _locate(path: str, folder: str, bare: bool = False) -> str:
    """Where a file lies: an absolute path stays, a relative one is below ``folder``, which it may itself begin with.

    Args:
        bare: take the file's name only, as mmdet3d does with sweeps.
    """
    above, name = os.path.split(os.path.normpath(path))
    if os.path.isabs(path):
        return path
    repeated = above and os.path.normpath(folder).endswith(above)
    return os.path.join(folder, name if bare or repeated else path)

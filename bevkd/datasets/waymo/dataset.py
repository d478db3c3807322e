"""Waymo, real or synthetic, as training and test samples."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet3d.datasets import Det3DDataset
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmdet3d.structures import LiDARInstance3DBoxes

from bevkd.datasets import transforms  # noqa: F401  (importing transforms registers them)
from bevkd.datasets.pipelines import cameras_read
from bevkd.datasets.samples import WholeSamples, link_previous, read_infos, refuse_empty_filter

from .infos import validate_waymo_infos
from .jobs import IMAGES, POINTS
from .names import CLASSES, REGENERATE


@DATASETS.register_module()
class WaymoBEVDataset(WholeSamples, Det3DDataset):
    """Frames of the infos that ``tools/create_data.py waymo`` writes, in Waymo's vehicle frame (x forward, y left).

    Each sample enters the pipeline with ``lidar_points`` and ``images`` (paths resolved), poses, ``timestamp`` in
    microseconds, and ``gt_bboxes_3d`` (``LiDARInstance3DBoxes`` ``[M, 9]``, velocities last; unknown ones are 0) with
    ``gt_labels_3d`` ``[M]``. Signs, and boxes without a LiDAR point, are left out. The same go to ``eval_ann_info``
    when ``test_mode``. A broken file raises; it is never replaced by another sample.

    Args:
        data_root: folder with ``points`` and ``images``.
        ann_file: info file, relative to ``data_root``.
        modality: changes nothing; every sample must have the cameras that the pipeline loads.
        camera_synced: take boxes as they are when the camera that sees them best exposes them, and only boxes that a
            camera sees, as Waymo's camera-only benchmark does; for detectors without LiDAR.
        load_interval: take every so-many-th frame of the file (frames come ten a second); for training, as scores are
            of whole files.
        previous: give each sample the frame before it as ``previous``; the first of a segment has itself there.

    Raises:
        DataError: a missing, unsafe or unsound info file, or (on access) a sample that does not load, naming its
            token. ConfigError: ``filter_empty_gt=True``.
    """

    METAINFO = {
        "classes": CLASSES,
        "palette": [(0, 120, 255), (0, 232, 157), (255, 205, 85)],
        "axis_names": ("x forward (m)", "y left (m)"),
    }

    def __init__(
        self,
        data_root: str,
        ann_file: str,
        pipeline: Sequence[Any] = (),
        data_prefix: dict | None = None,
        modality: dict | None = None,
        filter_empty_gt: bool = False,
        camera_synced: bool = False,
        load_interval: int = 1,
        previous: bool = False,
        **kwargs: Any,
    ) -> None:
        refuse_empty_filter(filter_empty_gt, "WaymoBEVDataset")
        self.camera_synced, self.load_interval, self.previous = camera_synced, load_interval, previous
        super().__init__(
            data_root=os.fspath(data_root),
            ann_file=os.fspath(ann_file),
            pipeline=[TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline],
            data_prefix=dict(data_prefix or {"pts": POINTS, "img": IMAGES}),
            modality={"use_lidar": True, "use_camera": True},  # mmdet3d resolves the paths of these
            filter_empty_gt=False,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read, validate and resolve the info file."""
        infos = read_infos(self.ann_file, f"`python tools/create_data.py waymo {self.data_root}`")
        if isinstance(infos, dict) and "data_list" in infos and not self.previous:  # which may be one left out
            infos["data_list"] = infos["data_list"][:: self.load_interval]
        validate_waymo_infos(infos, self.ann_file, cameras_read(self.pipeline.transforms))
        for key, value in infos["metainfo"].items():
            self._metainfo.setdefault(key, value)
        data = [self.parse_data_info(info) for info in infos["data_list"]]
        if self.previous:
            link_previous(data, self.ann_file, REGENERATE)
            data = data[:: self.load_interval]
        return data

    def parse_data_info(self, info: dict) -> dict:
        """Resolve paths and turn instances into boxes; what no transform reads is left out, as it is copied a lot."""
        synced = info.pop("cam_sync_instances", None)
        info["instances"] = (synced if self.camera_synced else info.get("instances")) or []
        info = super().parse_data_info(info)
        info.pop("instances")
        return info

    def parse_ann_info(self, info: dict) -> dict:
        """``gt_bboxes_3d`` and ``gt_labels_3d`` of one sample, see the class."""
        kept = []
        for instance in info["instances"]:
            label = self.label_mapping[instance["bbox_label_3d"]]
            if label >= 0 and instance["num_lidar_pts"] > 0:
                kept.append((label, [*instance["bbox_3d"], *instance["velocity"]]))
                self.num_ins_per_cat[label] += 1
        boxes = np.array([row for _, row in kept], dtype=np.float32).reshape(-1, 9)
        boxes[:, 7:] = np.where(np.isfinite(boxes[:, 7:]).all(axis=1, keepdims=True), boxes[:, 7:], 0.0)
        return {
            "gt_bboxes_3d": LiDARInstance3DBoxes(boxes, box_dim=9),
            "gt_labels_3d": np.array([label for label, _ in kept], dtype=np.int64),
        }

"""The last step of a pipeline."""

from mmdet3d.datasets.transforms import Pack3DDetInputs
from mmdet3d.registry import TRANSFORMS

_META = (
    "token", "sample_idx", "timestamp", "lidar_path", "img_path", "lidar2img", "bev_matrix", "ego2global",
    "previous_lidar2img", "previous_to_current",
    "img_shape", "ori_shape", "num_views", "num_dropped_points", "box_type_3d", "box_mode_3d",
)  # fmt: skip


@TRANSFORMS.register_module()
class PackBEV(Pack3DDetInputs):
    """mmdet3d's ``Pack3DDetInputs`` with the keys and meta keys of bevkd's models as defaults.

    ``inputs``: ``points`` ``[N, 5]`` and ``img`` ``[N, 3, H, W]`` uint8 (``[2 N, 3, H, W]`` where the previous key
    frame was loaded too, whose images come last), whichever were loaded; ``data_samples``: ``gt_instances_3d`` where
    annotations were loaded, and ``lidar2img``, ``token`` and the like in ``metainfo``.
    """

    def __init__(
        self,
        keys: tuple[str, ...] = ("points", "img", "gt_bboxes_3d", "gt_labels_3d"),
        meta_keys: tuple[str, ...] = _META,
    ) -> None:
        super().__init__(keys=keys, meta_keys=meta_keys)

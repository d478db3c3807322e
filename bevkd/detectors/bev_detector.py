"""One detector for every sensor: an encoder onto the grid, a bird's-eye-view encoder and a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from mmdet3d.models import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData
from torch import Tensor, nn

from bevkd.datasets.constants import CLASSES
from bevkd.detectors.build import build_part
from bevkd.detectors.camera_batch import CameraBatch
from bevkd.detectors.center_head import LabelOrder, build_center_head
from bevkd.errors import ConfigError, DataError, nearest
from bevkd.structures import BEVGrid


@MODELS.register_module()
class BEVDetector(Base3DDetector):
    """A 3D detector in bird's-eye view.

    ``low`` is the map that enters the bird's-eye-view encoder, ``high`` the one that leaves it, ``head`` the raw
    maps of the head; all lie on one grid as [B, C, Y, X].

    Args:
        grid: ``dict(x_range, y_range, cell)`` of :class:`bevkd.structures.BEVGrid`.
        bev_encoder: config of a :class:`BEVEncoder`; its ``in_channels`` is filled in.
        head: config for :func:`build_center_head`.
        lidar_encoder: config of a LiDAR encoder such as :class:`PillarEncoder`, or
        camera_encoder: config of a camera encoder such as :class:`LiftSplatEncoder`, or both of them and
        fusion: config of what makes one map of both, such as :class:`ChannelAttentionFusion`.
        classes: class names in the order of the data set's labels. The head's tasks may group them in any order.
        data_preprocessor: config; None takes ``Det3DDataPreprocessor``, which neither voxelizes nor normalises.

    Raises:
        ConfigError: no encoder, both without a fusion or one with it, a part that cannot be built, or parts that do not
            fit together.
    """

    default_taps: ClassVar[dict[str, str]] = {"low": "bev_encoder:input", "high": "bev_encoder", "head": "head"}

    def __init__(
        self,
        grid: dict,
        bev_encoder: dict,
        head: dict,
        lidar_encoder: dict | None = None,
        camera_encoder: dict | None = None,
        fusion: dict | None = None,
        classes: Sequence[str] = CLASSES,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = build_part(MODELS, data_preprocessor or {"type": "Det3DDataPreprocessor"}, "data_preprocessor")
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        encoders = [name for name, part in (("lidar", lidar_encoder), ("camera", camera_encoder)) if part]
        if not encoders or (len(encoders) == 2) != (fusion is not None):
            found = f"{' and '.join(encoders) or 'no'} encoder{'s' if len(encoders) == 2 else ''}"
            raise ConfigError(
                f"BEVDetector has {found} and {'a' if fusion else 'no'} fusion, "
                "expected lidar_encoder or camera_encoder, or both and a fusion"
            )
        self.grid = _grid(grid)
        self.classes = tuple(classes)
        self.lidar_encoder = lidar_encoder and build_part(MODELS, lidar_encoder, "lidar_encoder", grid=self.grid)
        self.camera_encoder = camera_encoder and build_part(MODELS, camera_encoder, "camera_encoder", grid=self.grid)
        channels = [part.out_channels for part in (self.lidar_encoder, self.camera_encoder) if part]
        self.fusion = fusion and build_part(MODELS, fusion, "fusion", in_channels=channels)
        self.bev_encoder = build_part(
            MODELS,
            bev_encoder,
            "bev_encoder",
            grid=self.grid,
            in_channels=self.fusion.out_channels if self.fusion else channels[0],
        )
        self.head = build_center_head(head, self.grid, self.bev_encoder.out_channels)
        self.label_order = LabelOrder(self.classes, self.head.class_names)
        # Convolutions are a third faster in this layout on CPUs, and no slower elsewhere; values do not change.
        for weight in self.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.to(memory_format=torch.channels_last)

    def init_weights(self) -> None:
        """Initialise the weights, with heatmaps that start near the head's ``init_bias``.

        mmengine does not reach the branches inside CenterHead's ModuleList, so their bias would start at 0 and the
        first steps would be spent on unlearning a map full of objects.
        """
        for task in self.head.task_heads:
            nn.init.constant_(task.heatmap[-1].bias, task.init_bias)
        super().init_weights()

    def extract_feat(
        self,
        batch_inputs_dict: Mapping,
        batch_data_samples: list[Det3DDataSample],
        losses: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Sensor data to ``low`` [B, C, Y, X]; where ``losses`` is given, the encoders' own losses are added to it.

        Raises:
            DataError: a sensor that this detector needs is missing from the batch.
        """
        maps = []
        if self.lidar_encoder is not None:
            if batch_inputs_dict.get("points") is None:
                raise DataError("the batch has no 'points', expected them for a detector with a lidar_encoder")
            maps.append(self.lidar_encoder(batch_inputs_dict["points"]))
        if self.camera_encoder is not None:
            batch = CameraBatch.collect(batch_inputs_dict, batch_data_samples)
            maps.append(self.camera_encoder(batch, losses))
        return maps[0] if self.fusion is None else self.fusion(maps)

    def loss(
        self, batch_inputs_dict: Mapping, batch_data_samples: list[Det3DDataSample], **kwargs
    ) -> dict[str, Tensor]:
        """``task<k>.loss_heatmap`` and ``task<k>.loss_bbox`` for each task k of the head, and the encoders' own."""
        losses: dict[str, Tensor] = {}
        maps = self._maps(batch_inputs_dict, batch_data_samples, losses)
        targets = []
        for sample in batch_data_samples:
            truth = sample.gt_instances_3d
            labels = self.label_order.encode(truth.labels_3d)
            targets.append(InstanceData(bboxes_3d=truth.bboxes_3d, labels_3d=labels))
        return {**self.head.loss_by_feat(maps, targets), **losses}

    def predict(
        self, batch_inputs_dict: Mapping, batch_data_samples: list[Det3DDataSample], **kwargs
    ) -> list[Det3DDataSample]:
        """Data samples with ``pred_instances_3d``: boxes in the LiDAR frame, scores, labels in the order of classes.

        For a detector with LiDAR alone, a cloud without a point in range gives no detection, whatever the head makes
        of an empty map.
        """
        maps = self._maps(batch_inputs_dict, batch_data_samples)
        metas = [{"box_type_3d": LiDARInstance3DBoxes, **sample.metainfo} for sample in batch_data_samples]
        found = self.head.predict_by_feat(maps, metas)
        for instances in found:
            instances.labels_3d = self.label_order.decode(instances.labels_3d)
        if self.camera_encoder is None:
            seen = self.lidar_encoder.sees(batch_inputs_dict["points"])
            found = [instances if sees else instances[:0] for instances, sees in zip(found, seen)]
        return self.add_pred_to_datasample(batch_data_samples, found)

    def _forward(
        self, batch_inputs_dict: Mapping, batch_data_samples: list[Det3DDataSample], **kwargs
    ) -> list[dict[str, Tensor]]:
        """Raw maps of the head: for each task a dict of heatmap (logits), reg, height, dim, rot and vel."""
        return [levels[0] for levels in self._maps(batch_inputs_dict, batch_data_samples)]

    def _maps(
        self, inputs: Mapping, samples: list[Det3DDataSample], losses: dict[str, Tensor] | None = None
    ) -> tuple[list[dict[str, Tensor]]]:
        maps = self.head([self.bev_encoder(self.extract_feat(inputs, samples, losses))])
        # Under autocast the maps are half precision, which neither the focal loss nor numpy's NMS can take.
        return tuple([{k: v.float() for k, v in level.items()} for level in levels] for levels in maps)


def _grid(config: Mapping | BEVGrid) -> BEVGrid:
    if isinstance(config, BEVGrid):
        return config
    fields = ("x_range", "y_range", "cell")
    wrong = [key for key in config if key not in fields]
    missing = [key for key in fields if key not in config]
    if wrong:
        raise ConfigError(
            f"model.grid has the unknown key {wrong[0]!r}, expected x_range, y_range, cell{nearest(wrong[0], fields)}"
        )
    if missing:
        raise ConfigError(f"model.grid lacks {', '.join(missing)}, expected x_range, y_range and cell")
    return BEVGrid(**config)

"""Image classifiers: any backbone, mean pooling and a linear head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel, ImgDataPreprocessor
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from bevkd.errors import ConfigError, DataError
from bevkd.registry import MODELS
from bevkd.structures.labels import LabelTargets


@MODELS.register_module()
class ImagePreprocessor(ImgDataPreprocessor):
    """mmengine's for images of one size: it would pad smaller ones, so that a prediction hung on its neighbours.

    Takes ``mean`` and ``std`` as mmengine's does, 1 or 3 numbers on pixels from 0 to 255.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """A batch as the loader gives it, images stacked to [B, C, H, W] float and normalised.

        Raises:
            DataError: images of several sizes. ConfigError: images that have other channels than ``mean``.
        """
        images = data["inputs"]
        shapes = sorted({tuple(image.shape) for image in images})
        if len(shapes) != 1:
            raise DataError(f"the images of a batch are {shapes} [C, H, W], expected one size: ResizeImage makes it")
        wanted = len(self.mean) if self._enable_normalize else 1
        if wanted not in (1, shapes[0][0]):
            raise ConfigError(
                f"images have {shapes[0][0]} channels and mean {wanted} numbers, expected as many, or one"
            )
        return super().forward({**data, "inputs": torch.stack(list(images))}, training)


@MODELS.register_module()
class PlainCNN(nn.Module):
    """Stages of 3 x 3 convolutions, batch norm and ReLU, for training on a CPU.

    Each stage after the first halves the map and doubles the channels: 8 x 8 pixels at width 16 with three stages
    become [B, 64, 2, 2]. Taps on single stages are ``backbone.stages.0`` and so on.

    Args:
        width: channels of the first stage.
        depth: convolutions of each stage.
        stages: how many there are.
        in_channels: of the images, 1 or 3.

    Raises:
        ConfigError: a number below 1; when called, images of other channels.
    """

    def __init__(self, width: int = 16, depth: int = 1, stages: int = 3, in_channels: int = 3) -> None:
        super().__init__()
        numbers = {"width": width, "depth": depth, "stages": stages, "in_channels": in_channels}
        if wrong := [f"{name} {number!r}" for name, number in numbers.items() if number < 1]:
            raise ConfigError(f"PlainCNN has {', '.join(wrong)}, expected at least 1")
        self.in_channels, self.stages = in_channels, nn.Sequential()
        for stage in range(stages):
            layers = []
            for layer in range(depth):
                self.out_channels = width * 2**stage
                stride = 2 if stage and not layer else 1
                layers += [
                    nn.Conv2d(in_channels, self.out_channels, 3, stride, padding=1, bias=False),
                    nn.BatchNorm2d(self.out_channels),
                    nn.ReLU(),
                ]
                in_channels = self.out_channels
            self.stages.append(nn.Sequential(*layers))

    def forward(self, images: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H / 2^(stages - 1), W / 2^(stages - 1)], sizes rounded up."""
        if images.shape[1] != self.in_channels:
            raise ConfigError(f"PlainCNN has in_channels {self.in_channels}, but the images are {tuple(images.shape)}")
        return self.stages(images)


class LinearHead(nn.Linear):
    """A linear layer that knows what its outputs are called, so that teacher and student can be compared."""

    def __init__(self, channels: int, class_names: Sequence[str]) -> None:
        super().__init__(channels, len(class_names))
        self.class_names = tuple(class_names)


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A classifier of whole images.

    ``mode='tensor'`` gives logits [B, K], ``'loss'`` the cross-entropy ``loss_cls``, ``'predict'`` data samples with
    ``pred_scores`` [K] and ``pred_label``. Taps: ``feature`` [B, C, h, w], the backbone's last map; ``pooled`` [B, C];
    ``logits`` [B, K].

    Args:
        backbone: config or module; of several maps that it returns the last is taken. mmdet's are known by names such
            as ``mmdet.ResNet``.
        class_names: what the K classes are called, in the order of their numbers.
        channels: of the backbone's last map; None asks the backbone for ``out_channels`` or ``feat_dim``.
        data_preprocessor: config, such as :class:`ImagePreprocessor` with ``mean`` and ``std``.
        init_cfg: see mmengine.

    Raises:
        ConfigError: no or repeated class names, or channels that nobody names; when called, a map of other channels.
    """

    default_taps = {"feature": "pool:input", "pooled": "pool", "logits": "head"}

    def __init__(
        self,
        backbone: Mapping[str, Any] | nn.Module,
        class_names: Sequence[str],
        channels: int | None = None,
        data_preprocessor: Mapping[str, Any] | nn.Module | None = None,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        names = list(class_names)
        if isinstance(class_names, str) or not names or len(set(names)) < len(names):
            raise ConfigError(f"class_names are {class_names!r}, expected different names, at least one")
        self.backbone = backbone if isinstance(backbone, nn.Module) else MODELS.build(backbone)
        channels = channels or next(
            (n for key in ("out_channels", "feat_dim") if isinstance(n := getattr(self.backbone, key, None), int)), None
        )
        if channels is None:
            raise ConfigError(f"channels are None and {type(self.backbone).__name__} names none, expected channels=N")
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = LinearHead(channels, names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called."""
        return self.head.class_names

    def forward(
        self, inputs: Tensor, data_samples: Sequence[BaseDataElement] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """See the class.

        Args:
            inputs: [B, C, H, W] float, as the data preprocessor gives them.
            data_samples: B elements; ``mode='loss'`` needs their ``gt_label``.
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.
        """
        features = self.backbone(inputs)
        feature = features[-1] if isinstance(features, list | tuple) else features
        if feature.ndim != 4 or feature.shape[1] != self.head.in_features:
            raise ConfigError(
                f"the head has channels {self.head.in_features}, but the last map of {type(self.backbone).__name__} is "
                f"{tuple(feature.shape)}, expected [B, channels, h, w]"
            )
        logits = self.head(self.pool(feature))
        if mode == "tensor":
            return logits
        if mode == "predict":
            return self._predictions(logits, data_samples)
        if mode != "loss":
            raise ConfigError(f"mode is {mode!r}, expected 'tensor', 'loss' or 'predict'")
        targets = self.targets(data_samples or [], logits.device)
        losses = F.cross_entropy(logits, targets.labels, reduction="none")
        return {"loss_cls": (losses * targets.weights).mean()}

    def targets(self, data_samples: Sequence[BaseDataElement], device: torch.device) -> LabelTargets:
        """What distillation methods get to know of a batch: labels [B], sample ids and weights [B].

        Raises:
            DataError: a sample without a label, or of a class that has another name or number here.
        """
        self._require_classes(data_samples)
        return LabelTargets.from_data_samples(data_samples, len(self.class_names), device)

    def _require_classes(self, data_samples: Sequence[BaseDataElement]) -> None:
        """The data set's class names, where it has them, must be the model's."""
        for sample in data_samples:
            label, name = getattr(sample, "gt_label", None), getattr(sample, "class_name", None)
            if None in (label, name) or (label < len(self.class_names) and self.class_names[label] == name):
                continue
            raise DataError(
                f"sample {getattr(sample, 'token', '')} is of class {label}, {name!r}, expected the model's "
                f"class_names {list(self.class_names)} in their order"
            )

    def _predictions(self, logits: Tensor, data_samples: Sequence[BaseDataElement] | None) -> list[BaseDataElement]:
        data_samples = data_samples or [BaseDataElement() for _ in logits]
        self._require_classes(data_samples)
        scores = logits.softmax(1)
        for sample, score, label in zip(data_samples, scores, scores.argmax(1)):
            sample.pred_scores, sample.pred_label = score, label
        return list(data_samples)

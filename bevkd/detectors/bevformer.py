"""Surround cameras to a bird's-eye-view map by queries that look into the images."""

from __future__ import annotations

import torch
from mmcv.cnn.bricks.transformer import FFN
from mmdet.models.layers import LearnedPositionalEncoding
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from bevkd.detectors.bev_attention import DeformableAttention, SpatialCrossAttention, Views
from bevkd.detectors.build import build_part
from bevkd.detectors.camera_batch import CameraBatch, CameraEncoder
from bevkd.detectors.temporal import previous_map
from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid


@MODELS.register_module()
class BEVFormerEncoder(CameraEncoder):
    """One query for each cell, refined by attention to the cells around it and to the cameras.

    After BEVFormer (Li et al., ECCV 2022): learned queries and positions; in each layer attention to the map itself
    and, with ``temporal``, to the previous key frame's map, which is aligned by the ego motion; attention to the
    cameras; a feed-forward net. Different from the paper's code: one softmax over both maps in place of the mean of
    two; the ego motion enters through the alignment alone; one previous frame; and the map goes on to a convolutional
    encoder and a centre head, as every map here.

    Args:
        grid: the grid of the output.
        backbone: config of the image backbone.
        neck: config of the neck, whose outputs have ``channels`` channels each, e.g. ``mmdet.FPN``.
        channels: channels of queries and output, even.
        levels: outputs of the neck.
        cameras: number of cameras.
        layers, heads: of the transformer.
        points: places that a query looks at in each camera and level, a multiple of ``heights``.
        heights: points over each cell, spread evenly over ``z_range``.
        z_range: (min, max) in metres.
        feedforward: hidden channels of the feed-forward net.
        dropout: of the attentions' and the feed-forward net's outputs.
        temporal: attend to the previous key frame's map.

    Raises:
        ConfigError: ``points`` is no multiple of ``heights``, odd channels, or parts that cannot be built.
    """

    def __init__(
        self,
        grid: BEVGrid,
        backbone: dict,
        neck: dict,
        channels: int = 256,
        levels: int = 3,
        cameras: int = 6,
        layers: int = 3,
        heads: int = 8,
        points: int = 8,
        heights: int = 4,
        z_range: tuple[float, float] = (-5.0, 3.0),
        feedforward: int = 512,
        dropout: float = 0.1,
        temporal: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if points % heights:
            raise ConfigError(f"camera_encoder has {points} points, expected a multiple of its {heights} heights")
        if channels % 2:
            raise ConfigError(f"camera_encoder.channels is {channels}, expected an even number")
        self.grid, self.out_channels, self.levels, self.temporal = grid, channels, levels, temporal
        low, high = z_range
        self.heights = [low + (k + 0.5) * (high - low) / heights for k in range(heights)]
        self.backbone = build_part(MODELS, backbone, "camera_encoder.backbone")
        self.neck = build_part(MODELS, neck, "camera_encoder.neck")
        rows, columns = grid.shape
        self.queries = nn.Embedding(rows * columns, channels)
        self.position = LearnedPositionalEncoding(channels // 2, rows, columns)
        self.camera_embedding = nn.Parameter(torch.randn(cameras, channels))
        self.level_embedding = nn.Parameter(torch.randn(levels, channels))
        self.layers = nn.ModuleList(
            BEVFormerLayer(channels, heads, levels, points, feedforward, dropout, 1 + temporal) for _ in range(layers)
        )

    def forward(self, batch: CameraBatch, losses: dict[str, Tensor] | None = None) -> Tensor:
        """See :class:`CameraEncoder`; [B, channels, Y, X] on the grid.

        Raises:
            DataError: another number of cameras, matrices that do not fit, or no previous key frame.
        """
        before = previous_map(self._encode, batch, self.grid) if self.temporal else None
        return self._encode(batch, before)

    def _encode(self, batch: CameraBatch, before: Tensor | None = None) -> Tensor:
        """One frame; without a previous map the current one stands in for it."""
        samples, cameras, _, height, width = batch.images.shape
        if cameras != len(self.camera_embedding):
            raise DataError(
                f"the batch has {cameras} cameras, expected {len(self.camera_embedding)}: camera_encoder.cameras"
            )
        values, shapes = self._values(batch.images)
        views = Views.build(batch.matrices(), self.grid, self.heights, (height, width), values.device)
        position = self.position(values.new_zeros(1, *self.grid.shape)).flatten(2).mT
        reference = self.grid.normalise(self.grid.centres(values.device).flatten(1).mT)[None, :, None] / 2 + 0.5
        queries = self.queries.weight.expand(samples, -1, -1)
        if before is not None:
            before = before.flatten(2).mT
        for layer in self.layers:
            queries = layer(queries, position, before, reference, self.grid.shape, values, shapes, views)
        return queries.mT.unflatten(2, self.grid.shape)

    def _values(self, images: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
        """Features [B, N, S, C] of all cells of all levels, with their embeddings, and the levels' shapes."""
        features = self.neck(self.backbone(images.flatten(0, 1)))
        features = list(features) if isinstance(features, (list, tuple)) else [features]
        found = [part.shape[1] for part in features]
        if found != [self.out_channels] * self.levels:
            raise ConfigError(
                f"camera_encoder.neck returns maps of {found} channels, expected {self.levels} maps (levels) of "
                f"{self.out_channels} (channels)"
            )
        shapes = [tuple(part.shape[-2:]) for part in features]
        flat = [part.flatten(2).mT + embedding for part, embedding in zip(features, self.level_embedding)]
        values = torch.cat(flat, 1).unflatten(0, images.shape[:2])
        return values + self.camera_embedding[:, None], shapes


class BEVFormerLayer(BaseModule):
    """Attention to the map (and the previous one), attention to the cameras, a feed-forward net, each normalised.

    Args:
        channels, heads, levels, points, feedforward, dropout: see :class:`BEVFormerEncoder`.
        maps: 1, or 2 with a previous map.
    """

    def __init__(
        self, channels: int, heads: int, levels: int, points: int, feedforward: int, dropout: float, maps: int
    ) -> None:
        super().__init__()
        self.maps = maps
        self.self_attention = DeformableAttention(channels, heads, maps, 4, query_channels=maps * channels)
        self.cross_attention = SpatialCrossAttention(channels, heads, levels, points)
        self.feedforward = FFN(channels, feedforward, ffn_drop=dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        queries: Tensor,
        position: Tensor,
        before: Tensor | None,
        reference: Tensor,
        grid_shape: tuple[int, int],
        values: Tensor,
        shapes: list[tuple[int, int]],
        views: Views,
    ) -> Tensor:
        """
        Args:
            queries: [B, Y X, C].
            position: [1, Y X, C], added to whatever asks.
            before: [B, Y X, C] aligned previous map; None lets the queries stand in for it.
            reference: [1, Y X, 1, 2] centres of the cells in [0, 1].
            grid_shape: (Y, X).
            values, shapes, views: see :class:`SpatialCrossAttention`.

        Returns:
            [B, Y X, C].
        """
        asking, seen = queries + position, queries
        if self.maps == 2:
            before = queries if before is None else before.to(queries.dtype)
            asking, seen = torch.cat((before, asking), -1), torch.cat((before, queries), 1)
        reference = reference.expand(len(queries), -1, -1, -1)
        around = self.self_attention(asking, seen, reference, [grid_shape] * self.maps)
        queries = self.norms[0](queries + self.dropout(around))
        cameras = self.cross_attention(queries + position, values, shapes, views)
        queries = self.norms[1](queries + self.dropout(cameras))
        return self.norms[2](self.feedforward(queries))

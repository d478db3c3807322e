"""Students as graphs of plain operators: voxelization and geometry outside, everything learned inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet3d.structures import Det3DDataSample
from torch import Tensor, nn

from bevkd.detectors import BEVDetector, CameraBatch, LiftSplatEncoder, PillarEncoder
from bevkd.engine.export.graph import Example, Graph
from bevkd.engine.export.planned_pool import PlannedPool
from bevkd.errors import ConfigError


class PillarGraph(nn.Module):
    """A detector with a :class:`bevkd.detectors.PillarEncoder` behind its voxelization, for one sample.

    A pillar without points may pad the inputs: it is left out.
    """

    def __init__(self, model: BEVDetector) -> None:
        super().__init__()
        self.model, self.encoder = model, model.lidar_encoder
        low = torch.tensor(self.encoder.point_range[:2])
        self.register_buffer("low", low, persistent=False)

    def forward(self, voxels: Tensor, num_points: Tensor, coords: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            voxels: [V, max_points, 5] float32 x, y, z, intensity, time lag, zeros where there is no point.
            num_points: [V] int32.
            coords: [V, 3] int32 (z, y, x) pillar.

        Returns:
            The head's maps.
        """
        encoder, (rows, columns) = self.encoder, self.encoder.shape
        real = (torch.arange(encoder.max_points, device=voxels.device) < num_points[:, None])[..., None]
        count = num_points.clamp(min=1)[:, None]
        mean = torch.where(real, voxels[..., :3], 0.0).sum(1) / count
        middle = (torch.stack((coords[:, 2], coords[:, 1]), 1) + 0.5) * encoder.side + self.low
        parts = (
            encoder.scaled(voxels),
            (voxels[..., :3] - mean[:, None]) / encoder.side,
            (voxels[..., :2] - middle[:, None]) / encoder.side,
        )
        points = encoder.linear(torch.cat(parts, -1)).reshape(-1, encoder.linear.out_features)
        features = encoder.norm(points).relu().reshape(-1, encoder.max_points, encoder.linear.out_features)
        pillars = torch.where(real, features, 0.0).amax(1)  # behind the ReLU nothing is below zero
        cells = rows * columns
        cell = torch.where(num_points > 0, coords[:, 1].long() * columns + coords[:, 2], cells)
        canvas = voxels.new_zeros(cells + 1, pillars.shape[1]).index_put((cell,), pillars)[:cells]
        return _head(self.model, encoder.stem(canvas.reshape(1, rows, columns, -1).permute(0, 3, 1, 2)))


class CameraGraph(nn.Module):
    """A detector with a :class:`bevkd.detectors.LiftSplatEncoder`, for one sample of one fixed set of cameras.

    Args:
        model: the detector.
        batch: one sample with the cameras' matrices; the images' size counts, not what is on them.
    """

    def __init__(self, model: BEVDetector, batch: CameraBatch) -> None:
        super().__init__()
        self.model, self.encoder = model, model.camera_encoder
        with torch.no_grad():
            features = self.encoder.image_features(batch.images)
        self.cameras = tuple(batch.images.shape[:2])
        for name, value in zip(("ground", "numbers"), self.encoder.conditions(batch, features)):
            self.register_buffer(name, value, persistent=False)
        sizes = batch.images.shape[-2:], features.shape[-2:]
        self.pool = PlannedPool(self.encoder.plan(batch.matrices(), *sizes, features.device))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """[1, N, 3, H, W] normalised images to the head's maps."""
        features = self.encoder.image_features(images)
        found = self.encoder.depth_net(features, self.ground, self.numbers)
        depth, lifted = (part.unflatten(0, self.cameras) for part in found)
        return _head(self.model, self.encoder.splat(depth, lifted, self.pool))


def make_graph(model: nn.Module, cameras: Any = None) -> Graph:
    """The graph of a detector.

    Args:
        model: in eval mode, on the CPU.
        cameras: called without arguments, for a camera detector only; returns its ``lidar2img`` [N, 4, 4] and the
            (height, width) of the images that they project into.

    Raises:
        ConfigError: a detector of another kind, named.
    """
    require_exportable(model)
    common = {
        "grid": {"x_range": model.grid.x_range, "y_range": model.grid.y_range, "cell": model.grid.cell},
        "classes": model.classes,
        "tasks": model.head.class_names,
        "dims_are_logarithms": bool(model.head.norm_bbox),
    }
    return _pillar_graph(model, common) if model.camera_encoder is None else _camera_graph(model, common, cameras)


def require_exportable(model: nn.Module) -> None:
    """Refuse a model that has no ONNX form.

    Raises:
        ConfigError: naming the model or the encoder.
    """
    expected = "expected a BEVDetector with a PillarEncoder or a LiftSplatEncoder; leave onnx out of the formats"
    if not isinstance(model, BEVDetector):
        raise ConfigError(f"the student is a {type(model).__name__}, which has no ONNX form here, {expected}")
    encoders = [part for part in (model.lidar_encoder, model.camera_encoder) if part is not None]
    wrong = [type(part).__name__ for part in encoders if not isinstance(part, PillarEncoder | LiftSplatEncoder)]
    if wrong or model.fusion is not None:
        found = f"a {wrong[0]}" if wrong else f"a fusion ({type(model.fusion).__name__})"
        raise ConfigError(f"the student has {found}, which has no ONNX form here, {expected}")


def _head(model: BEVDetector, low: Tensor) -> tuple[Tensor, ...]:
    levels = model.head([model.bev_encoder(low)])
    return tuple(maps for (task,) in levels for maps in task.values())


@torch.no_grad()
def _answer(model: BEVDetector, inputs: Mapping[str, Any], sample: Det3DDataSample) -> tuple[tuple[str, ...], tuple]:
    """Names and values of the head's maps, from the detector's own forward."""
    tasks = model(inputs, [sample], mode="tensor")
    names = tuple(f"task{number}_{name}" for number, task in enumerate(tasks) for name in task)
    return names, tuple(maps.clone() for task in tasks for maps in task.values())


def _pillar_graph(model: BEVDetector, common: Mapping[str, Any]) -> Graph:
    encoder, examples = model.lidar_encoder, []
    for seed, count in enumerate((4000, 300)):  # from full pillars to pillars of one point
        cloud = _cloud(encoder, count, seed)
        pillars = encoder.pillars(cloud)
        names, maps = _answer(model, {"points": [cloud]}, Det3DDataSample())
        inputs = {"voxels": pillars.features, "num_points": pillars.num_points, "coords": pillars.coords}
        examples.append(Example(inputs, maps))
    z_range = encoder.point_range[2], encoder.point_range[5]
    voxelization = {
        "voxel_size": (encoder.side, encoder.side, z_range[1] - z_range[0]),
        "point_range": encoder.point_range,
        "max_points": encoder.max_points,
        "max_voxels": encoder.max_pillars[1],
    }
    normalisation = {name: getattr(encoder, name).tolist() for name in ("centre", "scale")}
    metadata = {**common, "voxelization": voxelization, "normalisation_inside": normalisation}
    dynamic = {name: {0: "pillars"} for name in inputs}
    return Graph(PillarGraph(model).eval(), names, tuple(examples), dynamic, metadata)


def _cloud(encoder: PillarEncoder, count: int, seed: int) -> Tensor:
    """[count, 5] points all over the range, more of them near the middle."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(count, 5, generator=generator) * 2 - 1
    spread[: count // 2, :2] *= 0.1
    return spread * encoder.scale + encoder.centre


def _camera_graph(model: BEVDetector, common: Mapping[str, Any], cameras: Any) -> Graph:
    lidar2img, size = cameras()
    examples = []
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(1, len(lidar2img), 3, *size, generator=generator)
        sample = Det3DDataSample(metainfo={"lidar2img": lidar2img})
        names, maps = _answer(model, {"imgs": images}, sample)
        examples.append(Example({"images": images}, maps))
    preprocessor = model.data_preprocessor
    statistics = {name: _numbers(getattr(preprocessor, name, None)) for name in ("mean", "std")}
    swapped = bool(getattr(preprocessor, "_channel_conversion", False))
    metadata = {
        **common,
        "normalisation": {**statistics, "colours": "BGR" if swapped else "RGB"},
        "image_size": size,
        "lidar2img": np.asarray(lidar2img).tolist(),
    }
    graph = CameraGraph(model, CameraBatch(images, [lidar2img])).eval()
    return Graph(graph, names, tuple(examples), {}, metadata)


def _numbers(values: Tensor | None) -> Sequence[float] | None:
    return None if values is None else values.flatten().tolist()

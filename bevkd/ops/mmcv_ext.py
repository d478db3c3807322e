"""Serves the module ``mmcv._ext`` from bevkd's own kernels where no real one is installed.

mmcv-lite ships every Python wrapper of ``mmcv.ops`` without the compiled module behind them, and importing ``mmcv.ops``
asserts that about a hundred functions exist. :func:`install` therefore adds a finder at the END of ``sys.meta_path``:
a full mmcv is found before it and stays untouched. The served module answers every name; a function that bevkd has no
kernel for refuses when it is called. Calling conventions are those of mmcv 2.1: most outputs are tensors to be filled.
Inputs may be half, bfloat16, strided or part of an autograd graph.

One limit lies in front of this module: the Python of ``mmcv.ops.points_in_boxes_part`` and ``points_in_boxes_all`` asks
CUDA for its current device, which a CPU-only torch refuses. :mod:`bevkd.ops.points_in_boxes` takes CPU tensors there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bevkd.errors import ConfigError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from bevkd.ops.voxelize import Segments

_NAME = "mmcv._ext"


def install() -> None:
    """Serve ``mmcv._ext`` from now on, unless a real one is found first. Imports nothing; may be called twice."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(_NAME, _Loader(), origin="bevkd") if fullname == _NAME else None


class _Loader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Ext(spec.name, __doc__)

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(_TABLE)


class _Ext(ModuleType):
    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> None:
            raise ConfigError(
                f"{name} is not among bevkd's ops: it needs the full mmcv (mmcv==2.1.0, built from source)"
            )

        return missing


def _plain(*tensors: Tensor) -> list[Tensor]:
    """Detached, in one dtype that the kernels take: float64 if any tensor is, else float32."""
    import torch

    dtype = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    return [tensor.detach().to(dtype) for tensor in tensors]


def _hard_voxelize_forward(
    points: Tensor,
    voxel_size: Tensor,
    coors_range: Tensor,
    voxels: Tensor,
    coors: Tensor,
    num_points_per_voxel: Tensor,
    voxel_num: Tensor,
    max_points: int,
    max_voxels: int,
    NDim: int = 3,
    deterministic: bool = True,
) -> None:
    """Fills ``voxels`` [max_voxels, max_points, F], ``coors`` (z, y, x), ``num_points_per_voxel`` and ``voxel_num``.

    ``deterministic=False`` gives the same voxels: there is no faster way here that would need to differ.
    """
    from bevkd.ops import voxelize

    found = voxelize(points.detach().float(), voxel_size.tolist(), coors_range.tolist(), max_points, max_voxels)
    count = len(found.features)
    voxels[:count] = found.features
    coors[:count] = found.coords
    num_points_per_voxel[:count] = found.num_points
    voxel_num.fill_(count)


def _dynamic_voxelize_forward(
    points: Tensor, voxel_size: Tensor, coors_range: Tensor, coors: Tensor, NDim: int = 3
) -> None:
    from bevkd.ops import voxelize_dynamic

    coors.copy_(voxelize_dynamic(points.detach().float(), voxel_size.tolist(), coors_range.tolist()))


def _box_iou_rotated(boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool) -> None:
    """``mode_flag`` 0 divides by the union, 1 by the first box; ``ious`` is flat, row-major."""
    from bevkd.ops import box_iou_rotated

    first, second = _plain(boxes1, boxes2)
    ious.copy_(box_iou_rotated(first, second, aligned, mode_flag == 1).reshape(ious.shape))


def _nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: int,
) -> Tensor:
    """With ``multi_label``, ``dets`` carries the label as a sixth column and ``labels`` holds it as well."""
    from bevkd.ops import nms_rotated

    (boxes,) = _plain(dets[:, :5])
    return nms_rotated(boxes, scores, iou_threshold, labels if multi_label else None)


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    from bevkd.ops import nms

    return nms(_plain(boxes)[0], scores, iou_threshold, offset)


def _points_in_boxes_cpu_forward(boxes_tensor: Tensor, pts_tensor: Tensor, pts_indices_tensor: Tensor) -> None:
    """Boxes [T, 7] with the centre of the bottom face, points [M, 3]; writes 0 or 1 into [T, M] int32."""
    from bevkd.ops import points_in_boxes

    pts_indices_tensor.copy_(points_in_boxes(*_plain(pts_tensor, boxes_tensor)))


def _points_in_boxes_part_forward(boxes: Tensor, pts: Tensor, box_idxs_of_pts: Tensor) -> None:
    """Boxes [B, T, 7], points [B, M, 3]; writes the first box of every point, or -1, into [B, M] int32."""
    from bevkd.ops import points_in_boxes_part

    box_idxs_of_pts.copy_(points_in_boxes_part(*_plain(pts, boxes)))


def _points_in_boxes_all_forward(boxes: Tensor, pts: Tensor, box_idxs_of_pts: Tensor) -> None:
    """Boxes [B, T, 7], points [B, M, 3]; writes 0 or 1 into [B, M, T] int32."""
    from bevkd.ops import points_in_boxes_all

    box_idxs_of_pts.copy_(points_in_boxes_all(*_plain(pts, boxes)))


def _focal_loss(logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    """[N, C] terms of the focal loss (Lin et al., ICCV 2017, equation 5); target C is background, of weight 1."""
    import torch
    from torch.nn.functional import logsigmoid

    positive = target[:, None] == torch.arange(logits.shape[1], device=logits.device)
    log_p, log_q = logsigmoid(logits), logsigmoid(-logits)
    loss = -torch.where(positive, alpha * (gamma * log_q).exp() * log_p, (1 - alpha) * (gamma * log_p).exp() * log_q)
    return loss * torch.cat((weight, weight.new_ones(1)))[target, None] if weight.numel() else loss


def _sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """mmdet's FocalLoss calls it on CUDA, and with it the anchor heads of PointPillars and SECOND."""
    output.copy_(_focal_loss(_plain(input)[0], target, weight.detach(), gamma, alpha))


def _sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    import torch

    with torch.enable_grad():
        logits = _plain(input)[0].requires_grad_()
        total = _focal_loss(logits, target, weight.detach(), gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(total, logits)[0])


def _reduction(reduce_type: str) -> Callable[[Tensor, Segments], Tensor]:
    from bevkd import ops

    reductions = {"max": ops.segment_max, "mean": ops.segment_mean, "sum": ops.segment_sum}
    if reduce_type not in reductions:
        raise ConfigError(f"reduce_type is {reduce_type!r}{nearest(str(reduce_type), reductions)}")
    return reductions[reduce_type]


def _dynamic_point_to_voxel_forward(feats: Tensor, coors: Tensor, reduce_type: str) -> tuple[Tensor, ...]:
    """Features [M, C] and sorted coordinates [M, ndim] of the voxels, voxel of each point (-1 where a coordinate is
    negative) and points of each voxel, both int32."""
    from bevkd.ops import segments_from_coords

    segments = segments_from_coords(coors)
    reduced = _reduction(reduce_type)(feats, segments)
    return reduced, segments.coords, segments.voxel_of_point, segments.offsets.diff().int()


def _dynamic_point_to_voxel_backward(
    grad_feats: Tensor,
    grad_reduced_feats: Tensor,
    feats: Tensor,
    reduced_feats: Tensor,
    coors_idx: Tensor,
    reduce_count: Tensor,
    reduce_type: str,
) -> None:
    """Writes the gradient [N, C] into ``grad_feats``. The segments come back from the voxel of each point: mmcv saves
    neither them nor the point that held a maximum."""
    import torch

    from bevkd.ops import segments_from_coords

    with torch.enable_grad():
        rows = feats.detach().requires_grad_()
        reduced = _reduction(reduce_type)(rows, segments_from_coords(coors_idx[:, None]))
    grad_feats.copy_(torch.autograd.grad(reduced, rows, grad_reduced_feats)[0])


def _compiler_version() -> str:
    return "none: mmcv._ext is served by bevkd"


_TABLE: dict[str, Callable[..., Any]] = {
    "hard_voxelize_forward": _hard_voxelize_forward,
    "dynamic_voxelize_forward": _dynamic_voxelize_forward,
    "dynamic_point_to_voxel_forward": _dynamic_point_to_voxel_forward,
    "dynamic_point_to_voxel_backward": _dynamic_point_to_voxel_backward,
    "box_iou_rotated": _box_iou_rotated,
    "nms_rotated": _nms_rotated,
    "nms": _nms,
    "points_in_boxes_cpu_forward": _points_in_boxes_cpu_forward,
    "points_in_boxes_part_forward": _points_in_boxes_part_forward,
    "points_in_boxes_all_forward": _points_in_boxes_all_forward,
    "sigmoid_focal_loss_forward": _sigmoid_focal_loss_forward,
    "sigmoid_focal_loss_backward": _sigmoid_focal_loss_backward,
    "get_compiler_version": _compiler_version,
    "get_compiling_cuda_version": _compiler_version,
}

"""Bilinear samples of a student's and a teacher's map at the same points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import library

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def sample_keypoints(student: Tensor, teacher: Tensor | None, points: Tensor) -> tuple[Tensor, Tensor | None]:
    """Sample one or two maps at points, as ``F.grid_sample(..., align_corners=False, padding_mode="zeros")`` does.

    Weights are computed once per point and serve both maps. Channels-last and channels-first memory, and any other
    strides, are read in place. On the map (0, 10, 20, 30) of one row, (0, 0) lies between 10 and 20 and gives 15;
    (-1, 0) lies on the outer edge, half of its weight is outside and it gives 0.

    The student's gradient is summed per cell in the order of the points, so it is the same bits on every run and every
    number of threads; it can be differentiated once more. The teacher and the points never receive one. Sums are
    float32, or float64 where a map is; autocast changes nothing.

    Args:
        student: [B, C, Y, X] float.
        teacher: [B, D, Y, X] float of any dtype and width, or None.
        points: [B, P, 2] (x, y) from -1 to 1 between the outer edges of the map, see ``BEVGrid.normalise``. Outside,
            cells count as zero; a point that is not finite gives NaN, not a silent zero.

    Returns:
        [B, P, C] of the student and [B, P, D] of the teacher (None without one): float32, or float64 for float64 maps.

    Raises:
        ConfigError: a shape, dtype or device that is not as described.
    """
    library.require_tensor("student", student, "[B, C, Y, X]", 4, _FLOATS)
    library.require_tensor("points", points, "[B, P, 2]", 3, _FLOATS)
    if points.shape[0] != student.shape[0] or points.shape[2] != 2:
        raise ConfigError(f"points have shape {tuple(points.shape)}, expected [{student.shape[0]}, P, 2]")
    if teacher is not None:
        library.require_tensor("teacher", teacher, "[B, D, Y, X]", 4, _FLOATS)
        if teacher.shape[0] != student.shape[0] or teacher.shape[2:] != student.shape[2:]:
            expected = f"[B, D, Y, X] of the student's {tuple(student.shape)}"
            raise ConfigError(f"teacher has shape {tuple(teacher.shape)}, expected {expected}")
        teacher = teacher.detach()
    for name, tensor in (("points", points), ("teacher", teacher)):
        if tensor is not None and tensor.device != student.device:
            raise ConfigError(f"{name} is on {tensor.device}, expected {student.device} like the student")
    if torch.float64 in (student.dtype, None if teacher is None else teacher.dtype):
        student, teacher = student.double(), None if teacher is None else teacher.double()
    mine, theirs = torch.ops.bevkd.sample_keypoints(student, teacher, points.detach().to(_sum_type(student.dtype)))
    return mine, None if teacher is None else theirs


def _sum_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _channels_last(feature: Tensor) -> bool:
    return feature.shape[1] > 1 and feature.stride(1) == 1


def _fake(student: Tensor, teacher: Tensor | None, points: Tensor) -> tuple[Tensor, Tensor]:
    samples, count, _ = points.shape
    mine = points.new_empty(samples, count, student.shape[1])
    return mine, points.new_empty(0) if teacher is None else points.new_empty(samples, count, teacher.shape[1])


def _fake_backward(grad: Tensor, points: Tensor, shape: list[int], dtype: torch.dtype, channels_last: bool) -> Tensor:
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device=grad.device, memory_format=memory_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    student, _, points = inputs
    ctx.save_for_backward(points)
    ctx.shape, ctx.dtype, ctx.channels_last = list(student.shape), student.dtype, _channels_last(student)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return None, None, None
    (points,) = ctx.saved_tensors
    arguments = (grad, points, ctx.shape, ctx.dtype, ctx.channels_last)
    return torch.ops.bevkd.sample_keypoints_backward(*arguments), None, None


def _save_points(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(inputs[1])


def _backward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Sampling is linear in the map, so the derivative of its gradient is sampling."""
    (points,) = ctx.saved_tensors
    return torch.ops.bevkd.sample_keypoints(grad, None, points)[0], None, None, None, None


def _register() -> None:
    library.load()
    torch.library.register_fake("bevkd::sample_keypoints", _fake)
    torch.library.register_fake("bevkd::sample_keypoints_backward", _fake_backward)
    torch.library.register_autograd("bevkd::sample_keypoints", _backward, setup_context=_save)
    torch.library.register_autograd("bevkd::sample_keypoints_backward", _backward_backward, setup_context=_save_points)


_register()

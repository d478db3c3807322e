"""Weighted distance between a student's and a teacher's map, in one pass over both.

How to call it from a distillation method, with weights of any kind summed into one map beforehand::

    mask = rotated_box_mask(boxes, valid, grid)                                       # padded boxes, valid rows
    weight = 6e-3 * mask.spread(scale) * attention + 4e-2 * (~mask.foreground) / background
    loss = masked_feature_loss(student, teacher, weight, normaliser=len(student))     # sum w (s - t)^2 / B
    loss = masked_feature_loss(student, teacher, weight, power=1, normaliser=weight.sum() * student.shape[1])

The teacher needs no ``detach()``, masks need no indexing: a cell of weight 0 costs next to nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bevkd.errors import ConfigError
from bevkd.ops import library

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def masked_feature_loss(
    student: Tensor,
    teacher: Tensor,
    weight: Tensor,
    power: int = 2,
    normaliser: Tensor | float | None = None,
    channel_weight: Tensor | None = None,
) -> Tensor:
    """``sum over b, c, y, x of weight[b, y, x] channel_weight[b, c] |student - teacher|^power``, / normaliser.

    With weight 0.5 in one cell, where the student has (1, 2) and the teacher (0, 4) in their two channels, power 2
    gives 0.5 (1 + 4) = 2.5 and power 1 gives 1.5. A cell or channel of weight 0 is left out: a NaN there does not
    matter. The derivative of ``|x|`` at 0 is 0.

    The forward pass keeps the slope of every feature (in the student's dtype and memory order), the backward pass
    multiplies it by the weights and the incoming gradient; nothing is kept when the student needs no gradient. The
    teacher and the weights never receive one, and there is no second derivative. Terms are float32, added in an order
    that depends on the shape alone, so results are the same bits on every run and every number of threads. Under
    autocast the maps are read in the dtype they have, and the loss is float32 (float64 for float64 maps).

    Args:
        student: [B, C, Y, X] float, any strides.
        teacher: likewise. Where the dtypes differ both take the wider one; a map in another memory order than the
            student's is copied into it.
        weight: [B, Y, X] or [B, 1, Y, X], bool or float.
        power: 2 for squares, 1 for absolute values.
        normaliser: divides the sum; a number or a scalar tensor (without a look at its value: keep it off 0 yourself).
        channel_weight: [B, C] float; None for ones.

    Returns:
        Scalar.

    Raises:
        ConfigError: a shape, dtype or device that is not as described, or a weight that requires a gradient.
    """
    library.require_tensor("student", student, "[B, C, Y, X]", 4, _FLOATS)
    library.require_tensor("teacher", teacher, "[B, C, Y, X]", 4, _FLOATS)
    if teacher.shape != student.shape:
        raise ConfigError(f"teacher has shape {tuple(teacher.shape)}, expected {tuple(student.shape)} like the student")
    if power not in (1, 2):
        raise ConfigError(f"power is {power}, expected 1 or 2")
    samples, channels, rows, columns = student.shape
    dtype = torch.promote_types(student.dtype, teacher.dtype)
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    weight = _weight("weight", weight, ((samples, rows, columns), (samples, 1, rows, columns)), student, sums)
    if channel_weight is not None:
        channel_weight = _weight("channel_weight", channel_weight, ((samples, channels),), student, sums)
    if teacher.device != student.device:
        raise ConfigError(f"teacher is on {teacher.device}, expected {student.device} like the student")
    loss, _ = torch.ops.bevkd.masked_feature_loss(
        student.to(dtype),
        teacher.detach().to(dtype),
        weight.view(samples, rows, columns),
        channel_weight,
        power,
        student.requires_grad and torch.is_grad_enabled(),
    )
    return loss if normaliser is None else loss / normaliser


def _weight(name: str, weight: Tensor, shapes: tuple[tuple[int, ...], ...], like: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight contiguous in ``dtype``, or ConfigError."""
    if not isinstance(weight, Tensor) or tuple(weight.shape) not in shapes:
        found = f"shape {tuple(weight.shape)}" if isinstance(weight, Tensor) else f"type {type(weight).__name__}"
        expected = " or ".join(map(str, shapes))
        raise ConfigError(f"{name} has {found}, expected a tensor {expected} for maps {tuple(like.shape)}")
    if weight.device != like.device or not (weight.is_floating_point() or weight.dtype == torch.bool):
        raise ConfigError(f"{name} is {weight.dtype} on {weight.device}, expected bool or float on {like.device}")
    if weight.requires_grad and torch.is_grad_enabled():
        raise ConfigError(f"{name} requires a gradient, which this loss does not give; pass {name}.detach()")
    return weight.to(dtype).contiguous()


def _fake(student: Tensor, teacher, weight, channel_weight, power, with_slope: bool) -> tuple[Tensor, Tensor]:
    loss = student.new_empty((), dtype=weight.dtype)
    if not with_slope:
        return loss, student.new_empty(0)
    interleaved = student.shape[1] > 1 and student.stride(1) == 1
    memory_format = torch.channels_last if interleaved else torch.contiguous_format
    return loss, torch.empty(student.shape, dtype=student.dtype, device=student.device, memory_format=memory_format)


def _save(ctx, inputs, output) -> None:
    *_, weight, channel_weight, ctx.power, _ = inputs
    ctx.save_for_backward(output[1], weight, channel_weight)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx, grad: Tensor | None, _):
    if grad is None:
        return None, None, None, None, None, None
    slope = torch.ops.bevkd.masked_feature_loss_backward(grad, *ctx.saved_tensors, ctx.power)
    return slope, None, None, None, None, None


def _no_second_derivative(ctx, grad: Tensor):
    raise RuntimeError("masked_feature_loss has no second derivative")


def _register() -> None:
    library.load()
    torch.library.register_fake("bevkd::masked_feature_loss", _fake)
    torch.library.register_fake(
        "bevkd::masked_feature_loss_backward",
        lambda grad, slope, weight, channel_weight, power: torch.empty_like(slope),
    )
    torch.library.register_autograd("bevkd::masked_feature_loss", _backward, setup_context=_save)
    torch.library.register_autograd("bevkd::masked_feature_loss_backward", _no_second_derivative)


_register()

"""Weighted distance between a student's and a teacher's map, in one pass over both.

How to call it from a distillation method, with weights of any kind summed into one map beforehand::

    mask = rotated_box_mask(boxes, valid, grid)                                       # padded boxes, valid rows
    weight = 6e-3 * mask.spread(scale) * attention + 4e-2 * (~mask.foreground) / background
    loss = masked_feature_loss(student, teacher, weight, normaliser=len(student))     # sum w (s - t)^2 / B
    loss = masked_feature_loss(student, teacher, weight, power=1, normaliser=weight.sum() * student.shape[1])

The teacher needs no ``detach()``, masks need no indexing: a cell of weight 0 costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    student, teacher = _pair(student, teacher, power)
    weight, channel_weight = _weights("", weight, channel_weight, student)
    needs_slope = student.requires_grad and torch.is_grad_enabled()
    loss: Tensor
    loss, _ = torch.ops.bevkd.masked_feature_loss(student, teacher, weight, channel_weight, power, needs_slope)
    return loss if normaliser is None else loss / normaliser


def masked_feature_losses(
    student: Tensor,
    teacher: Tensor,
    weights: Sequence[Tensor],
    power: int = 2,
    normaliser: Tensor | float | None = None,
    channel_weights: Sequence[Tensor | None] | None = None,
) -> list[Tensor]:
    """:func:`masked_feature_loss` for several weights of one pair of maps, which keep one slope together.

    Args:
        weights: each as there. channel_weights: one for each of them, or None for ones throughout.
        student, teacher, power, normaliser: as there.

    Returns:
        A scalar for each weight, with the bits of single calls.

    Raises:
        ConfigError: as there; lists of unequal length.
    """
    channel_weights = [None] * len(weights) if channel_weights is None else list(channel_weights)
    if len(channel_weights) != len(weights):
        raise ConfigError(f"there are {len(channel_weights)} channel_weights, expected one for each of {len(weights)}")
    student, teacher = _pair(student, teacher, power)
    pairs = zip(weights, channel_weights)
    checked = [_weights(f"s[{k}]", weight, by_channel, student) for k, (weight, by_channel) in enumerate(pairs)]
    needs_slope = student.requires_grad and torch.is_grad_enabled()
    parts = (part for pair in checked for part in pair)
    losses = _SharedSlope.apply(student, teacher, power, needs_slope, *parts)  # type: ignore[no-untyped-call]
    return [loss if normaliser is None else loss / normaliser for loss in losses]


class _SharedSlope(torch.autograd.Function):
    """Losses of several weights; ``parts`` are weight, channel weight, weight, ..."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, power: int, needs_slope: bool, *parts: Any
    ) -> tuple[Tensor, ...]:
        run = torch.ops.bevkd.masked_feature_loss
        losses = tuple(run(student, teacher, w, c, power, False)[0] for w, c in zip(parts[::2], parts[1::2]))
        ctx.power = power
        ctx.set_materialize_grads(False)
        if needs_slope and parts:
            weighted = torch.stack([weight != 0 for weight in parts[::2]]).any(0)  # the slope is left out elsewhere
            anywhere = weighted.to(parts[0].dtype)
            ctx.save_for_backward(run(student, teacher, anywhere, None, power, True)[1], *parts)
        return losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        slope, *parts = ctx.saved_tensors
        run, total = torch.ops.bevkd.masked_feature_loss_backward, None
        for grad, weight, by_channel in zip(grads, parts[::2], parts[1::2]):
            if grad is not None:
                part = run(grad, slope, weight, by_channel, ctx.power)
                total = part if total is None else total.add_(part)
        return total, None, None, None, *[None] * len(parts)


def _pair(student: Tensor, teacher: Tensor, power: int) -> tuple[Tensor, Tensor]:
    """Both maps in the wider dtype, the teacher detached, or ConfigError."""
    library.require_tensor("student", student, "[B, C, Y, X]", 4, _FLOATS)
    library.require_tensor("teacher", teacher, "[B, C, Y, X]", 4, _FLOATS)
    if teacher.shape != student.shape:
        raise ConfigError(f"teacher has shape {tuple(teacher.shape)}, expected {tuple(student.shape)} like the student")
    if power not in (1, 2):
        raise ConfigError(f"power is {power}, expected 1 or 2")
    if teacher.device != student.device:
        raise ConfigError(f"teacher is on {teacher.device}, expected {student.device} like the student")
    dtype = torch.promote_types(student.dtype, teacher.dtype)
    return student.to(dtype), teacher.detach().to(dtype)


def _weights(which: str, weight: Tensor, by_channel: Tensor | None, student: Tensor) -> tuple[Tensor, Tensor | None]:
    samples, channels, rows, columns = student.shape
    dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
    shapes = ((samples, rows, columns), (samples, 1, rows, columns))
    weight = _weight(f"weight{which}", weight, shapes, student, dtype).view(samples, rows, columns)
    if by_channel is not None:
        by_channel = _weight(f"channel_weight{which}", by_channel, ((samples, channels),), student, dtype)
    return weight, by_channel


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


def _fake(
    student: Tensor, teacher: Tensor, weight: Tensor, channel_weight: Tensor | None, power: int, with_slope: bool
) -> tuple[Tensor, Tensor]:
    loss = student.new_empty((), dtype=weight.dtype)
    if not with_slope:
        return loss, student.new_empty(0)
    interleaved = student.shape[1] > 1 and student.stride(1) == 1
    memory_format = torch.channels_last if interleaved else torch.contiguous_format
    return loss, torch.empty(student.shape, dtype=student.dtype, device=student.device, memory_format=memory_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *_, weight, channel_weight, ctx.power, _ = inputs
    ctx.save_for_backward(output[1], weight, channel_weight)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return None, None, None, None, None, None
    slope = torch.ops.bevkd.masked_feature_loss_backward(grad, *ctx.saved_tensors, ctx.power)
    return slope, None, None, None, None, None


def _no_second_derivative(ctx: Any, grad: Tensor) -> None:
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

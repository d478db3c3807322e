"""Twin of :mod:`bevkd.ops.masked_feature_loss`: the sum as it is written."""

import torch
from torch import Tensor


def masked_feature_loss(
    student: Tensor,
    teacher: Tensor,
    weight: Tensor,
    power: int = 2,
    normaliser: Tensor | float | None = None,
    channel_weight: Tensor | None = None,
) -> Tensor:
    """Scalar."""
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    factor = weight.to(dtype).reshape(len(student), 1, *student.shape[2:]).expand(student.shape)
    if channel_weight is not None:
        factor = factor * channel_weight.to(dtype)[:, :, None, None]
    gap = torch.where(factor != 0, student.to(dtype) - teacher.detach().to(dtype), 0)
    loss = (factor * (gap**2 if power == 2 else gap.abs())).sum()
    return loss if normaliser is None else loss / normaliser

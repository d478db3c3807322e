"""Twin of :mod:`bevkd.ops.sample_keypoints`: torch's own grid_sample, one map after the other."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_keypoints(student: Tensor, teacher: Tensor | None, points: Tensor) -> tuple[Tensor, Tensor | None]:
    """[B, P, C] and [B, P, D]."""
    wide = torch.float64 if torch.float64 in (student.dtype, getattr(teacher, "dtype", None)) else torch.float32
    finite = points.isfinite().all(-1, keepdim=True)
    where = torch.where(finite, points, 0).to(wide)[:, :, None]

    def sample(feature: Tensor) -> Tensor:
        samples = F.grid_sample(feature.to(wide), where, mode="bilinear", padding_mode="zeros", align_corners=False)
        return torch.where(finite, samples[..., 0].transpose(1, 2), torch.nan)

    return sample(student), None if teacher is None else sample(teacher.detach())

"""Cases for the tests of segment scatter."""

import torch

from bevkd.ops import segment_max, segment_mean, segment_sum
from bevkd.ops.reference import segment_scatter as twin
from bevkd.ops.voxelize import Segments

OPS = {"sum": segment_sum, "mean": segment_mean, "max": segment_max}
TWINS = {"sum": twin.segment_sum, "mean": twin.segment_mean, "max": twin.segment_max}


def segments_of(voxels, device="cpu") -> Segments:
    """Segments of points whose voxel is given, -1 for none; a voxel number that nobody has is an empty voxel."""
    voxel = torch.as_tensor(voxels, dtype=torch.int32, device=device)
    count = int(voxel.max()) + 1 if len(voxel) else 0
    point = voxel.argsort(stable=True)[(voxel < 0).sum() :].int()
    offsets = torch.cat((voxel.new_zeros(1), torch.bincount(voxel[voxel >= 0], minlength=count).cumsum(0))).long()
    coords = torch.arange(count, device=device)[:, None]
    none = torch.zeros((), dtype=torch.int64, device=device)
    return Segments(coords, point, offsets, voxel, none, none)


def random_case(seed=0, points=90, voxels=12, channels=5, dtype=torch.float32, device="cpu", grad=False):
    torch.manual_seed(seed)
    voxel = torch.randint(-1, voxels, (points,)) if voxels else torch.full((points,), -1)
    features = torch.randn(points, channels).to(dtype).to(device).requires_grad_(grad)
    return features, segments_of(voxel, device)


def raw(segments: Segments) -> tuple:
    return segments.point, segments.offsets, segments.voxel_of_point

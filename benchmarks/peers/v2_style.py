"""The ``v2-style`` peer: ``v2_style.cu`` compiled by nvcc at first use. Needs a GPU."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from bevkd.errors import ConfigError

_SOURCE = Path(__file__).with_suffix(".cu")


@cache
def _library() -> ctypes.CDLL:
    from torch.utils.cpp_extension import CUDA_HOME

    if CUDA_HOME is None:
        raise ConfigError("nvcc was not found, expected a CUDA toolkit for the v2-style peer")
    major, minor = torch.cuda.get_device_capability()
    target = Path(tempfile.mkdtemp(prefix="bevkd_v2_"), "v2_style.so")
    nvcc = Path(CUDA_HOME, "bin", "nvcc")
    flags = ["-O3", "-shared", "-Xcompiler", "-fPIC", f"-arch=sm_{major}{minor}"]
    subprocess.run([nvcc, *flags, _SOURCE, "-o", target], check=True)
    return ctypes.CDLL(str(target))


class Ranks:
    """Points inside the map sorted by one key (cell or pixel), as intervals of equal key."""

    def __init__(self, key: Tensor, point: Tensor, pixel: Tensor, cell: Tensor) -> None:
        order = key.argsort()
        self.point, self.pixel, self.cell = (t[order].int() for t in (point, pixel, cell))
        first = torch.ones_like(order, dtype=torch.bool)
        sorted_key = key[order]
        first[1:] = sorted_key[1:] != sorted_key[:-1]
        self.start = torch.where(first)[0].int()
        ends = torch.cat((self.start[1:], self.start.new_tensor([len(order)])))
        self.length = ends - self.start

    @staticmethod
    def of(cell: Tensor, by: str) -> Ranks:
        """From the cell map [B, N, D, H, W] (-1 outside); ``by`` names the key, "cell" or "pixel"."""
        _, _, depths, height, width = cell.shape
        flat = cell.flatten()
        point = torch.where(flat >= 0)[0]
        image = height * width
        pixel = point // (depths * image) * image + point % image
        keys = {"cell": flat[point], "pixel": pixel}
        return Ranks(keys[by], point, pixel, flat[point])


class V2Pool(torch.autograd.Function):
    """Forward over ranks that were sorted before; backward sorts by pixel on every call, as the original does."""

    @staticmethod
    def forward(ctx, depth: Tensor, feat: Tensor, cell: Tensor, ranks: Ranks, shape: tuple[int, int]) -> Tensor:
        out = feat.new_zeros(len(depth), *shape, feat.shape[-1])
        _call("v2_pool", feat.shape[-1], len(ranks.start), depth, feat, ranks.point, ranks.pixel, ranks.cell,
              ranks.start, ranks.length, out)  # fmt: skip
        ctx.save_for_backward(depth, feat, cell)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        depth, feat, cell = ctx.saved_tensors
        ranks = Ranks.of(cell, "pixel")
        grad, channels = grad.contiguous(), feat.shape[-1]
        grad_depth, grad_feat = torch.zeros_like(depth), torch.zeros_like(feat)
        _call("v2_depth_gradient", channels, len(ranks.point), grad, feat, ranks.point, ranks.pixel, ranks.cell,
              grad_depth)  # fmt: skip
        _call("v2_feature_gradient", channels, len(ranks.start), grad, depth, ranks.point, ranks.pixel, ranks.cell,
              ranks.start, ranks.length, grad_feat)  # fmt: skip
        return grad_depth, grad_feat, None, None, None


def _call(name: str, channels: int, count: int, *tensors: Tensor) -> None:
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    status = getattr(_library(), name)(ctypes.c_int(channels), ctypes.c_int64(count), *pointers, stream)
    if status != 0:
        raise RuntimeError(f"{name} failed with CUDA error {status}")

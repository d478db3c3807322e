"""The compiled library behind ``torch.ops.bevkd``."""

import logging
import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from bevkd.errors import ConfigError

# The file that load() opens. Tests put the library of emulated CUDA kernels here, before an op is first used.
PATH = Path(__file__).resolve().parents[1] / "_C.so"

_REGISTERS = {64: "AVX-512", 32: "AVX2", 16: "no AVX2"}  # by their bytes
_BUILD = "build it in the repository root with: pip install -e . --no-build-isolation --no-deps"


@cache
def load() -> None:
    """Load :data:`PATH`, ``bevkd/_C.so``, once.

    Where ``ATEN_CPU_CAPABILITY`` names instructions that the processor lacks, one warning is logged.

    Raises:
        ConfigError: the library is missing, or was compiled against another torch or from older sources.
    """
    if not PATH.is_file():
        raise ConfigError(f"the compiled ops {PATH} are missing; {_BUILD}")
    try:
        torch.ops.load_library(PATH)
    except OSError as error:
        raise ConfigError(
            f"the compiled ops {PATH} do not load under torch {torch.__version__} ({error}); {_BUILD}"
        ) from error
    if not hasattr(torch.ops.bevkd, "vector_bytes"):
        raise ConfigError(f"the compiled ops {PATH} are older than this bevkd; {_BUILD}")
    _warn_of_wide_kernels()


def _warn_of_wide_kernels() -> None:
    used, asked = torch.ops.bevkd.vector_bytes()
    if used < asked:
        # Not through `warnings`, which the start of a run silences.
        logging.getLogger(__name__).warning(
            "ATEN_CPU_CAPABILITY is %r, but this processor has %s: torch's own kernels may end in an illegal "
            "instruction (bevkd's do not), unset the variable",
            os.environ.get("ATEN_CPU_CAPABILITY"),
            _REGISTERS[used],
        )


@cache
def has_cuda() -> bool:
    """Whether the compiled library holds the CUDA kernels."""
    load()
    return torch._C._dispatch_has_kernel_for_dispatch_key("bevkd::voxelize_dynamic", "CUDA")


def require_device(**tensors: Tensor) -> None:
    """Raise ConfigError naming the first tensor that no kernel of this build can take."""
    for name, tensor in tensors.items():
        if tensor.device.type == "cuda" and not has_cuda():
            raise ConfigError(
                f"{name} is on {tensor.device}, but the ops were built without CUDA kernels;"
                f" with a CUDA torch and nvcc at hand, {_BUILD}"
            )
        if tensor.device.type not in ("cpu", "meta", "cuda"):
            raise ConfigError(f"{name} is on {tensor.device}, expected cpu or cuda")


def require_tensor(name: str, tensor: Tensor, shape: str, dims: int, dtypes: tuple[torch.dtype, ...]) -> None:
    """Raise ConfigError unless ``tensor`` has ``dims`` dimensions, described by ``shape``, and one of ``dtypes``."""
    if not isinstance(tensor, Tensor):
        raise ConfigError(f"{name} is a {type(tensor).__name__}, expected a tensor {shape}")
    if tensor.dim() != dims:
        raise ConfigError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
    if tensor.dtype not in dtypes:
        expected = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise ConfigError(f"{name} is {str(tensor.dtype).removeprefix('torch.')}, expected {expected}")
    require_device(**{name: tensor})

"""On which device and on which kernels the op tests run.

``pytest tests/ops`` tests the CPU kernels; ``-m gpu`` adds the CUDA kernels on a GPU; ``--emulated-cuda`` runs the CUDA
kernels, compiled as plain C++, on CPU tensors. The same tests serve all three: they take ``device``.
"""

import ctypes
from pathlib import Path

import pytest
import torch

CSRC = Path(__file__).resolve().parents[2] / "csrc"


def pytest_addoption(parser):
    parser.addoption(
        "--emulated-cuda", action="store_true", help="run the CUDA kernels of the ops, emulated on the CPU"
    )
    parser.addoption("--ops-library", type=Path, help="test this build of the ops")
    parser.addoption("--emulation-seed", type=int, default=1, help="another order of blocks, warps and lanes")


def _emulated(config) -> bool:
    return config.getoption("--emulated-cuda", default=False)


def pytest_configure(config):
    from bevkd.ops import library

    given = config.getoption("--ops-library", default=None)
    library.PATH = given or library.PATH
    if not _emulated(config):
        return
    from cuda_emulation.build import build

    library.PATH = given or build()
    emulation = ctypes.CDLL(str(library.PATH))
    emulation.bevkd_emulation_seed(config.getoption("--emulation-seed"))
    if not given:  # the fences would hide from a sanitizer what lies next to a tensor
        emulation.bevkd_emulation_guard_memory()


def pytest_collection_modifyitems(config, items):
    if not _emulated(config):
        return
    emulated = tuple(f"test_{path.parent.name}" for path in CSRC.rglob("*_cuda.cpp"))
    for item in items:
        if not item.path.stem.startswith(emulated):
            item.add_marker(pytest.mark.skip(reason=f"no CUDA kernel to emulate for {item.path.stem}"))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request) -> torch.device:
    """Where an op test puts its tensors: the CPU, and with ``-m gpu`` the GPU."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)

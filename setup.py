"""Builds bevkd's operators from csrc/ into bevkd/_C.so. Metadata lives in pyproject.toml.

CPU kernels are always built, CUDA kernels where a CUDA torch and nvcc are found; BEVKD_FORCE_CPU=1 skips them.
Use ``pip install -e . --no-build-isolation``, so that the operators are compiled against the torch that will load them.
"""

import os
import sys
from pathlib import Path

from setuptools import setup

try:
    import torch
    from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension
except ModuleNotFoundError:
    sys.exit("bevkd compiles against the torch it will run on: install torch, then use --no-build-isolation")

ROOT = Path(__file__).resolve().parent

# -ffp-contract=off: cell arithmetic must round alike on every machine, so no fused multiply-add.
# -fopenmp only when compiling: at::parallel_for then runs on the OpenMP library that torch has already loaded.
CXX_FLAGS = ["-O3", "-ffp-contract=off", "-fopenmp", "-fvisibility=hidden", "-g0", "-Wall", "-Wno-unknown-pragmas"]
NVCC_FLAGS = ["-O3", "--fmad=false"]  # kernels that want a fused multiply-add call fmaf
# A100 and H100/H200 in machine code; later ones through PTX. TORCH_CUDA_ARCH_LIST overrules it.
CUDA_ARCHITECTURES = "8.0;9.0+PTX"


def sources(with_cuda: bool) -> list[str]:
    files = [path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".cpp", ".cu")]
    cuda_only = {path for path in files if path.suffix == ".cu" or path.stem.endswith("_cuda")}
    return sorted(str(path.relative_to(ROOT)) for path in files if with_cuda or path not in cuda_only)


def extension() -> CppExtension:
    forced_cpu = os.environ.get("BEVKD_FORCE_CPU", "0") not in ("", "0")
    with_cuda = bool(torch.version.cuda and CUDA_HOME and not forced_cpu)
    if with_cuda:
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", CUDA_ARCHITECTURES)
    return (CUDAExtension if with_cuda else CppExtension)(
        name="bevkd._C",
        sources=sources(with_cuda),
        extra_compile_args={"cxx": CXX_FLAGS, "nvcc": NVCC_FLAGS},
        py_limited_api=True,  # nothing of Python is linked: torch.ops.load_library opens the file
    )


class BuildOps(BuildExtension):
    """Gives x_cuda.cu and the x_cuda.cpp beside it an object file each; setuptools would write both to x_cuda.o."""

    def build_extensions(self) -> None:
        plain_names = self.compiler.object_filenames

        def names(files, *args, **kwargs) -> list[str]:
            objects = plain_names(files, *args, **kwargs)
            return [f"{o[:-2]}.cu.o" if f.endswith(".cu") else o for f, o in zip(files, objects, strict=True)]

        self.compiler.object_filenames = names
        super().build_extensions()


setup(
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildOps.with_options(no_python_abi_suffix=True)},
)

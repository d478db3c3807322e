"""Every CUDA source compiles: kernels with nvcc as setup.py has it, their torch side against the CUDA headers.

No GPU and no CUDA torch are needed. A file that has compiled once is not compiled again until its text, a header or
the command changes.
"""

import hashlib
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
from cuda_emulation.build import ROOT, include_paths
from setuptools._distutils.ccompiler import new_compiler
from torch.utils.cpp_extension import COMMON_NVCC_FLAGS

CSRC = ROOT / "csrc"
CACHE = ROOT / "build" / "cuda_compiles"
NVCC = shutil.which("nvcc")
KERNELS = [*sorted(CSRC.rglob("*.cu")), ROOT / "tests/ops/cuda_emulation/selftest.cu"]
GLUE = sorted(CSRC.rglob("*_cuda.cpp"))

pytestmark = pytest.mark.skipif(NVCC is None, reason="no nvcc on the PATH")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def compile_once(source: Path, command: list[str]) -> None:
    texts = [path.read_bytes() for path in (source, *sorted(CSRC.rglob("*.h")))]
    stamp = CACHE / hashlib.sha256(b"\0".join([*texts, " ".join(command).encode()])).hexdigest()
    if stamp.exists():
        return
    run = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "warning" not in run.stderr, run.stderr
    CACHE.mkdir(parents=True, exist_ok=True)
    stamp.touch()


def nvcc_flags() -> list[str]:
    """The flags and architectures that setup.py gives nvcc, beside torch's own."""
    text = (ROOT / "setup.py").read_text()
    flags = re.findall(r'"([^"]+)"', re.search(r"NVCC_FLAGS = \[(.*?)\]", text)[1])
    names = re.search(r'CUDA_ARCHITECTURES = "(.*?)"', text)[1].removesuffix("+PTX").replace(".", "").split(";")
    return [*COMMON_NVCC_FLAGS, *flags, *(f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in names)]


def cuda_include() -> Path:
    found = subprocess.run([NVCC, "--dryrun", "-E", "x.cu"], capture_output=True, text=True).stderr
    return Path(re.search(r'INCLUDES="-I(.*?)"', found)[1])


def test_setup_builds_for_ampere_and_hopper():
    assert [flag for flag in nvcc_flags() if "sm_" in flag] == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
    ]


def test_every_source_of_a_cuda_build_has_its_own_object_file(monkeypatch):
    """setup.py is run as on a machine with a CUDA torch, up to the compiler's door."""
    import setuptools
    import torch
    from torch.utils import cpp_extension

    kept, compiled = {}, []
    monkeypatch.setattr(setuptools, "setup", lambda **kwargs: kept.update(kwargs))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", "/nowhere")
    monkeypatch.setenv("BEVKD_FORCE_CPU", "0")
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "")  # so that it is taken back afterwards
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST")
    runpy.run_path(str(ROOT / "setup.py"))
    (extension,) = kept["ext_modules"]
    assert {name(path) for path in (*KERNELS[:-1], *GLUE)} < set(extension.sources)
    assert os.environ["TORCH_CUDA_ARCH_LIST"] == "8.0;9.0+PTX"

    build = kept["cmdclass"]["build_ext"](setuptools.Distribution())
    build.compiler = new_compiler()
    build.compiler.src_extensions.append(".cu")
    monkeypatch.setattr(cpp_extension.BuildExtension, "build_extensions", lambda self: compiled.append(self.compiler))
    build.build_extensions()
    objects = compiled[0].object_filenames(extension.sources, output_dir="build")
    assert len(set(objects)) == len(extension.sources)


@pytest.mark.parametrize("kernel", KERNELS, ids=name)
def test_kernel_compiles_without_torch(kernel):
    flags = ["-std=c++20", "-Xcompiler=-Wall,-Wno-unknown-pragmas", "-o", "/dev/null", "-c"]
    compile_once(kernel, [NVCC, *nvcc_flags(), *flags])


@pytest.mark.slow
@pytest.mark.parametrize("glue", GLUE, ids=name)
def test_torch_side_compiles_against_cuda_headers(glue):
    # A CPU torch has c10/cuda but for this file, which the build of a CUDA torch writes.
    macros = CACHE / "shim" / "c10" / "cuda" / "impl" / "cuda_cmake_macros.h"
    macros.parent.mkdir(parents=True, exist_ok=True)
    macros.write_text("#pragma once\n#define C10_CUDA_BUILD_SHARED_LIBS\n")
    folders = [*include_paths(), str(CACHE / "shim"), str(cuda_include())]
    includes = [word for folder in folders for word in ("-isystem", folder)]
    compile_once(glue, ["g++", "-std=c++20", "-Wall", "-Wno-unknown-pragmas", "-fsyntax-only", *includes])

"""Compiles the CUDA kernels of csrc/ as plain C++ (see cuda_emulation.h) into one library that torch can load."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
OUTPUT = ROOT / "build" / "cuda_emulation"

FLAGS = [
    *("-std=c++20", "-O1", "-fPIC", "-g1", "-ffp-contract=off", "-fvisibility=hidden", "-DBEVKD_EMULATED_CUDA"),
    *("-Wall", "-Wno-unknown-pragmas", "-I", str(HERE)),
]
# What a GPU does not forgive, or what would be wrong with more data: caught in kernels, not in torch's headers.
CHECKS = "-fsanitize=bounds,alignment,shift,signed-integer-overflow,null,float-cast-overflow"


def sources() -> list[Path]:
    """The library: the schemas, the torch side of every CUDA kernel, the kernels, the emulation."""
    csrc = ROOT / "csrc"
    return [csrc / "schemas.cpp", *sorted(csrc.rglob("*_cuda.cpp")), *sorted(csrc.rglob("*.cu")), *HERE.glob("*.cpp")]


def build(files: list[Path] | None = None, name: str = "bevkd", flags: list[str] | None = None) -> Path:
    """Compile what changed and return the library; ``flags`` are added for compiler and linker.

    Raises:
        RuntimeError: a file does not compile; the compiler's words.
    """
    OUTPUT.mkdir(parents=True, exist_ok=True)
    ninja_file, library = OUTPUT / f"{name}.ninja", OUTPUT / f"{name}.so"
    ninja_file.write_text(_ninja(sources() if files is None else files, library, flags or []))
    command = [sys.executable, "-m", "ninja", "-f", str(ninja_file), "-j", os.environ.get("MAX_JOBS", "2")]
    run = subprocess.run(command, cwd=OUTPUT, capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"the emulated CUDA library did not build:\n{run.stdout}{run.stderr}")
    return library


def _ninja(files: list[Path], library: Path, flags: list[str]) -> str:
    includes = [word for path in include_paths() for word in ("-isystem", path)]
    torch_lib = Path(torch.__file__).parent / "lib"
    lines = [
        "ninja_required_version = 1.3",
        f"flags = {shlex.join([*FLAGS, *includes, *flags])}",
        f"more = {shlex.join(flags)}",
        "rule compile\n  command = g++ $flags $extra -MMD -MF $out.d -c $in -o $out\n  depfile = $out.d\n  deps = gcc",
        f"rule link\n  command = g++ -shared $more $in -L{torch_lib} -lc10 -ltorch_cpu -ltorch -lubsan -o $out",
    ]
    objects = []
    for file in files:
        objects.append(f"{library.stem}/{file.parent.name}_{file.name}.o")
        lines.append(f"build {objects[-1]}: compile {file}")
        if file.suffix == ".cu":
            lines.append(f"  extra = -x c++ {CHECKS}")
    lines.append(f"build {library}: link {' '.join(objects)}\n")
    return "\n".join(lines)

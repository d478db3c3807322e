"""Runs the op tests with the address and undefined-behaviour sanitizers in the compiled ops: ``make sanitize``.

Two libraries are built, the CPU kernels and the emulated CUDA kernels, and tests/ops runs on each. The sanitizers see
reads and writes outside of tensors and arrays, use after free, overflow, misalignment and casts out of range. What they
say about torch itself is counted and does not fail the run.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cuda_emulation.build import HERE, OUTPUT, ROOT, build, sources

FLAGS = [
    *("-fsanitize=address,undefined,float-cast-overflow", "-fsanitize-recover=all", "-fno-sanitize=vptr"),
    *("-fno-omit-frame-pointer", "-fopenmp"),
]
# Compilers must not run under a preloaded sanitizer, and these files compile.
LEFT_OUT = ("test_cuda_compiles.py", "test_cuda_emulation.py")
LOGS = OUTPUT.parent / "sanitize"
OURS = re.compile(r"(?:csrc|cuda_emulation)/[\w./]+")
# Writes past the end of a tensor from inside a kernel: if this is not reported, nothing would be.
CANARY = """
import ctypes, sys, torch
run = ctypes.CDLL(sys.argv[1]).bevkd_selftest
run.restype, run.argtypes = ctypes.c_char_p, [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
source, out = torch.zeros(1000, dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
run(0, source.data_ptr(), out.data_ptr(), 1000)
"""


def cpu_sources() -> list[Path]:
    return [path for path in sorted((ROOT / "csrc").rglob("*.cpp")) if not path.stem.endswith("_cuda")]


def environment(log: Path) -> dict[str, str]:
    """Sanitizers first in the process, findings into files named ``log`` and a process number."""
    names = ("libasan.so", "libubsan.so", "libstdc++.so")
    found = [subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True) for name in names]
    preload = " ".join(str(Path(run.stdout.strip()).resolve()) for run in found)
    options = f"detect_leaks=0:halt_on_error=0:detect_odr_violation=0:print_stacktrace=1:log_path={log}"
    return {**os.environ, "LD_PRELOAD": preload, "ASAN_OPTIONS": options, "UBSAN_OPTIONS": options}


def reports(log: Path) -> list[str]:
    """One line for each fault, wherever and however often it was seen."""
    found = {}
    for file in sorted(log.parent.glob(f"{log.name}.*")):
        text = file.read_text(errors="replace")
        for block in re.split(r"(?=^==\d+==ERROR: AddressSanitizer|^\S+: runtime error:)", text, flags=re.MULTILINE):
            kind = re.match(r"==\d+==ERROR: (AddressSanitizer: \S+)|(\S+: runtime error: .*)", block)
            if kind:
                frames = [line.strip() for line in block.splitlines() if OURS.search(line)]
                found.setdefault((kind[1] or kind[2], frames[0] if frames else ""), block)
    return [f"{kind} {frame}".strip() for kind, frame in found]


def run_tests(name: str, library: Path, *options: str) -> bool:
    """Whether tests/ops passes on ``library`` and the sanitizers have nothing to say about our files."""
    log = LOGS / name
    ignored = [f"--ignore=tests/ops/{file}" for file in LEFT_OUT]
    command = [sys.executable, "-m", "pytest", "tests/ops", "-p", "no:cacheprovider", f"--ops-library={library}"]
    run = subprocess.run(
        [*command, *ignored, *options], cwd=ROOT, env=environment(log), stdout=subprocess.PIPE, text=True
    )
    (LOGS / f"{name}.txt").write_text(run.stdout)
    ours = [report for report in reports(log) if OURS.search(report)]
    others = len(reports(log)) - len(ours)
    print(f"{name}: {run.stdout.strip().splitlines()[-1]}; {len(ours)} faults in our files, {others} elsewhere")
    for report in ours:
        print(f"  {report}")
    if run.returncode:
        print(*(line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), sep="\n")
    return run.returncode == 0 and not ours


def check_canary() -> None:
    files = [*HERE.glob("*.cpp"), HERE / "selftest.cu"]
    library, log = build(files, "selftest_sanitized", FLAGS), LOGS / "canary"
    subprocess.run([sys.executable, "-c", CANARY, str(library)], env=environment(log), capture_output=True)
    if not any("heap-buffer-overflow" in report and "selftest.cu" in report for report in reports(log)):
        sys.exit(f"the sanitizers do not see a write past the end of a tensor (see {LOGS})")


def main() -> None:
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    check_canary()
    cpu = run_tests("cpu", build(cpu_sources(), "cpu_sanitized", FLAGS), *sys.argv[1:])
    emulated = build(sources(), "bevkd_sanitized", FLAGS)
    cuda = run_tests("emulated-cuda", emulated, "--emulated-cuda", *sys.argv[1:])
    print(f"logs are in {LOGS.relative_to(ROOT)}")
    sys.exit(not (cpu and cuda))


if __name__ == "__main__":
    main()

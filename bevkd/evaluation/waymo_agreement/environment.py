"""The official package in an environment of its own: TensorFlow 2.13 and numpy 1.23 exclude a current PyTorch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bevkd.errors import ConfigError

PACKAGE = "waymo-open-dataset-tf-2-12-0"
RELEASE = f"{PACKAGE}==1.6.7"
#: The package's wheel and its pins have files for these interpreters; 3.12 has no TensorFlow 2.13.
INTERPRETERS = ("3.11", "3.10", "3.9")
CHECK = "import waymo_open_dataset.metrics.ops.py_metrics_ops"


def _has_official_package(python: Path) -> bool:
    try:
        return _call(python, "-c", CHECK).returncode == 0
    except OSError:  # no such file, or nothing that can be run
        return False


def _call(*command: object, timeout: float | None = None) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, env=env, timeout=timeout)


def official_python(given: Path | None, folder: Path) -> Path:
    """An interpreter that has the official package: ``given``, or that of a virtual environment made in ``folder``."""
    if given is not None:
        if not _has_official_package(given):
            raise ConfigError(f"--python {given} cannot import the official metrics; it needs {RELEASE}")
        return given
    python = folder / "bin" / "python"
    if python.exists() and _has_official_package(python):
        return python
    print(f"making the environment {folder} with {RELEASE} (about 1.5 GB, some minutes)", file=sys.stderr)
    base = _base_interpreter()
    for step in (
        [base, "-m", "venv", "--clear", folder],
        [python, "-m", "pip", "--disable-pip-version-check", "install", "-q", RELEASE],
    ):
        done = _call(*step)
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise ConfigError(f"the environment {folder} for {RELEASE} could not be made: {reason}")
    if not _has_official_package(python):
        raise ConfigError(f"{folder} has {RELEASE} but its metrics cannot be imported on this machine")
    return python


def _base_interpreter() -> str:
    for version in INTERPRETERS:
        path = shutil.which(f"python{version}")
        if path:
            return path
    raise ConfigError(f"{RELEASE} needs Python {', '.join(INTERPRETERS)} and none is on PATH; name one with --python")


def run_official(python: Path, script: str, *arguments: object) -> None:
    """A script of this folder in the official environment."""
    done = _call(python, Path(__file__).with_name(script), *arguments)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise ConfigError(f"the official implementation left {script} with code {done.returncode}: {lines[-1]}")

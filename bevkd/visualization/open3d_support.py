"""Can Open3D draw here? What is missing is named with its Debian package, found without importing Open3D."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

# What Open3D's own library and its Vulkan renderer load, and who provides it on Debian and Ubuntu.
LIBRARIES: Mapping[str, str] = {
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libvulkan.so.1": "libvulkan1",
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
}
DRIVER_FOLDERS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
DRIVER_PACKAGE = "mesa-vulkan-drivers"
RENDER_SECONDS = 180


def missing_packages() -> list[str]:
    """Debian packages whose libraries or drivers Open3D needs and this machine lacks."""
    missing = [package for library, package in LIBRARIES.items() if not _loads(library)]
    return missing if _has_driver() else [*missing, DRIVER_PACKAGE]


def why_not() -> str | None:
    """One sentence why Open3D cannot draw here, or None."""
    if importlib.util.find_spec("open3d") is None:
        return "Open3D is not installed (pip install open3d), so the 3D scene is a matplotlib picture."
    missing = missing_packages()
    if missing:
        return (
            f"Open3D cannot draw without the Debian package{'s' if len(missing) > 1 else ''} {', '.join(missing)} "
            f"(apt-get install {' '.join(missing)}), so the 3D scene is a matplotlib picture."
        )
    return None


def render(scene: Mapping[str, np.ndarray], path: Path) -> str | None:
    """Render a scene to a PNG in a child process, because a broken driver ends the process that renders.

    Args:
        scene: arrays as ``open3d_child.py`` reads them.

    Returns:
        None, or one sentence why there is no picture.
    """
    reason = why_not()
    if reason:
        return reason
    child = Path(__file__).with_name("open3d_child.py")
    # Run through runpy in an empty folder, where no file beside the script can shadow a module.
    code = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "scene.npz"), **scene)
        command = [sys.executable, "-c", code, str(child), "scene.npz", str(path.resolve())]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=RENDER_SECONDS)
        except subprocess.TimeoutExpired:
            return f"Open3D drew nothing within {RENDER_SECONDS} s, so the 3D scene is a matplotlib picture."
    if done.returncode == 0 and path.is_file():
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    what = lines[-1] if lines else f"exit status {done.returncode}"
    return f"Open3D cannot draw here ({what}), so the 3D scene is a matplotlib picture."


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _has_driver() -> bool:
    """Whether a Vulkan driver is registered; the loader honours the same two variables."""
    named = os.environ.get("VK_DRIVER_FILES") or os.environ.get("VK_ICD_FILENAMES")
    if named:
        return any(Path(file).is_file() for file in named.split(os.pathsep))
    return any(any(Path(folder).glob("*.json")) for folder in DRIVER_FOLDERS)

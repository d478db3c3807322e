"""One small set, made once and only read."""

import pytest
from nuscenes.nuscenes import NuScenes

from bevkd.datasets.synthetic import create

SMALL = {"frames": 4, "sweeps": 2, "image_size": (64, 176), "scenes": 1, "azimuths": 360, "progress": False}


@pytest.fixture(scope="session")
def small():
    """The parameters of ``small_set``."""
    return SMALL


@pytest.fixture(scope="session")
def small_set(tmp_path_factory):
    """Folder with three scenes of four key frames."""
    return create(tmp_path_factory.mktemp("synthetic") / "set", **SMALL)


@pytest.fixture(scope="session")
def nusc(small_set):
    """The unmodified devkit on it."""
    return NuScenes("v1.0-mini", str(small_set), verbose=False)

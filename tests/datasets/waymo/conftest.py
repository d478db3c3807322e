"""One small Waymo set, made once; tests that break something take a copy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from waymo_checks import SMALL

from bevkd.datasets.synthetic.waymo_create import create_waymo
from bevkd.datasets.waymo.segment import find_segments


@pytest.fixture(scope="session")
def waymo_set(tmp_path_factory) -> Path:
    """Two training segments and one of validation, three frames each: read only."""
    scenes = ["scene-0061", "scene-0553", "scene-0103"]
    return create_waymo(tmp_path_factory.mktemp("waymo") / "set", scenes=scenes, progress=False, **SMALL)


@pytest.fixture
def split(waymo_set, tmp_path) -> Path:
    """A copy of the validation split, which a test may break."""
    return Path(shutil.copytree(waymo_set / "validation", tmp_path / "validation"))


@pytest.fixture
def name(waymo_set) -> str:
    """Context name of the validation split's segment."""
    return find_segments(waymo_set / "validation")[0]


@pytest.fixture
def edit(split, name) -> Callable:
    """``edit(component, change)`` puts ``change(table)`` in the place of a component's table."""

    def edit(component: str, change: Callable[[pa.Table], pa.Table]) -> Path:
        path = split / component / f"{name}.parquet"
        pq.write_table(change(pq.read_table(path)), path)
        return path

    return edit

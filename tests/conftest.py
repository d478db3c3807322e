"""Fixtures that several parts share: the real nuScenes frame, where it is at hand."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class RealFrame:
    """One real key frame: its folder, its info file and that file's content."""

    root: Path
    ann_file: Path
    infos: dict

    @property
    def info(self) -> dict:
        """The one sample's raw info (paths are file names inside ``root``)."""
        return self.infos["data_list"][0]

    def dataset(self, pipeline: list, **kwargs):
        """A ``NuScenesBEVDataset`` of this frame; all files lie flat in ``root``."""
        from bevkd.datasets.nuscenes import NuScenesBEVDataset

        prefix = {"pts": "", "sweeps": "", "img": ""}
        return NuScenesBEVDataset(self.root, self.ann_file, pipeline, data_prefix=prefix, **kwargs)


@pytest.fixture(scope="session")
def real_frame_infos() -> RealFrame:
    """The real frame that BEVKD_REAL_FRAME names; the test is skipped where there is none."""
    root = Path(os.environ.get("BEVKD_REAL_FRAME", REPOSITORY / "../shared/data/nuscenes_frame")).resolve()
    files = sorted(root.glob("*.pkl"))
    if not files:
        pytest.skip(f"no real nuScenes frame in {root} (set BEVKD_REAL_FRAME)")
    from bevkd.datasets import safe_pickle

    return RealFrame(root, files[0], safe_pickle.load(files[0]))


@pytest.fixture(scope="session")
def tiny_nuscenes_readonly(tmp_path_factory) -> Path:
    """A tiny nuScenes folder with infos, shared by the session: do not write into it."""
    import tiny_nuscenes

    from bevkd.datasets.infos import create_infos

    root = tiny_nuscenes.write(tmp_path_factory.mktemp("tiny") / "nuscenes")
    create_infos(root, "v1.0-mini")
    return root


@pytest.fixture
def tiny_nuscenes(tiny_nuscenes_readonly, tmp_path) -> Path:
    """A copy of the tiny nuScenes folder that a test may break."""
    return Path(shutil.copytree(tiny_nuscenes_readonly, tmp_path / "nuscenes"))

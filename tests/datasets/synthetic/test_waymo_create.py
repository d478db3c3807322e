"""The Waymo form of the world: same seed, same bytes; whole or not at all; refusals in one sentence."""

import hashlib
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from bevkd.datasets.synthetic import create
from bevkd.datasets.synthetic.waymo_create import WaymoRecipe, build_drive, create_waymo
from bevkd.datasets.synthetic.waymo_frames import boxes_at, sector_poses
from bevkd.errors import DataError

TINY = {"frames": 2, "image_size": (48, 64), "scenes": ["scene-0103"], "azimuths": 60, "beams": 8, "progress": False}


def digest(root):
    files = sorted(path for path in Path(root).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes_for_any_number_of_workers(tmp_path):
    one, two, other = (
        digest(create_waymo(tmp_path / name, **TINY, workers=workers, seed=seed))
        for name, workers, seed in (("a", 1, 0), ("b", 2, 0), ("c", 2, 1))
    )
    assert one == two
    assert len(one) == 12
    assert not {name for name in one if name in other} - {"bevkd_synthetic.json"}  # segments have other names


def test_labels_follow_the_roof_lidar():
    drive = build_drive(WaymoRecipe(0, 3, (64, 96), ("scene-0103",), 200, 32), "scene-0103")
    world = drive.world
    time = drive.middle(1)
    boxes = boxes_at(world, time, sector_poses(world, drive.rig, time))
    middle = boxes_at(world, time, world.poses(time)[: len(world.actors)])
    moved = np.linalg.norm(boxes[:, :3] - middle[:, :3], axis=1)
    speed = world.speeds(time)
    assert (moved <= speed * 0.05 + 1e-6).all()  # half a turn at most
    assert moved.max() > 0.1
    ahead = (np.abs(np.arctan2(middle[:, 1], middle[:, 0])) < 0.1) & (middle[:, 0] > 10)
    assert ahead.any()
    assert (moved[ahead] <= speed[ahead] * 0.006).all()  # the LiDAR looks ahead in the frame's middle


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 0}, "frames is 0, expected at least 1"),
        ({"image_size": (0, 64)}, "image_size is 0x64"),
        ({"azimuths": 3}, "azimuths is 3"),
        ({"beams": 1}, "beams is 1"),
        ({"seed": -1}, "seed is -1"),
        ({"scenes": ["scene-0062"]}, "nearest: scene-0061"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_bad_parameters_are_named(tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        create_waymo(tmp_path / "set", **{**TINY, **change})
    assert list(tmp_path.iterdir()) == []


def test_the_tool_writes_it_and_replaces_only_synthetic_sets(tmp_path, monkeypatch, capsys):
    tool = str(Path(__file__).parents[3] / "tools" / "create_data.py")
    words = ["--format", "waymo", "--frames", "1", "--image-size", "48", "64", "--azimuths", "60", "--beams", "8"]
    monkeypatch.setattr(sys, "argv", [tool, "synthetic", str(tmp_path / "set"), *words, "--scenes", "scene-0061"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(tool, run_name="__main__")
    assert left.value.code == 0
    assert "wrote" in capsys.readouterr().out
    assert json.loads((tmp_path / "set" / "bevkd_synthetic.json").read_text())["format"] == "waymo"
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["bevkd_synthetic.json", "training"]
    with pytest.raises(DataError, match="already holds a synthetic set"):
        create_waymo(tmp_path / "set", **TINY)
    create_waymo(tmp_path / "set", **TINY, overwrite=True)
    assert (tmp_path / "set" / "validation").is_dir()
    assert create(tmp_path / "other", frames=2, image_size=(64, 64), scenes=["scene-0061"], azimuths=64, progress=False)

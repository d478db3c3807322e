"""Same seed, same bytes; whole or not at all; never over somebody's data."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bevkd.datasets.synthetic import create
from bevkd.errors import DataError

TINY = {"frames": 2, "image_size": (64, 64), "scenes": ["scene-0103"], "azimuths": 128, "progress": False}
writer = sys.modules[create.__module__]


def digest(root):
    files = sorted(path for path in Path(root).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes_for_any_number_of_workers(small_set, small, tmp_path):
    again = create(tmp_path / "again", **small, workers=1)
    assert digest(small_set) == digest(again)


def test_other_seed_other_world(tmp_path):
    a, b = (digest(create(tmp_path / str(seed), **TINY, seed=seed)) for seed in (0, 1))
    pictures = [name for name in a if name.endswith((".jpg", ".bin"))]
    assert pictures
    assert all(a[name] != b[name] for name in pictures)


def test_scenes_do_not_depend_on_their_company(small_set, small, tmp_path):
    alone = digest(create(tmp_path / "alone", **{**small, "scenes": ["scene-0103"]}))
    both = digest(small_set)
    readings = [name for name in alone if name.startswith(("samples", "sweeps"))]
    assert len(readings) == 4 * 7 + 3 * 2
    assert all(alone[name] == both[name] for name in readings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 1}, "frames is 1"),
        ({"sweeps": 10}, "sweeps is 10"),
        ({"image_size": (0, 64)}, "image_size is 0x64"),
        ({"image_size": (64, 100)}, "image_size is 64x100"),
        ({"scenes": ["scene-0062"]}, "nearest: scene-0061"),
        ({"scenes": 9}, "scenes is 9"),
        ({"scenes": []}, "expected one or more"),
        ({"azimuths": 3}, "azimuths is 3"),
        ({"workers": 0}, "workers is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"version": "mini"}, "version is 'mini'"),
    ],
)
def test_bad_parameters_are_named(tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        create(tmp_path / "set", **{**TINY, **change})
    assert list(tmp_path.iterdir()) == []


def test_other_peoples_folders_are_never_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(DataError, match="not a synthetic set"):
        create(tmp_path / "mine", **TINY, overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="not a synthetic set"):
        create(tmp_path / "file", **TINY, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    (tmp_path / "empty").mkdir()
    assert create(tmp_path / "empty", **TINY) == tmp_path / "empty"


def test_a_synthetic_set_is_replaced_only_on_request(tmp_path):
    root = create(tmp_path / "set", **TINY)
    with pytest.raises(DataError, match="already holds"):
        create(root, **TINY, seed=1)
    assert json.loads((root / writer.MARKER).read_text())["seed"] == 0
    create(root, **TINY, seed=1, overwrite=True)
    assert json.loads((root / writer.MARKER).read_text())["seed"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "record_frame", full)
    with pytest.raises(DataError, match="the disk is full"):
        create(tmp_path / "set", **TINY)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_no_set_and_the_next_run_cleans_up(tmp_path):
    root = tmp_path / "set"
    code = f"from bevkd.datasets.synthetic import create; create({str(root)!r}, frames=60, scenes=['scene-0103'])"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    end = time.time() + 60
    while not list(tmp_path.glob(".set.building-*/samples/*/*")) and time.time() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob(".set.building-*"))
    assert not root.exists()
    create(root, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_set_moved_aside_by_a_killed_run_comes_back(tmp_path):
    root = create(tmp_path / "set", **TINY)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    root.rename(tmp_path / f".set.building-{gone.pid}-old")
    with pytest.raises(DataError, match="already holds"):
        create(root, **TINY)
    assert (root / writer.MARKER).is_file()


def test_the_tool_says_what_is_wrong_in_one_sentence(tmp_path):
    tool = Path(__file__).parents[3] / "tools" / "create_data.py"
    command = [sys.executable, str(tool), "synthetic", str(tmp_path / "set"), "--frames", "1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.strip() == "error: frames is 1, expected at least 2 (velocities need two key frames)"
    run = subprocess.run(
        [sys.executable, str(tool), "synthetic", "--help"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0
    assert "example" in run.stdout

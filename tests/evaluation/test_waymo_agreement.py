"""The scenes on which bevkd is compared with the official Waymo metrics, and what is asked of the environment."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bevkd.errors import ConfigError
from bevkd.evaluation.waymo_agreement import KINDS, environment, make_scenes, vectors
from bevkd.evaluation.waymo_agreement.columns import FRAMES_PER_SEGMENT, PERIOD, first_camera

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests/evaluation/waymo_vectors"


def same(one, other) -> bool:
    a, b = one.columns(), other.columns()
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_the_default_is_at_least_200_scenes_and_reproducible():
    scenes = make_scenes()
    assert len(scenes) == 7 * len(KINDS) >= 200
    assert len({scene.name for scene in scenes}) == len(scenes)
    by_name = {scene.name: scene for scene in scenes}
    assert all(same(scene, by_name[scene.name]) for scene in make_scenes(1))
    assert not same(make_scenes(1, seed=1)[0], make_scenes(1)[0])


@pytest.mark.parametrize("name", KINDS)
def test_a_scene_is_what_the_official_op_takes(name):
    columns = KINDS[name](np.random.default_rng(3))
    for side in columns:
        assert {len(v) for v in side.values()} == {len(side["box"])}
        assert side["box"].dtype == np.float32
        assert np.isfinite(side["box"]).all()
        assert set(side["type"]) <= {1, 2, 3, 4}
    predictions, truth = columns
    assert predictions["score"].dtype == np.float32
    assert ((predictions["score"] >= 0) & (predictions["score"] <= 1)).all()
    assert set(truth["difficulty"]) <= {-1, 0, 1, 2}
    assert np.array_equal(truth["camera"], first_camera(truth["synced_box"]))


def test_first_camera_by_hand():
    degrees = np.radians([0.0, 25.0, 25.3, -22.0, -45.0, 69.0, 90.0, -115.0, 116.0, 180.0])
    box = np.zeros((10, 7), np.float32)
    box[:, 0], box[:, 1] = 20 * np.cos(degrees), 20 * np.sin(degrees)
    assert first_camera(box).tolist() == [1, 1, 2, 1, 3, 2, 4, 5, 0, 0]


def test_frames_get_the_official_keys():
    scene = next(scene for scene in make_scenes(1) if scene.name == "many_frames-0")
    columns = scene.columns()
    frame = scene.ground_truth["frame"]
    assert columns["gt.context"][0] == "many_frames-0-0"
    assert columns["gt.context"][-1] == f"many_frames-0-{frame[-1] // FRAMES_PER_SEGMENT}"
    assert np.array_equal(np.diff(columns["gt.time"]), PERIOD * np.diff(frame))


def test_an_interpreter_without_the_official_package_is_refused(tmp_path):
    stub = tmp_path / "python"
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    with pytest.raises(ConfigError, match=r"--python .*cannot import the official metrics; it needs waymo-open"):
        environment.official_python(stub, tmp_path)
    with pytest.raises(ConfigError, match=r"the official implementation left official_run.py with code 1: no message"):
        vectors.evaluate_official(stub, tmp_path)


def test_an_environment_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"needs Python 3.11, 3.10, 3.9 and none is on PATH; name one with --python"):
        environment.official_python(None, tmp_path / "env")
    failing = Path(tmp_path / "python3.11")
    failing.write_text("#!/bin/sh\necho 'no venv here' >&2\nexit 1\n")
    os.chmod(failing, 0o755)
    with pytest.raises(ConfigError, match="could not be made: no venv here"):
        environment.official_python(None, tmp_path / "env")


def test_packing_the_committed_numbers_gives_the_committed_files(tmp_path):
    """The vectors, unpacked into what the official side leaves, are packed again into the same bytes."""
    official = json.loads((VECTORS / "official.json").read_text())
    arrays = dict(np.load(VECTORS / "official_counts.npz"))
    arrays |= {k: v.astype(np.int32) for k, v in arrays.items() if k.endswith(".counts")}
    arrays["scenes"] = list(official["detection"]["scenes"])
    for metric, content in official.items():
        arrays[f"{metric}.breakdowns"] = content["breakdowns"]
        for column in vectors.METRICS[metric]:
            rows = [scene[column] for scene in content["scenes"].values()]
            arrays[f"{metric}.{column}"] = np.array(rows, dtype=np.float32)
    zipfile.ZipFile(VECTORS / "scenes.zip").extractall(tmp_path)
    np.savez(tmp_path / "official.npz", **arrays)
    idle = tmp_path / "python"
    idle.write_text("#!/bin/sh\n")
    idle.chmod(0o755)
    vectors.pack(idle, tmp_path, tmp_path / "packed")
    assert (tmp_path / "packed/official.json").read_text() == (VECTORS / "official.json").read_text()
    assert (tmp_path / "packed/scenes.zip").read_bytes() == (VECTORS / "scenes.zip").read_bytes()
    packed, kept = (dict(np.load(folder / "official_counts.npz")) for folder in (tmp_path / "packed", VECTORS))
    assert packed.keys() == kept.keys()
    assert all(np.array_equal(packed[k], kept[k]) and packed[k].dtype == kept[k].dtype for k in kept)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--predictions", "p.bin"], "--predictions and --ground-truth go together, found one of them"),
        (["--per-kind", "0"], "--per-kind is 0, expected at least 1"),
        (
            ["--python", "/nowhere/python"],
            "--python /nowhere/python cannot import the official metrics; it needs waymo",
        ),
    ],
)
def test_the_tool_refuses_with_one_sentence(flags, sentence):
    command = [sys.executable, "tools/waymo_agreement.py", *flags]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2
    assert run.stderr.startswith(f"error: {sentence}")
    assert len(run.stderr.splitlines()) == 1

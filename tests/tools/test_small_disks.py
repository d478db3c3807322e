"""Tools on a full disk, in a read-only folder and in the place of a file: one sentence, nothing half-written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs/synthetic/lidar_teacher.py")
QUICK = ["--cfg-options", "train_cfg.max_epochs=1", "train_dataloader.num_workers=0",
         "train_dataloader.persistent_workers=False", "val_dataloader.num_workers=0",
         "val_dataloader.persistent_workers=False"]  # fmt: skip


def run(words, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [*map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment, cwd=ROOT, **options)


def on_disk(folder: Path, size: str, left: int, words: list) -> subprocess.CompletedProcess:
    """Run a tool with ``folder`` on a disk of ``size`` of which ``left`` bytes are free; stdout ends with its files."""
    if run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no permission to mount a small disk (unshare -m)")
    script = (
        f"mount -t tmpfs -o size={size} tmpfs {folder} && truncate -s 0 {folder}/filler && "
        f'head -c $(( $(stat -f -c %a {folder}) * 4096 - {left} )) /dev/zero > {folder}/filler; "$@"; '
        f"code=$?; echo FILES; find {folder} -type f -printf '%P %s\\n'; exit $code"
    )
    return run(["unshare", "-m", "bash", "-c", script, "bash", sys.executable, *words], check=False)


def refused(done: subprocess.CompletedProcess) -> str:
    """The one sentence of a tool that left with 2."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr[done.stderr.index("error:") :]


def files(done: subprocess.CompletedProcess) -> list[str]:
    """Names of the files left behind, without the filler."""
    lines = done.stdout.partition("FILES\n")[2].splitlines()
    return [line.rpartition(" ")[0] for line in lines if not line.startswith("filler")]


def test_infos_on_a_full_disk(tiny_nuscenes_readonly, tmp_path):
    words = ["tools/create_data.py", "nuscenes", tiny_nuscenes_readonly, "--out-dir", tmp_path / "o"]
    done = on_disk(tmp_path, "300k", 4096, words)
    assert f"{tmp_path}/o/nuscenes_infos_train.pkl cannot be written: No space left on device (" in refused(done)
    assert files(done) == []


def test_infos_in_the_place_of_a_file(tiny_nuscenes_readonly, tmp_path):
    (tmp_path / "o").write_bytes(b"mine")
    words = ["tools/create_data.py", "nuscenes", tiny_nuscenes_readonly, "--out-dir", tmp_path / "o"]
    sentence = refused(run([sys.executable, *words], check=False))
    assert f"{tmp_path}/o cannot be written or read: File exists" in sentence
    assert (tmp_path / "o").read_bytes() == b"mine"


def test_a_synthetic_set_on_a_small_disk(tmp_path):
    words = ["tools/create_data.py", "synthetic", tmp_path / "o", "--frames", 2, "--scenes", 1, "--image-size", 64, 96]
    done = on_disk(tmp_path, "300k", 100_000, words)
    assert "the disk is full; the unfinished set was removed" in refused(done)
    assert files(done) == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """A synthetic world and a run of one epoch on it, which printed nothing that it should not."""
    folder = tmp_path_factory.mktemp("trained")
    world, work_dir = folder / "world", folder / "run"
    options = ["--frames", 2, "--scenes", 1, "--image-size", 64, 176, "--azimuths", 240, "--workers", 1]
    run([sys.executable, "tools/create_data.py", "synthetic", world, *options], check=True)
    run([sys.executable, "tools/create_data.py", "nuscenes", world], check=True)
    words = ["tools/train.py", CONFIG, "--data-root", world, "--work-dir", work_dir, *QUICK]
    done = run([sys.executable, *words], check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "WARNING" not in done.stdout
    return world, work_dir


@pytest.mark.slow
@pytest.mark.parametrize("left", [290_000, 8192])
@pytest.mark.parametrize("tool", ["train", "test", "export", "visualize", "eval"])
def test_tools_that_run_a_model(trained, tmp_path, tool, left):
    world, run_dir = trained
    data, out, weights = ["--data-root", world], tmp_path / "o", run_dir / "epoch_1.pth"
    words = {
        "train": ["tools/train.py", CONFIG, *data, "--work-dir", out, *QUICK],
        "test": ["tools/test.py", CONFIG, weights, *data, "--work-dir", out],
        "export": ["tools/export_student.py", CONFIG, weights, *data, "--out", out],
        "visualize": ["tools/visualize_bev.py", CONFIG, weights, *data, "--out", out],
        "eval": ["tools/eval_nuscenes.py", "--result", run_dir / "results_nusc.json", *data, "--output-dir", out],
    }[tool]
    done = on_disk(tmp_path, "300k", left, words)
    if done.returncode:  # 290 kB may be enough
        assert str(out) in refused(done)
    else:
        assert left > 8192
    assert not [name for name in files(done) if "partial" in name or Path(name).name.startswith((".epoch", ".student"))]
    assert not [name for name in files(done) if name.endswith((".pth", ".safetensors", "details.json"))] or not (
        done.returncode
    )


@pytest.mark.slow
def test_tools_print_nothing_of_other_packages(trained, tmp_path):
    world, run_dir = trained
    data, weights = ["--data-root", world], run_dir / "epoch_1.pth"
    for words in (
        ["tools/test.py", CONFIG, weights, *data, "--work-dir", tmp_path / "test"],
        ["tools/cache_teacher.py", CONFIG, weights, *data, "--out", tmp_path / "cache"],
        ["tools/export_student.py", CONFIG, weights, *data, "--out", tmp_path / "student"],
        [
            "tools/visualize_bev.py",
            CONFIG,
            weights,
            "--compare",
            CONFIG,
            weights,
            *data,
            "--out",
            tmp_path / "pictures",
        ],
        ["tools/eval_nuscenes.py", "--result", run_dir / "results_nusc.json", *data],
    ):
        done = run([sys.executable, *words], check=False)
        assert (done.returncode, done.stderr) == (0, ""), words[0]
        assert "arning" not in done.stdout

"""Checkpoint files under kills, full disks, cuts and flipped bits."""

import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import time
import zipfile
from types import SimpleNamespace

import pytest
import torch

from bevkd.engine import build_runner
from bevkd.engine import checkpoint as files
from bevkd.errors import CheckpointError
from tests.engine.toy import toy_config


def content(step: int, size: int = 200_000) -> dict:
    return {"meta": {"iter": step}, "state_dict": {"w": torch.full((size,), float(step))}}


def test_saved_as_sha256sum_reads_it_and_read_back(tmp_path):
    path = tmp_path / "a.pth"
    digest = files.save_checkpoint(content(3), path)
    assert (tmp_path / "a.pth.sha256").read_text() == f"{digest}  a.pth\n"
    assert subprocess.run(["sha256sum", "--status", "-c", "a.pth.sha256"], cwd=tmp_path).returncode == 0
    assert files.load_checkpoint(path)["meta"] == {"iter": 3}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth", "a.pth.sha256"]


def test_twenty_kills_during_saving_leave_a_whole_checkpoint(tmp_path):
    """The pointer always names a checkpoint that loads, with one file kept; killed at random moments of 20 savers."""
    rng = random.Random(0)
    context = multiprocessing.get_context("fork")
    last = 0
    for _ in range(20):
        ready = context.Event()
        saver = context.Process(target=_save_forever, args=(tmp_path, last + 1, ready))
        saver.start()
        assert ready.wait(20)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(saver.pid, signal.SIGKILL)
        saver.join()
        complaints = []
        path = files.find_latest(tmp_path, complaints.append)
        assert not complaints, complaints
        assert str(path) == (tmp_path / files.POINTER).read_text()
        found = files.load_checkpoint(path)
        step = found["meta"]["iter"]
        assert step >= last
        assert torch.equal(found["state_dict"]["w"], content(step)["state_dict"]["w"])
        last = step
    assert last >= 20
    files.remove_partials(tmp_path)
    assert not list(tmp_path.glob(".*"))


def _save_forever(folder, step, ready) -> None:
    while True:  # new names and, each third time, an overwritten one
        path = folder / f"iter_{step - step % 3 // 2}.pth"
        files.save_checkpoint(content(step), path)
        files.write_pointer(folder, path)
        for old in folder.glob("iter_*.pth"):
            if old != path:
                files.remove_checkpoint(old)
        step += 1
        ready.set()  # one save is done, the kill meets a later one


@pytest.mark.parametrize("with_sums", [True, False])
@pytest.mark.parametrize("part", [0, 0.01, 0.25, 0.5, 0.9, 0.999])
def test_cut_files_are_refused_with_one_error(tmp_path, part, with_sums):
    path = tmp_path / "a.pth"
    files.save_checkpoint(content(1), path)
    size = int(path.stat().st_size * part)
    os.truncate(path, size)
    if not with_sums:
        (tmp_path / "a.pth.sha256").unlink()
    with pytest.raises(CheckpointError, match=rf"a\.pth.*({size} bytes|empty|cut|truncated|corrupt)"):
        files.load_checkpoint(path)


@pytest.mark.parametrize("with_sums", [True, False])
def test_one_flipped_bit_in_each_tensor_is_refused(tmp_path, with_sums):
    path = tmp_path / "a.pth"
    tensors = {f"w{i}": torch.arange(50.0) + i for i in range(20)}
    files.save_checkpoint({"state_dict": tensors}, path)
    if not with_sums:
        (tmp_path / "a.pth.sha256").unlink()
    whole = path.read_bytes()
    refused = 0
    for tensor in tensors.values():
        at = whole.index(tensor.numpy().tobytes()) + 40
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        torch.load(path, weights_only=True)  # torch alone does not notice
        with pytest.raises(CheckpointError, match=r"altered|corrupt"):
            files.load_checkpoint(path)
        refused += 1
    assert refused == 20
    path.write_bytes(whole)
    files.load_checkpoint(path)


def test_a_kill_between_the_renames_of_an_overwrite_keeps_the_pair_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    files.save_checkpoint(content(1), path)
    monkeypatch.setattr(files.os, "replace", _dies_at(path, os.replace))
    with pytest.raises(KeyboardInterrupt):
        files.save_checkpoint(content(2), path)
    assert files.load_checkpoint(path)["meta"]["iter"] == 1


def _dies_at(name, replace):
    def dying(source, target):
        if target == name:
            raise KeyboardInterrupt
        replace(source, target)

    return dying


def _with_a_small_disk(work_dir) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        files.save_checkpoint(content(2), work_dir / "b.pth")
    except CheckpointError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (work_dir / "sentence").write_text(str(error))
        os._exit(2)


def test_full_disk_leaves_the_old_checkpoint_and_says_what_was_needed(tmp_path, in_child):
    files.save_checkpoint(content(1), tmp_path / "a.pth")
    files.write_pointer(tmp_path, tmp_path / "a.pth")
    assert in_child(_with_a_small_disk, tmp_path) == 2
    sentence = (tmp_path / "sentence").read_text()
    assert "b.pth needs 80" in sentence  # 200,000 floats: 800 kB and a little
    assert "bytes and" in sentence
    assert "are free" in sentence
    (tmp_path / "sentence").unlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth", "a.pth.sha256", "last_checkpoint"]
    assert files.load_checkpoint(files.find_latest(tmp_path))["meta"]["iter"] == 1


@pytest.mark.parametrize("fault", ["missing", "empty pointer", "cut", "garbage"])
def test_an_unusable_pointer_falls_back_to_the_newest_valid_file(tmp_path, fault):
    for step in (1, 2, 3):
        files.save_checkpoint(content(step, 100), tmp_path / f"epoch_{step}.pth")
        os.utime(tmp_path / f"epoch_{step}.pth", (step, step))
    files.write_pointer(tmp_path, tmp_path / "epoch_3.pth")
    named = tmp_path / "epoch_3.pth"
    if fault == "missing":
        named.unlink()
    elif fault == "empty pointer":
        (tmp_path / files.POINTER).write_text("")
        named.unlink()
    elif fault == "cut":
        os.truncate(named, 300)
    else:
        named.write_bytes(b"no checkpoint")
    said = []
    assert files.find_latest(tmp_path, said.append) == tmp_path / "epoch_2.pth"
    assert "going on from the newest valid checkpoint" in said[-1]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (bytes(range(256)), "binary data"),
        (b"", "an empty file"),
        (b"a\x00\x01", "no printable text"),
        (None, "Is a dir"),
    ],
)
def test_a_pointer_that_is_rubbish_is_said_and_passed_over(tmp_path, text, why):
    files.save_checkpoint(content(1), tmp_path / "epoch_1.pth")
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "broken.pth").symlink_to(tmp_path / "gone")
    pointer = tmp_path / files.POINTER
    pointer.mkdir() if text is None else pointer.write_bytes(text)
    said = []
    assert files.find_latest(tmp_path, said.append) == tmp_path / "epoch_1.pth"
    assert f"{pointer} cannot be read ({why}" in said[0]
    assert len(said) == 2


@pytest.mark.parametrize("name", ["elsewhere/none.pth", "x" * 5000, "{folder}", "epoch_1.pth\r\n"])
def test_a_pointer_to_no_file_or_with_a_windows_line_end(tmp_path, name):
    files.save_checkpoint(content(1), tmp_path / "epoch_1.pth")
    (tmp_path / files.POINTER).write_bytes(name.format(folder=tmp_path).encode())
    assert files.find_latest(tmp_path, lambda line: None) == tmp_path / "epoch_1.pth"


def test_a_hash_file_of_rubbish_passes_its_checkpoint_over(tmp_path):
    for step in (1, 2):
        files.save_checkpoint(content(step), tmp_path / f"epoch_{step}.pth")
    (tmp_path / "epoch_2.pth.sha256").write_bytes(bytes(range(256)))
    files.write_pointer(tmp_path, tmp_path / "epoch_2.pth")
    said = []
    assert files.find_latest(tmp_path, said.append) == tmp_path / "epoch_1.pth"
    assert "epoch_2.pth.sha256 holds binary data" in said[0]
    files.save_checkpoint(content(3), tmp_path / "epoch_2.pth")  # and it is no obstacle to writing anew
    assert files.load_checkpoint(tmp_path / "epoch_2.pth")["meta"]["iter"] == 3


def test_a_folder_that_was_copied_goes_on_from_its_own_files(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    files.save_checkpoint(content(1), old / "epoch_1.pth")
    files.write_pointer(old, old / "epoch_1.pth")
    shutil.copytree(old, new)
    assert files.find_latest(new) == new / "epoch_1.pth"


def test_a_folder_that_was_moved_keeps_its_pointer(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    files.save_checkpoint(content(1), old / "epoch_1.pth")
    files.write_pointer(old, old / "epoch_1.pth")
    old.rename(new)
    assert files.find_latest(new) == new / "epoch_1.pth"


def test_no_checkpoint_at_all(tmp_path):
    assert files.find_latest(tmp_path) is None


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path):
    torch.save({"state_dict": {}, "meta": Evil(tmp_path / "marker")}, tmp_path / "evil.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Evil(tmp_path / "marker")))
    for name in ("evil.pth", "old.pth"):
        with pytest.raises(CheckpointError, match=name):
            files.load_checkpoint(tmp_path / name)
    assert files.find_latest(tmp_path) is None
    assert not (tmp_path / "marker").exists()


def test_pruning_keeps_the_last_ones_and_mmengine_reads_them(tmp_path):
    from mmengine.runner import find_latest_checkpoint

    hook = {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 2, "save_best": "mean"}
    build_runner(toy_config(tmp_path, default_hooks={"checkpoint": {**hook, "rule": "less"}})).train()
    names = sorted(p.name for p in tmp_path.glob("epoch_*.pth"))
    assert names == ["epoch_3.pth", "epoch_4.pth"]
    assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_4.pth")
    assert len(list(tmp_path.glob("best_*.pth"))) == 1
    assert len(list(tmp_path.glob("*.sha256"))) == 3
    with zipfile.ZipFile(tmp_path / "epoch_4.pth") as archive:
        assert archive.testzip() is None


def test_a_run_killed_between_save_and_prune_prunes_when_it_goes_on(tmp_path, in_child):
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 1}}

    def killed():
        import bevkd.engine.checkpoint_hook as hook

        hook.remove_checkpoint = lambda path: os.kill(os.getpid(), signal.SIGKILL)
        build_runner(toy_config(tmp_path, default_hooks=hooks)).train()

    assert in_child(killed) == -9
    assert {p.name for p in tmp_path.glob("epoch_*.pth")} == {"epoch_1.pth", "epoch_2.pth"}
    build_runner(toy_config(tmp_path, default_hooks=hooks, resume=True)).train()
    assert {p.name for p in tmp_path.glob("epoch_*.pth")} == {"epoch_4.pth"}


def test_room_for_the_weights_is_asked_for_before_training(tmp_path, monkeypatch):
    model = torch.nn.Linear(100, 10)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: SimpleNamespace(free=4040))
    files.require_room(tmp_path, model)
    model.extra = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(CheckpointError, match=r"needs more than 4044 bytes and 4040 are free"):
        files.require_room(tmp_path, model)

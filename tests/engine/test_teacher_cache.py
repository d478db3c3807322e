"""tools/cache_teacher.py: a cache that equals the live teacher, survives kills and full disks, and knows its key."""

import errno
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import pseudo_collate

from bevkd.distill import CachedDenseTeacher, CachedForegroundTeacher, LiveTeacher, UniDistill
from bevkd.distill.cache.key import CacheKey
from bevkd.distill.cache.records import require_finite
from bevkd.distill.cache.shards import ShardReader
from bevkd.engine.lock import WorkDirLock
from bevkd.engine.teacher_cache import cache_teacher
from bevkd.errors import ConfigError, DataError
from bevkd.structures.targets import Targets

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def batch(trained_teacher):
    """A live teacher and one preprocessed batch of the training set."""
    from mmengine.config import Config

    from bevkd.engine.teacher_cache import _dataset

    live = LiveTeacher(*map(str, trained_teacher))
    live.load()
    dataset = _dataset(Config.fromfile(trained_teacher[0]))
    data = live.model.data_preprocessor(pseudo_collate([dataset[i] for i in range(3)]), False)
    return live, data["inputs"], data["data_samples"], [dataset.get_data_info(i)["token"] for i in range(len(dataset))]


def test_both_modes_equal_the_live_teacher(cache_tool, tmp_path, batch, trained_teacher, tiny_nuscenes_readonly):
    live, inputs, samples, tokens = batch
    torch.manual_seed(2)
    grid = live.grid
    student = {name: torch.randn(3, c, *grid.shape) for name, c in (("low", 8), ("high", 12))}
    theirs = live(inputs, samples, CPU)
    student["head"] = [{key: torch.randn_like(maps) for key, maps in task.items()} for task in theirs["head"]]
    targets = Targets.from_data_samples(samples, grid)
    assert sum(map(len, targets.boxes)) > 3
    expected = {name: loss.item() for name, loss in UniDistill()(student, theirs, targets).items()}
    assert min(expected.values()) > 0.1
    for kind, mode in ((CachedForegroundTeacher, "foreground"), (CachedDenseTeacher, "dense")):
        out = tmp_path / mode
        code, said, _ = cache_tool(out, "--mode", mode, "--dtype", "float32")
        assert code == 0
        assert f"{len(tokens)} samples will take about" in said
        assert "eta 0:00:00" in said
        cached = kind(out, checkpoint=trained_teacher[1], ann_file=tiny_nuscenes_readonly / "nuscenes_infos_train.pkl")
        found = UniDistill()(student, cached(None, samples, CPU), targets)
        assert {name: loss.item() for name, loss in found.items()} == pytest.approx(expected, abs=1e-4)
        assert cached.classes() == live.classes()
        assert cached.info() == {**live.info(), "config": str(trained_teacher[0])}


def test_the_estimate_is_near_and_a_full_disk_is_refused_before_it_starts(cache_tool, tmp_path, monkeypatch):
    code, said, _ = cache_tool(tmp_path / "a", "--mode", "dense")
    estimate = float(said.split("will take about ")[1].split(" GB")[0]) * 1e9
    written = sum(path.stat().st_size for path in (tmp_path / "a").glob("*.safetensors"))
    assert code == 0
    assert estimate == pytest.approx(written, rel=0.1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    code, _, said = cache_tool(tmp_path / "b")
    assert code == 2
    assert "GB and 0 GB are free on its disk, expected room for it" in said
    assert not list((tmp_path / "b").glob("*.safetensors"))


def test_what_is_there_is_kept_and_what_is_missing_is_made(cache_tool, tmp_path):
    out = tmp_path / "cache"
    assert cache_tool(out)[0] == 0
    (shard,) = out.glob("*.safetensors")
    before = shard.stat().st_mtime_ns
    code, said, _ = cache_tool(out)
    assert code == 0
    assert "is complete, 0 samples were added" in said
    assert shard.stat().st_mtime_ns == before
    shard.unlink()
    (out / ".shard_000009.safetensors.1.partial").write_bytes(b"half")
    assert "is complete, 6 samples were added" in cache_tool(out)[1]
    assert not list(out.glob(".*.partial"))


def fill(trained_teacher, out, shard_bytes=1):
    """What the tool runs, with a shard for every sample."""
    from mmengine.config import Config

    return cache_teacher(
        Config.fromfile(trained_teacher[0]), trained_teacher[1], out, batch_size=1, workers=0, shard_bytes=shard_bytes
    )


def test_a_kill_in_the_middle_of_a_shard(trained_teacher, tmp_path, batch, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    fill(trained_teacher, whole, shard_bytes=1 << 20)

    def die(descriptor):
        if "shard_000002" in os.readlink(f"/proc/self/fd/{descriptor}"):
            os.ftruncate(descriptor, 100)
            os.kill(os.getpid(), signal.SIGKILL)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked child has no threads
    child = os.fork()
    if child == 0:
        os.fsync = die
        try:
            fill(trained_teacher, out)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    torch.set_num_threads(threads)
    assert len(list(out.glob("shard_*"))) == 2
    assert len(list(out.glob(".shard_000002*.partial"))) == 1
    with pytest.raises(DataError, match=r"holds 2 of 6 samples, expected all: run tools/cache_teacher.py again"):
        CachedForegroundTeacher(out).load()
    assert fill(trained_teacher, out) == 4
    assert not list(out.glob(".*.partial"))
    key = CacheKey.read(out).digest()
    for token in batch[3]:
        one, other = (ShardReader(folder, key).read(token) for folder in (whole, out))
        assert all(torch.equal(one[part], other[part]) for part in one)


def test_a_disk_that_fills_up(trained_teacher, tmp_path, monkeypatch):
    sync = os.fsync

    def full(descriptor):
        if "shard_000003" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(
            DataError, match=r"shard_000003\S* cannot be written: No space left on device \(.*MB needed"
        ):
            fill(trained_teacher, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if "lock" not in path.name) == [
        "cache.json", *(f"shard_{number:06d}.safetensors" for number in range(3)),
    ]  # fmt: skip
    assert fill(trained_teacher, tmp_path) == 3
    CachedForegroundTeacher(tmp_path).load()


def test_a_second_writer_is_refused(cache_tool, tmp_path):
    first = WorkDirLock(tmp_path)
    first.acquire()
    code, _, said = cache_tool(tmp_path)
    assert code == 2
    assert said.startswith(f"error: the cache {tmp_path} is in use by process {os.getpid()}")
    assert "give another --out" in said
    first.release()


def test_a_stale_folder_is_not_written_to(cache_tool, tmp_path, trained_teacher):
    assert cache_tool(tmp_path)[0] == 0
    for words, found in (
        (["--mode", "dense"], "has mode foreground, expected dense"),
        (["--dtype", "bfloat16"], "has dtype float16, expected bfloat16"),
        (["--taps", "low=bev_encoder"], "has taps {'low': 'bev_encoder:input', "),
        (
            ["--cfg-options", "model.lidar_encoder.max_points=8"],
            "has model.lidar_encoder.max_points 4, expected 8: make",
        ),
        (
            ["--cfg-options", "+model.lidar_encoder.z_range=(-4,2)"],
            "has model.lidar_encoder.z_range unset, expected [-4, 2]: make",
        ),
        (
            ["--cfg-options", "test_dataloader.dataset.pipeline.0.sweeps=1"],
            "has data.pipeline.0.sweeps 0, expected 1: make the cache again with tools/cache_teacher.py, or point",
        ),
    ):
        code, _, said = cache_tool(tmp_path, *words)
        assert code == 2
        assert f"error: the cache {tmp_path} {found}" in said
    other = torch.load(trained_teacher[1], weights_only=True)
    other["state_dict"] = {key: value + 1 for key, value in other["state_dict"].items()}
    torch.save(other, tmp_path / "other.pth")
    code, _, said = cache_tool(tmp_path, "--cfg-options", "model.head.share_conv_channel=8")
    assert code == 0
    with pytest.raises(ConfigError, match=r"has teacher_sha256 [0-9a-f]{12} \(.*teacher.pth\), expected [0-9a-f]{12}"):
        fill((trained_teacher[0], tmp_path / "other.pth"), tmp_path)


def test_what_cannot_be_cached(cache_tool, tmp_path, trained_teacher):
    assert "--taps is ['high'], expected NAME=PATH" in cache_tool(tmp_path, "--taps", "high")[2]
    assert "has no train_dataloader.dataset" in cache_tool(tmp_path, "--cfg-options", "train_dataloader=None")[2]
    augmenting = tmp_path / "augmenting.py"
    augmenting.write_text(trained_teacher[0].read_text() + "\ntest_dataloader = train_dataloader\n")
    with pytest.raises(ConfigError, match=r"sample \w+ was augmented, expected a test pipeline without BEVAugment"):
        fill((augmenting, trained_teacher[1]), tmp_path / "out")
    assert not list((tmp_path / "out").glob("[a-z]*"))


def test_numbers_that_are_none_or_too_large():
    record = {"low": torch.tensor([float("inf")]), "cells": torch.zeros(1, dtype=torch.int32)}
    with pytest.raises(DataError, match=r"sample a: the teacher's 'low' has NaN.* as float16, which ends at 65504"):
        require_finite(record, "a", torch.float16)
    with pytest.raises(DataError, match=r"'low' has NaN or infinite numbers$"):
        require_finite(record, "a", torch.float32)
    require_finite({"low": torch.zeros(1)}, "a", torch.float16)

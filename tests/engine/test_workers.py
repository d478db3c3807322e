"""Data workers: a full /dev/shm, a death and an error of the queue never make a run wait for ever.

The hang is that of open-mmlab/mmdetection#1997 and pytorch/pytorch#1355.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.multiprocessing.reductions import reduce_storage
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from bevkd.engine import workers
from bevkd.engine.workers import WorkerError, guard_workers, worker_errors


class Numbers(Dataset):
    """Sample i is a dict of tensors that hold i, 40 kB of them."""

    def __init__(self, act=None):
        self.act = act

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if self.act and index == 2:
            self.act()
        return {
            "map": torch.full((10_000,), float(index)),
            "every_other": torch.arange(6)[::2],
            "empty": torch.empty(0),
        }


def as_list(samples):
    return samples


def loader(act=None, count=2, **options):
    return guard_workers(DataLoader(Numbers(act), 2, num_workers=count, collate_fn=as_list, **options))


def check(batches):
    """Every sample, in order, whole, and writable."""
    samples = [sample for batch in batches for sample in batch]
    assert [sample["map"].add_(1)[-1].item() for sample in samples] == list(range(1, 9))
    assert all(sample["every_other"].tolist() == [0, 2, 4] and len(sample["empty"]) == 0 for sample in samples)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(workers, "print_log", lambda text, *args: lines.append(text))
    monkeypatch.setattr(workers._warn_once, "done", False)
    return lines


def refuse(storage):
    if not storage.nbytes():
        return reduce_storage(storage)
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)")


@pytest.mark.parametrize("count", [0, 2])
def test_batches_are_those_of_a_plain_loader(said, count):
    check(loader(count=count))
    assert said == []


def test_without_shared_memory_the_same_batches_come_and_one_warning(said, monkeypatch):
    monkeypatch.setattr(workers, "reduce_storage", refuse)
    check(loader())
    check(loader(persistent_workers=True))
    assert len(said) == 1
    assert "/dev/shm (" in said[0]
    assert "MiB" in said[0]
    for help in ("fewer workers", "smaller batch", "--shm-size", "--ipc=host"):
        assert help in said[0]


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by signal: Killed"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "was killed by signal: Segmentation fault"),
        (lambda: os._exit(3), "exited unexpectedly"),
    ],
)
def test_a_worker_that_dies_is_named(act, sentence):
    with pytest.raises(WorkerError, match=rf"^data worker [\d, ]+ {sentence}; expected .*num_workers"), worker_errors():
        list(loader(act))


def test_a_batch_that_cannot_be_pickled_is_an_error_of_the_run():
    with pytest.raises(Exception, match="pickle"):
        list(guard_workers(DataLoader(Numbers(), 2, num_workers=1, collate_fn=lambda samples: lambda: samples)))


def test_an_error_of_the_queue_ends_the_worker(capfd):
    def fail():
        raise type("Local", (Exception,), {})("its class cannot be pickled")

    with pytest.raises(WorkerError, match="exited unexpectedly"), worker_errors():
        list(loader(fail, count=1))
    assert "Local" in capfd.readouterr().err


@pytest.mark.parametrize("code", [-9, 1])
def test_a_death_that_is_felt_as_a_broken_pipe_is_named(code):
    """torch tells of a death once, and a destructor that runs just then may have swallowed it."""
    iterator = object.__new__(_MultiProcessingDataLoaderIter)
    iterator._workers = [SimpleNamespace(pid=7, exitcode=None), SimpleNamespace(pid=8, exitcode=code)]
    iterator._shutdown = True  # for its destructor

    def fetch(self):
        raise ConnectionResetError("Connection reset by peer")

    how = "was killed by signal: Killed" if code < 0 else "exited unexpectedly"
    with pytest.raises(WorkerError, match=f"^data worker 8 {how}"), worker_errors():
        fetch(iterator)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="something else"), worker_errors():
        raise RuntimeError("something else")
    with pytest.raises(ConnectionResetError, match="by a server"), worker_errors():
        raise ConnectionResetError("by a server")


def in_small_shm(size: str, code: str) -> subprocess.CompletedProcess:
    """Run Python with a /dev/shm of ``size``, where this process may make one."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a small /dev/shm (unshare -m)")
    script = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$0" -c "$1"'
    here = Path(__file__)
    paths = os.pathsep.join([str(here.parent), str(here.parents[2])])
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", script, sys.executable, f"from test_workers import *\n{code}"],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_small_shm_costs_speed_alone():
    done = in_small_shm("1100k", "check(loader())\ncheck(loader(persistent_workers=True))")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("/dev/shm (1.07 MiB") == 1


def test_a_shm_without_room_for_locks_is_named_at_once():
    done = in_small_shm("64k", "loader(count=1)")
    assert "WorkerError: /dev/shm (0.0625 MiB, 0.0625 free) has no room for the locks of 1 data workers" in done.stderr
    assert in_small_shm("64k", "check(loader(count=0))").returncode == 0

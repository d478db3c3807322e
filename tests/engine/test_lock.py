"""One run per work folder."""

import multiprocessing
import os
import signal
import socket

import pytest

from bevkd.engine import build_runner
from bevkd.engine.lock import LOCK, WorkDirLock
from bevkd.errors import ConfigError
from tests.engine.toy import toy_config


def _hold(folder, ready) -> None:
    WorkDirLock(folder).acquire()
    ready.set()
    signal.pause()


@pytest.fixture
def holder(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(10)
    yield process
    process.kill()
    process.join()


def test_a_second_run_is_refused_with_pid_and_host(tmp_path, holder):
    with pytest.raises(ConfigError, match=rf"in use by process {holder.pid} on {socket.gethostname()}"):
        build_runner(toy_config(tmp_path)).train()
    assert not list(tmp_path.glob("*.pth"))


def test_the_lock_of_a_killed_run_is_taken_over(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    lock = WorkDirLock(tmp_path)
    lock.acquire()
    assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    lock.release()


def test_released_locks_can_be_taken_again(tmp_path):
    for _ in range(2):
        lock = WorkDirLock(tmp_path)
        lock.acquire()
        lock.release()
        lock.release()


@pytest.mark.parametrize("folder", ["/proc/run", "file/run"])
def test_a_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match=f"work_dir {folder} cannot be written"):
        build_runner(toy_config(folder))

"""tools/train.py and tools/test.py as a user calls them."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN, TEST = REPOSITORY / "tools" / "train.py", REPOSITORY / "tools" / "test.py"
SLOW_STEPS = """
import time
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
@HOOKS.register_module(force=True)
class Slow(Hook):
    def after_train_iter(self, *args, **kwargs):
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A config file of the toy run."""
    from tests.engine.toy import toy_config

    path = tmp_path_factory.mktemp("config") / "toy.py"
    cfg = toy_config("unset")
    cfg.pop("work_dir")
    cfg.dump(path)
    return path


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run a tool in this process; returns exit code, stdout and stderr."""

    def run(path, *words):
        monkeypatch.setattr("sys.argv", [str(path), *map(str, words)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(path), run_name="__main__")
        return left.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("script", [TRAIN, TEST])
def test_help_has_an_example_and_imports_nothing_heavy(script):
    probe = f"""
import runpy, sys
sys.argv = [{str(script)!r}, "--help"]
try:
    runpy.run_path({str(script)!r}, run_name="__main__")
except SystemExit as done:
    assert not done.code
heavy = {{"torch", "mmengine", "mmdet3d"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout


def test_train_then_score_then_refuse(tool, config, tmp_path):
    words = ["--work-dir", tmp_path, "--seed", 5, "--cfg-options", "train_cfg.max_epochs=1"]
    code, out, _ = tool(TRAIN, config, *words)
    assert code == 0
    assert "eta:" in out
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 4
    code, out, _ = tool(TEST, config, tmp_path / "epoch_1.pth")
    assert code == 0
    assert re.search(r"^mean +-?\d\.\d{4}$", out, re.MULTILINE)
    code, _, err = tool(TEST, config, tmp_path / "epoch_1.pth", "--cfg-options", "+model.width=16")
    assert code == 2
    assert re.fullmatch(
        r"error: checkpoint .* does not fit ToyModel: .*net\.0\.weight \(8, 4\) against \(16, 4\).*\n", err
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothere.py"], "config nothere.py does not exist"),
        (["CONFIG", "--cfg-options", "model.widht=3"], "model has no key 'widht'; there is: type"),
        (["CONFIG", "--cfg-options", "+model.widht=3"], "ToyModel takes no parameter 'widht'; nearest: width"),
        (["CONFIG", "--work-dir", "/proc/nowhere"], "work_dir /proc/nowhere cannot be written"),
        (["CONFIG", "--resume", "nothere.pth"], "checkpoint nothere.pth is missing"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(tool, config, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    code, _, err = tool(TRAIN, *[config if word == "CONFIG" else word for word in words])
    assert code == 2
    assert err.startswith("error: ")
    assert sentence in err
    assert err.count("\n") == 1


def test_sigterm_saves_and_leaves_with_143_and_resume_goes_on(tool, config, tmp_path, monkeypatch):
    (tmp_path / "slow_steps.py").write_text(SLOW_STEPS)
    text = config.read_text() + "custom_hooks = [dict(type='Slow')]\ncustom_imports['imports'].append('slow_steps')\n"
    (tmp_path / "slow.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TRAIN), str(tmp_path / "slow.py"), "--work-dir", str(tmp_path / "run")]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "epoch_1.pth").exists():
        assert run.poll() is None, run.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    assert run.wait(30) == 143
    stopped = Path((tmp_path / "run" / "last_checkpoint").read_text())
    assert stopped.name.startswith("stopped_iter_")
    monkeypatch.syspath_prepend(tmp_path)
    code, out, _ = tool(*command[1:], "--resume")
    assert code == 0
    assert f"weights loaded from {stopped}" in out
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["total_iters"] == 16

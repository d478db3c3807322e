"""A run from a pure-Python config is that of its text twin, to the last bit, a resumed one too."""

import pytest

from bevkd.engine import build_runner, load_config
from bevkd.engine.config import apply_flags, parse_options
from bevkd.errors import ConfigError
from tests.engine.toy import read_log, toy_config

IMPORTS = """
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.optim import AdamW
from mmengine.optim.scheduler.lr_scheduler import CosineAnnealingLR
from tests.engine.toy import LossLog, ToyData, ToyMetric, ToyModel
"""
NAMES = (
    *("DefaultSampler", "CheckpointHook", "OptimWrapper", "EpochBasedTrainLoop", "IterBasedTrainLoop", "AdamW"),
    *("CosineAnnealingLR", "LossLog", "ToyData", "ToyMetric", "ToyModel"),
)
LOOPS = {
    "epochs": {"type": "EpochBasedTrainLoop", "max_epochs": 4, "val_interval": 2},
    "steps": {"type": "IterBasedTrainLoop", "max_iters": 16, "val_interval": 8},
}


@pytest.fixture
def pair(tmp_path, request):
    """A text config and its pure-Python twin."""
    cfg = toy_config("unset", train_cfg=LOOPS[request.param])
    cfg.pop("work_dir")
    cfg.dump(tmp_path / "text.py")
    text = (tmp_path / "text.py").read_text()
    for name in NAMES:
        text = text.replace(f"type='{name}'", f"type={name}")
    (tmp_path / "lazy.py").write_text(IMPORTS + text)
    return tmp_path / "text.py", tmp_path / "lazy.py"


def run(path, work_dir, *options, **flags):
    cfg = load_config(path, parse_options(options))
    apply_flags(cfg, work_dir=str(work_dir), **flags)
    build_runner(cfg).train()
    return read_log(work_dir)


@pytest.mark.parametrize("pair", LOOPS, indirect=True)
def test_it_trains_like_its_twin_and_resumes_exactly(pair, tmp_path, in_child):
    text, lazy = pair
    losses = run(text, tmp_path / "text")
    assert run(lazy, tmp_path / "lazy") == losses
    interval = ["default_hooks.checkpoint.interval=3", "+default_hooks.checkpoint.by_epoch=False"]
    kill = ["custom_hooks.0.at=7"] if "at=" in lazy.read_text() else ["+custom_hooks.0.at=7"]
    assert in_child(run, lazy, tmp_path / "killed", *interval, *kill) < 0
    assert run(lazy, tmp_path / "killed", *interval, resume="auto") == losses


@pytest.mark.parametrize("pair", ["epochs"], indirect=True)
def test_the_run_s_own_config_trains_on_as_well(pair, tmp_path):
    _, lazy = pair
    first = run(lazy, tmp_path / "first", "train_cfg.max_epochs=1")
    assert run(tmp_path / "first" / "lazy.py", tmp_path / "second") == first


@pytest.mark.parametrize("pair", ["epochs"], indirect=True)
def test_a_wrong_import_is_one_sentence(pair):
    lazy = pair[1]
    lazy.write_text(lazy.read_text().replace("import OptimWrapper", "import OptimWraper as OptimWrapper"))
    with pytest.raises(ConfigError, match=r"lazy.py cannot be read: ImportError: Failed to import OptimWraper from mm"):
        load_config(lazy)

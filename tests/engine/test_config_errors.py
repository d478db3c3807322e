"""A wrong config in one sentence; a bug with its traceback."""

from pathlib import Path

import pytest
import torch

from bevkd.engine import build_runner
from bevkd.engine.errors import config_errors
from bevkd.errors import ConfigError, DataError
from tests.engine.toy import MODELS, ToyModel, toy_config


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("model.type", "ToyModle", "type 'ToyModle' is not in the model registry; nearest: ToyModel"),
        ("model.widht", 4, "ToyModel takes no parameter 'widht'; nearest: width"),
        ("train_dataloader.dataset.lenght", 4, "ToyData takes no parameter 'lenght'; nearest: length"),
        ("train_dataloader.num_worker", 4, "DataLoader takes no parameter 'num_worker'; nearest: num_workers"),
        ("train_dataloader.sampler.type", "DefaultSmapler", "type 'DefaultSmapler' .*; nearest: DefaultSampler"),
        ("train_cfg.max_epoch", 4, "ResumableEpochLoop takes no parameter 'max_epoch'; nearest: max_epochs"),
        ("optim_wrapper.optimizer.weight_decya", 1, "AdamW takes no parameter 'weight_decya'; nearest: weight_decay"),
        ("optim_wrapper.clip_gard", {}, "OptimWrapper takes no parameter 'clip_gard'; nearest: clip_grad"),
        ("val_evaluator.type", "ToyMetrik", "type 'ToyMetrik' .*; nearest: ToyMetric"),
        ("param_scheduler.0.T_maxx", 3, "CosineAnnealingLR takes no parameter 'T_maxx'; nearest: T_max"),
        ("randomness.sede", 3, "set_randomness takes no parameter 'sede'; nearest: seed"),
    ],
)
def test_wrong_keys_name_the_class_and_the_nearest_parameter(tmp_path, key, value, sentence):
    cfg = toy_config(tmp_path)
    cfg.merge_from_dict({key: value}, allow_list_keys=True)
    with pytest.raises(ConfigError, match=sentence):
        build_runner(cfg).train()


def test_a_missing_parameter_is_named(tmp_path):
    with pytest.raises(ConfigError, match="NeedsChannels lacks the parameter 'channels'"):
        build_runner(toy_config(tmp_path, model={"type": "NeedsChannels"}))


@MODELS.register_module()
class NeedsChannels(ToyModel):
    def __init__(self, channels: int) -> None:
        super().__init__(width=channels)


@MODELS.register_module()
class HasBug(ToyModel):
    def __init__(self) -> None:
        super().__init__()
        torch.nn.Linear(1, 1, unknown=3)


def test_a_bug_in_a_constructor_keeps_its_traceback(tmp_path):
    with pytest.raises(TypeError, match="unknown"):
        build_runner(toy_config(tmp_path, model={"type": "HasBug"}))


def test_a_missing_file_is_named():
    with pytest.raises(DataError, match=r"config c\.py needs infos\.pkl, which does not exist"), config_errors("c.py"):
        Path("infos.pkl").read_bytes()


def test_other_key_errors_pass():
    with pytest.raises(KeyError), config_errors("c.py"):
        {}["a"]


def test_a_root_without_tables_is_named():
    sentence = r"config c\.py evaluates with the tables in world/v1\.0-mini, which does not exist"
    with pytest.raises(DataError, match=sentence), config_errors("c.py"):
        raise AssertionError("Database version not found: world/v1.0-mini")
    with pytest.raises(AssertionError, match="other"), config_errors("c.py"):
        raise AssertionError("other")

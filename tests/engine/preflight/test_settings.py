"""Loaders and loops that cannot work together are refused before anything is built."""

import pytest

from bevkd.engine import build_runner
from bevkd.engine.preflight.settings import check_settings, without_worker_options
from bevkd.errors import ConfigError
from tests.engine.toy import toy_config, toy_loader


def test_options_of_workers_go_where_there_are_none(tmp_path):
    options = {"persistent_workers": True, "prefetch_factor": 4, "multiprocessing_context": "fork"}
    loader = {"num_workers": 0, "batch_size": 2, **options}
    assert without_worker_options(loader) == {"num_workers": 0, "batch_size": 2}
    assert without_worker_options({"batch_size": 2, **options}) == {"batch_size": 2}
    assert without_worker_options({**loader, "num_workers": 1}) == {**loader, "num_workers": 1}
    loops = {f"{key}_dataloader": {**toy_loader(shuffle=False), **options} for key in ("train", "val", "test")}
    runner = build_runner(toy_config(tmp_path, train_cfg={"max_epochs": 1}, **loops))
    runner.train()
    runner.test()


@pytest.mark.parametrize(
    ("key", "change", "sentence"),
    [
        ("train_dataloader", {"batch_size": 0}, r"train_dataloader.batch_size is 0, expected a whole number"),
        ("train_dataloader", {"batch_size": 2.5}, r"batch_size is 2.5"),
        ("val_dataloader", {"num_workers": -1}, r"val_dataloader.num_workers is -1, .*at least 0"),
        ("train_dataloader", {"shuffle": True}, "shuffle cannot stand beside a sampler"),
        ("train_dataloader", {"sampler": None, "shuffle": True}, r"has no sampler, .*shuffle belongs there"),
        ("test_dataloader", {"dataset": None}, r"test_dataloader has no dataset"),
        ("train_dataloader", {"batch_sampler": {"type": "B"}, "drop_last": True}, "drop_last cannot stand beside"),
        ("val_dataloader", {"sampler": {"type": "InfiniteSampler"}}, "val_dataloader.sampler is InfiniteS"),
        ("train_dataloader", {"sampler": {"type": "mmengine.InfiniteSampler"}}, "and train_cfg counts epochs"),
        ("train_cfg", {"max_iters": 5}, r"counts epochs \(by_epoch=True\) and has max_iters, expected max_epochs"),
        ("train_cfg", {"by_epoch": False}, r"counts iterations \(by_epoch=False\) and has max_epochs"),
        ("train_cfg", {"type": "IterBasedTrainLoop", "by_epoch": False}, "has max_epochs, expected max_iters"),
        ("train_cfg", {"max_epochs": 0}, r"train_cfg.max_epochs is 0"),
        ("train_cfg", {"max_epochs": 1.5}, r"train_cfg.max_epochs is 1.5"),
        ("train_cfg", {"val_interval": 0}, r"train_cfg.val_interval is 0"),
        ("optim_wrapper", {"accumulative_counts": 0}, r"optim_wrapper.accumulative_counts is 0"),
    ],
)  # fmt: skip
def test_refused(tmp_path, key, change, sentence):
    cfg = toy_config(tmp_path)
    cfg[key] = {**cfg[key], **change}
    with pytest.raises(ConfigError, match=sentence):
        build_runner(cfg)


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        ("val_evaluator", "has val_dataloader and val_cfg but no val_evaluator"),
        ("optim_wrapper", "but no optim_wrapper"),
        ("test_cfg", "has test_dataloader and test_evaluator but no test_cfg"),
    ],
)
def test_halves_of_a_loop(tmp_path, gone, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_runner(toy_config(tmp_path, **{gone: None}))


def test_iterations_may_go_on_without_end(tmp_path):
    loader = {**toy_loader(shuffle=True), "sampler": {"type": "InfiniteSampler"}}
    check_settings(toy_config(tmp_path, train_dataloader=loader, train_cfg={"by_epoch": False, "max_iters": 3}))


@pytest.mark.parametrize(
    ("length", "loader", "sentence"),
    [
        (0, {}, "train_dataloader has no sample: ToyData is empty"),
        (2, {"drop_last": True}, "has no batch: 2 samples of ToyData do not fill one of batch_size 3, and drop_last"),
    ],
)
@pytest.mark.parametrize("loop", [{"max_epochs": 1}, {"by_epoch": False, "max_iters": 3}])
def test_a_loader_without_a_batch(tmp_path, length, loader, sentence, loop):
    cfg = toy_config(tmp_path, train_dataloader={**toy_loader(shuffle=True, length=length), **loader}, train_cfg=loop)
    with pytest.raises(ConfigError, match=sentence):
        build_runner(cfg).train()


def test_a_test_loader_without_a_sample(tmp_path):
    with pytest.raises(ConfigError, match="test_dataloader has no sample"):
        build_runner(toy_config(tmp_path, test_dataloader=toy_loader(shuffle=False, length=0))).test()


def test_training_without_settings_to_train_with(tmp_path):
    nothing = dict.fromkeys(("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"))
    with pytest.raises(ConfigError, match="has no train_dataloader, train_cfg and optim_wrapper"):
        build_runner(toy_config(tmp_path, **nothing)).train()

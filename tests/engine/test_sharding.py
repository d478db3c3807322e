"""Parameters spread over two processes: the same losses as DDP, half of everything each, whole checkpoints."""

import os

import pytest
import torch
from torch.distributed.tensor import DTensor

from bevkd.engine import build_runner
from bevkd.engine import checkpoint as files
from bevkd.engine.testing import score_checkpoint
from bevkd.errors import ConfigError
from tests.engine.toy import MODELS, ToyModel, read_log, toy_config, toy_loader
from tests.two_ranks import run_ranks

FSDP = {"modules": ["net.0"]}


@MODELS.register_module()
class ScaledToy(ToyModel):
    """With a scalar parameter, which ``fully_shard`` alone refuses."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scale = torch.nn.Parameter(torch.tensor(1.5))

    def forward(self, inputs, data_samples, mode="tensor"):
        return super().forward([x * self.scale for x in inputs], data_samples, mode)


def config(folder, **changes):
    still = toy_loader(shuffle=False, noise=False)
    clip = {"clip_grad": {"max_norm": 0.5}, "type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 0.01}}
    parts = {
        "val_dataloader": still,
        "test_dataloader": still,
        "optim_wrapper": clip,
        "model": {"type": "ScaledToy"},
        **changes,
    }
    return toy_config(folder, launcher="pytorch", log_level="ERROR", **parts)


def _train(rank, folder, changes):
    os.environ["LOCAL_RANK"] = str(rank)
    runner = build_runner(config(folder, **changes))
    runner.train()
    if "fsdp" in changes:
        runner.model.reshard()  # the last validation gathered them
    spread = [p for p in runner.model.parameters() if isinstance(p, DTensor)]
    moments = [v for s in runner.optim_wrapper.optimizer.state.values() for v in s.values() if isinstance(v, DTensor)]
    return [sum(v.to_local().numel() for v in values) for values in (spread, moments)]


def train(folder, **changes):
    return run_ranks(_train, folder / "ranks", folder, changes)


def final_state(work_dir):
    return files.load_checkpoint(files.find_latest(work_dir))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    return folder, train(folder, fsdp=FSDP)


@pytest.fixture(scope="module")
def wrapped_by_ddp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    train(folder)
    return folder


def test_losses_are_those_of_ddp_and_each_rank_holds_half(sharded, wrapped_by_ddp):
    folder, sizes = sharded
    for name in ("losses.txt", "losses_1.txt"):
        spread, wrapped = read_log(folder, name), read_log(wrapped_by_ddp, name)
        assert spread.keys() == wrapped.keys()
        for step in wrapped:
            assert float.fromhex(spread[step][0]) == pytest.approx(float.fromhex(wrapped[step][0]), rel=1e-5)
    # Rows of a tensor are dealt out: of the 8 x 4 + 8 + 8 + 8 numbers each rank has half, the last layer's 8 + 1 make
    # one row, as does the scale. AdamW has two moments for each.
    assert sizes == [[28 + 10, 2 * (28 + 10)], [28, 2 * 28]]


def test_its_checkpoint_is_that_of_any_run(tmp_path, sharded, wrapped_by_ddp):
    folder, _ = sharded
    ours, theirs = final_state(folder), final_state(wrapped_by_ddp)
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    noise = "net.0.bias"  # batch norm cancels it: its gradient is rounding, which AdamW brings to full steps
    for key, value in theirs["state_dict"].items():
        assert ours["state_dict"][key].shape == value.shape
        if key not in (noise, "net.1.running_mean"):
            torch.testing.assert_close(ours["state_dict"][key], value, rtol=1e-4, atol=1e-5)
    names = ["scale", "net.0.weight", noise, "net.1.weight", "net.1.bias", "net.3.weight", "net.3.bias"]
    for index, entry in theirs["optimizer"]["state"].items():
        for key, value in entry.items():
            found = ours["optimizer"]["state"][index][key]
            assert found.shape == value.shape
            if names[index] != noise:
                torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-5)
    single = toy_config(
        tmp_path / "one", model={"type": "ScaledToy"}, test_dataloader=toy_loader(shuffle=False, noise=False), fsdp=FSDP
    )
    assert set(score_checkpoint(single, files.find_latest(folder))) == {"mean"}


def test_a_resumed_run_goes_on_bit_exactly(tmp_path, sharded):
    folder, _ = sharded
    changes = {"fsdp": FSDP, "resume": True, "load_from": str(folder / "epoch_2.pth")}
    train(tmp_path, **changes)
    for name in ("losses.txt", "losses_1.txt"):
        whole = read_log(folder, name)
        assert read_log(tmp_path, name) == {step: whole[step] for step in range(5, 9)}
    ours, theirs = final_state(tmp_path), final_state(folder)
    assert all(torch.equal(ours["state_dict"][key], value) for key, value in theirs["state_dict"].items())


def _refusal(rank, folder, changes):
    os.environ["LOCAL_RANK"] = str(rank)
    with pytest.raises(ConfigError) as refused:
        build_runner(config(folder, **changes)).train()
    return str(refused.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fsdp": {"modules": ["net.9"]}}, "fsdp.modules has 'net.9', which fits no module; nearest: net."),
        ({"fsdp": {"module": []}}, "the config has fsdp.module, expected fsdp=dict(modules=[...]) alone"),
        ({"fsdp": {}, "custom_hooks": [{"type": "EMAHook"}]}, "fsdp and an EMAHook"),
        ({"fsdp": {}, "model_wrapper_cfg": {"type": "MMDistributedDataParallel"}}, "fsdp and model_wrapper_cfg"),
    ],
)
def test_wrong_requests_are_refused(tmp_path, changes, sentence):
    assert all(sentence in said for said in run_ranks(_refusal, tmp_path, tmp_path / "run", changes, ranks=1))
